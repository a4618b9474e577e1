//! What a key may do: where, with which models, how much.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{ModelName, RegionName, ServiceKey, UpstreamName};
use serde::{Deserialize, Serialize};

use super::hash::KeyHash;
use super::token::KeyId;

pub use super::limits::{
    BudgetPeriod, KeyBudget, KeyBudgetError, KeyLimits, KeyWeight, KeyWeightError,
    MODEL_LIMITS_MAX, ModelLimits,
};

/// One thing that an issued key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyScope {
    /// Requests to models.
    #[serde(rename = "api")]
    Api,
    /// Background work: files, batches, tasks, workflows, responses in the background.
    #[serde(rename = "tasks")]
    Tasks,
    /// An external worker's work on the services that the key names.
    #[serde(rename = "services")]
    Services,
    /// Reading at the admin port.
    #[serde(rename = "admin:read")]
    AdminRead,
    /// Everything at the admin port.
    #[serde(rename = "admin:operate")]
    AdminOperate,
}

impl KeyScope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Api,
        Self::Tasks,
        Self::Services,
        Self::AdminRead,
        Self::AdminOperate,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Tasks => "tasks",
            Self::Services => "services",
            Self::AdminRead => "admin:read",
            Self::AdminOperate => "admin:operate",
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for KeyScope {
    type Err = KeyScopeError;

    fn from_str(text: &str) -> Result<Self, KeyScopeError> {
        let mut scopes = Self::ALL.into_iter();
        scopes
            .find(|scope| scope.as_str() == text)
            .ok_or(KeyScopeError)
    }
}

/// Not the name of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a scope; write api, tasks, services, admin:read or admin:operate")]
pub struct KeyScopeError;

/// What its holder may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRights {
    /// What it is for.
    pub scopes: BTreeSet<KeyScope>,
    /// The models it may use; `None` is every model.
    pub models: Option<Arc<BTreeSet<ModelName>>>,
    /// The regions that may serve it; `None` is every region.
    pub regions: Option<Arc<BTreeSet<RegionName>>>,
    /// The services whose tasks it may create and run, and nothing else; `None` is an ordinary key.
    pub services: Option<Arc<BTreeSet<ServiceKey>>>,
    /// The upstreams that its holder may choose by name, the first of which keeps its files; `None` is no choice.
    pub upstreams: Option<Arc<[UpstreamName]>>,
    /// Its limits.
    pub limits: KeyLimits,
    /// Those by model; `None` where there are none.
    pub model_limits: Option<Arc<ModelLimits>>,
    /// How many turns it has beside other keys where requests wait; `None` is one.
    pub weight: Option<KeyWeight>,
    /// Whether its requests may be sent a second time beside an attempt that is late, where a node does that.
    pub hedge: bool,
}

/// Everything that clients may do, without a limit.
impl Default for KeyRights {
    fn default() -> Self {
        Self {
            scopes: BTreeSet::from([KeyScope::Api, KeyScope::Tasks]),
            models: None,
            regions: None,
            services: None,
            upstreams: None,
            limits: KeyLimits::default(),
            model_limits: None,
            weight: None,
            hedge: true,
        }
    }
}

impl KeyRights {
    /// Its limits for requests for `model`; `None` where there are none for that model alone.
    pub fn limits_of(&self, model: &ModelName) -> Option<&KeyLimits> {
        self.model_limits.as_ref()?.get(model)
    }

    /// Whether it has any limit.
    pub fn is_limited(&self) -> bool {
        self.limits != KeyLimits::default() || self.model_limits.is_some()
    }
}

/// A client's key, however it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// Its holder's name in records; keys of one name are one client's.
    pub name: Arc<str>,
    /// Its own name; `None` for a static key.
    pub id: Option<KeyId>,
    /// It is valid from this time since the Unix epoch on.
    pub not_before: Duration,
    /// It is valid until this time since the Unix epoch; `None` is for good.
    pub expires_at: Option<Duration>,
    /// What it may do.
    pub rights: KeyRights,
}

impl ClientKey {
    /// A static key that may do everything that clients may do, for good.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            id: None,
            not_before: Duration::ZERO,
            expires_at: None,
            rights: KeyRights::default(),
        }
    }

    /// Whether its holder may use `model`.
    pub fn allows(&self, model: &ModelName) -> bool {
        let models = self.rights.models.as_ref();
        models.is_none_or(|models| models.contains(model))
    }

    /// Whether it is for `scope`.
    pub fn is_for(&self, scope: KeyScope) -> bool {
        self.rights.scopes.contains(&scope)
    }
}

/// A static key: known by its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticKey {
    /// The hash of the key, which itself is not stored.
    pub hash: KeyHash,
    /// What its holder may do.
    pub key: Arc<ClientKey>,
}

/// Shows no hash: a weak key could be guessed from it.
impl fmt::Debug for StaticKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, formatter)
    }
}

/// [`KeyRights`] as signed. An unknown field is refused, since it may be a limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RightsText {
    scopes: BTreeSet<KeyScope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstreams: Option<Vec<String>>,
    limits: KeyLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_limits: Option<BTreeMap<String, KeyLimits>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<KeyWeight>,
    /// Written only where it is false: a node of an earlier version refuses a token whose fields it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    hedge: Option<bool>,
}

