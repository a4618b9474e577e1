//! What a key may do: where, with which models, how much.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{ModelName, RegionName, ServiceKey, UpstreamName};
use serde::{Deserialize, Serialize};

use super::hash::KeyHash;
use super::token::KeyId;

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

/// The period of a budget, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetPeriod {
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

/// The most that a key may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyBudget {
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    /// In each of these.
    pub per: BudgetPeriod,
}

/// The most dollars of a budget.
const BUDGET_USD_MAX: u64 = 1_000_000_000;

/// Not a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a budget; write an amount and a period: 50usd/month, 2.50usd/day")]
pub struct KeyBudgetError;

impl FromStr for KeyBudget {
    type Err = KeyBudgetError;

    fn from_str(text: &str) -> Result<Self, KeyBudgetError> {
        let (amount, period) = text.split_once('/').ok_or(KeyBudgetError)?;
        let amount = amount.trim().strip_suffix("usd").ok_or(KeyBudgetError)?;
        let per = match period.trim() {
            "day" => BudgetPeriod::Day,
            "month" => BudgetPeriod::Month,
            _ => return Err(KeyBudgetError),
        };
        let micro_usd = micro_usd(amount.trim()).ok_or(KeyBudgetError)?;
        Ok(Self { micro_usd, per })
    }
}

impl fmt::Display for KeyBudget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            BudgetPeriod::Day => "day",
            BudgetPeriod::Month => "month",
        };
        let (whole, part) = (self.micro_usd / 1_000_000, self.micro_usd % 1_000_000);
        match part {
            0 => write!(formatter, "{whole}usd/{per}"),
            part => {
                let part = format!("{part:06}");
                write!(formatter, "{whole}.{}usd/{per}", part.trim_end_matches('0'))
            }
        }
    }
}

/// Decimal dollars as millionths; no more than six decimals, and not nothing.
fn micro_usd(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let whole = whole.parse().ok().filter(|it| *it <= BUDGET_USD_MAX)?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    let micro = u64::checked_mul(whole, 1_000_000)?.checked_add(part)?;
    (micro > 0).then_some(micro)
}

/// The limits of a key, over the whole mesh. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Requests per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<KeyBudget>,
}

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
        }
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
}

impl RightsText {
    pub(super) fn of(rights: &KeyRights) -> Self {
        fn texts<T: fmt::Display>(set: &Option<Arc<BTreeSet<T>>>) -> Option<BTreeSet<String>> {
            let set = set.as_ref()?;
            Some(set.iter().map(ToString::to_string).collect())
        }
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
        }
    }

    /// `None` where a name is none, or where a key of services is for anything else.
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
        };
        let is_workers = rights.scopes.contains(&KeyScope::Services);
        (is_workers == rights.services.is_some()).then_some(rights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_written_in_dollars() {
        for (text, micro_usd, per, written) in [
            (
                "50usd/month",
                50_000_000,
                BudgetPeriod::Month,
                "50usd/month",
            ),
            ("2.50usd/day", 2_500_000, BudgetPeriod::Day, "2.5usd/day"),
            ("0.000001usd/day", 1, BudgetPeriod::Day, "0.000001usd/day"),
        ] {
            let budget = KeyBudget { micro_usd, per };
            assert_eq!(text.parse(), Ok(budget));
            assert_eq!(budget.to_string(), written);
        }
        for text in [
            "",
            "50",
            "50usd",
            "50eur/month",
            "50usd/year",
            "-1usd/day",
            "0usd/day",
            "0.0000001usd/day",
            "1e3usd/day",
            ".5usd/day",
            "2000000000usd/day",
        ] {
            assert_eq!(text.parse::<KeyBudget>(), Err(KeyBudgetError), "{text}");
        }
    }

    #[test]
    fn rights_are_read_back_as_they_were_signed() {
        let rights = KeyRights {
            models: Some(Arc::new([ModelName::new("gpt-4o").expect("a name")].into())),
            regions: Some(Arc::new([RegionName::new("eur").expect("a name")].into())),
            ..KeyRights::default()
        };
        let text = serde_json::to_string(&RightsText::of(&rights)).expect("JSON");
        let read: RightsText = serde_json::from_str(&text).expect("the same");
        assert_eq!(read.read(), Some(rights));
    }

    #[test]
    fn unknown_fields_and_bad_names_are_refused() {
        for text in [
            r#"{"scopes":["api"],"limits":{},"hours":"9-17"}"#,
            r#"{"scopes":["root"],"limits":{}}"#,
            r#"{"scopes":["api"],"limits":{"rps":1}}"#,
        ] {
            assert!(serde_json::from_str::<RightsText>(text).is_err(), "{text}");
        }
        for text in [
            r#"{"scopes":["api"],"regions":["no region"],"limits":{}}"#,
            r#"{"scopes":["services"],"limits":{}}"#,
            r#"{"scopes":["api"],"services":["a:b"],"limits":{}}"#,
        ] {
            let read: RightsText = serde_json::from_str(text).expect("JSON of rights");
            assert!(read.read().is_none(), "{text}");
        }
    }
}