impl RightsText {
    pub(super) fn of(rights: &KeyRights) -> Self {
        fn texts<T: fmt::Display>(set: &Option<Arc<BTreeSet<T>>>) -> Option<BTreeSet<String>> {
            let set = set.as_ref()?;
            Some(set.iter().map(ToString::to_string).collect())
        }
        let model_limits = rights.model_limits.as_deref().map(|limits| {
            let limits = limits.iter();
            limits
                .map(|(model, limits)| (model.to_string(), *limits))
                .collect()
        });
        Self {
            scopes: rights.scopes.clone(),
            models: texts(&rights.models),
            regions: texts(&rights.regions),
            services: texts(&rights.services),
            upstreams: rights
                .upstreams
                .as_ref()
                .map(|all| all.iter().map(ToString::to_string).collect()),
            limits: rights.limits,
            model_limits,
            weight: rights.weight,
            hedge: (!rights.hedge).then_some(false),
        }
    }

    /// `None` where a name is none, where there are more limits than a key can have, or where a key of services is for
    /// anything else.
    pub(super) fn read(self) -> Option<KeyRights> {
        fn names<T: Ord>(
            texts: Option<BTreeSet<String>>,
            read: impl Fn(&str) -> Option<T>,
        ) -> Option<Option<Arc<BTreeSet<T>>>> {
            let Some(texts) = texts else {
                return Some(None);
            };
            let names: Option<BTreeSet<T>> = texts.iter().map(|text| read(text)).collect();
            Some(Some(Arc::new(names?)))
        }
        let model_limits = match self.model_limits {
            None => None,
            Some(limits) if limits.is_empty() || limits.len() > MODEL_LIMITS_MAX => return None,
            Some(limits) => {
                let limits = limits.into_iter();
                let read: Option<ModelLimits> = limits
                    .map(|(model, limits)| Some((ModelName::new(&model).ok()?, limits)))
                    .collect();
                Some(Arc::new(read?))
            }
        };
        let rights = KeyRights {
            scopes: self.scopes,
            models: names(self.models, |text| ModelName::new(text).ok())?,
            regions: names(self.regions, |text| RegionName::new(text).ok())?,
            services: names(self.services, |text| ServiceKey::new(text).ok())?,
            upstreams: match self.upstreams {
                None => None,
                Some(texts) => Some(
                    texts
                        .iter()
                        .map(|text| UpstreamName::new(text).ok())
                        .collect::<Option<_>>()?,
                ),
            },
            limits: self.limits,
            model_limits,
            weight: self.weight,
            hedge: self.hedge.unwrap_or(true),
        };
        let is_workers = rights.scopes.contains(&KeyScope::Services);
        (is_workers == rights.services.is_some()).then_some(rights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_back_as_they_were_signed() {
        let limits = KeyLimits {
            rpm: Some(60),
            concurrency: Some(4),
            ..KeyLimits::default()
        };
        let rights = KeyRights {
            models: Some(Arc::new([ModelName::new("gpt-4o").expect("a name")].into())),
            regions: Some(Arc::new([RegionName::new("eur").expect("a name")].into())),
            model_limits: Some(Arc::new(
                [(ModelName::new("gpt-4o").expect("a name"), limits)].into(),
            )),
            weight: "3".parse().ok(),
            hedge: false,
            ..KeyRights::default()
        };
        let text = serde_json::to_string(&RightsText::of(&rights)).expect("JSON");
        let read: RightsText = serde_json::from_str(&text).expect("the same");
        assert_eq!(read.read(), Some(rights));
    }

    #[test]
    fn key_without_limits_of_models_is_written_as_before() {
        let text = serde_json::to_string(&RightsText::of(&KeyRights::default())).expect("JSON");
        assert_eq!(text, r#"{"scopes":["api","tasks"],"limits":{}}"#);
    }

    #[test]
    fn unknown_fields_and_bad_names_are_refused() {
        for text in [
            r#"{"scopes":["api"],"limits":{},"hours":"9-17"}"#,
            r#"{"scopes":["root"],"limits":{}}"#,
            r#"{"scopes":["api"],"limits":{"rps":1}}"#,
            r#"{"scopes":["api"],"limits":{},"weight":0}"#,
            r#"{"scopes":["api"],"limits":{},"weight":1001}"#,
        ] {
            assert!(serde_json::from_str::<RightsText>(text).is_err(), "{text}");
        }
        for text in [
            r#"{"scopes":["api"],"regions":["no region"],"limits":{}}"#,
            r#"{"scopes":["services"],"limits":{}}"#,
            r#"{"scopes":["api"],"services":["a:b"],"limits":{}}"#,
            r#"{"scopes":["api"],"limits":{},"model_limits":{}}"#,
            r#"{"scopes":["api"],"limits":{},"model_limits":{"":{"rpm":1}}}"#,
        ] {
            let read: RightsText = serde_json::from_str(text).expect("JSON of rights");
            assert!(read.read().is_none(), "{text}");
        }
    }
}
