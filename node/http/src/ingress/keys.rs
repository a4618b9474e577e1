//! Client keys: stored as hashes, compared in constant time.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_base::headers;
use grapevine_config::hash::KeyHash;
use grapevine_core::ids::{ModelName, ServiceKey};
use http::header::{self, HeaderMap};

use super::problem::Problem;

/// A longer key is unknown: hashing a head full of it would cost more than the request.
const KEY_BYTES_MAX: usize = 4_096;

/// A client's key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// Its holder's name in records.
    pub name: Arc<str>,
    /// The hash of the key, which itself is not stored.
    pub hash: KeyHash,
    /// The models it may use; `None` is every model.
    pub models: Option<Arc<BTreeSet<ModelName>>>,
    /// The services whose tasks it may create and run, and nothing else; `None` is an ordinary key.
    pub services: Option<Arc<BTreeSet<ServiceKey>>>,
}

/// Shows no hash: a weak key could be guessed from it.
impl std::fmt::Debug for ClientKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Key")
            .field("name", &self.name)
            .field("models", &self.models)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl ClientKey {
    /// Why its holder may not send a request for `model`, or one without a model; `None` when it may.
    pub(super) fn refusal(&self, model: Option<&ModelName>) -> Option<Problem> {
        match model {
            Some(model) if !self.allows(model) => Some(Problem::model_not_allowed(model)),
            None if self.models.is_some() => Some(Problem::model_not_shown()),
            Some(_) | None => None,
        }
    }

    /// Whether its holder may use `model`.
    pub(super) fn allows(&self, model: &ModelName) -> bool {
        self.models
            .as_ref()
            .is_none_or(|models| models.contains(model))
    }
}

/// All keys. Without any, requests are not authenticated.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Arc<ClientKey>>);

/// The client brought no key, or one that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    Missing,
    Unknown,
}

impl Keys {
    /// These keys.
    pub fn new(keys: impl IntoIterator<Item = ClientKey>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// The key called `name`.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<ClientKey>> {
        self.0.iter().find(|key| &*key.name == name)
    }

    /// The services that keys of workers name.
    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        let services = self.0.iter().filter_map(|key| key.services.as_deref());
        services.flatten()
    }

    /// The names of the keys.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.0.iter().map(|key| Arc::clone(&key.name)).collect()
    }

    /// The key of the request; `None` when no keys are needed.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Option<Arc<ClientKey>>, KeyError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut failure = KeyError::Missing;
        for presented in presented(headers) {
            failure = KeyError::Unknown;
            if let Some(key) = self.find(presented) {
                return Ok(Some(key));
            }
        }
        Err(failure)
    }

    fn find(&self, presented: &[u8]) -> Option<Arc<ClientKey>> {
        if presented.len() > KEY_BYTES_MAX {
            return None;
        }
        let hash = KeyHash::of(presented);
        // Every key is compared, whichever matches, so that the time taken reveals nothing.
        let mut found = None;
        for key in &self.0 {
            if key.hash.matches(&hash) {
                found = Some(key.clone());
            }
        }
        found
    }
}

/// The key in `Authorization: Bearer`, and those in the headers of other providers' SDKs. An SDK that signs its requests
/// has a signature where others have a key, and its key beside it.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let names = [headers::API_KEY, headers::AZURE_KEY, headers::GOOGLE_KEY];
    let named = names.into_iter().filter_map(|name| headers.get(name));
    let named = named.map(|value| value.as_bytes());
    bearer.into_iter().chain(named).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn keys() -> Keys {
        Keys::new([ClientKey {
            name: "app".into(),
            hash: KeyHash::of("right"),
            models: None,
            services: None,
        }])
    }

    fn check(name: &'static str, value: &'static str) -> Result<Option<Arc<str>>, KeyError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static(name),
            value.parse().expect("a valid value"),
        );
        let found = keys().check(&headers)?;
        Ok(found.map(|key| key.name.clone()))
    }

    #[test]
    fn key_is_taken_from_either_header() {
        assert_eq!(
            check("authorization", "Bearer right"),
            Ok(Some("app".into()))
        );
        assert_eq!(
            check("authorization", "bearer right "),
            Ok(Some("app".into()))
        );
        assert_eq!(check("x-api-key", "right"), Ok(Some("app".into())));
    }

    #[test]
    fn key_is_found_beside_a_signature_or_another_key() {
        let signature = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/bedrock/aws4_request";
        let check = |others: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in others {
                headers.insert(name, HeaderValue::from_static(value));
            }
            keys().check(&headers).map(|key| key.is_some())
        };
        let authorization = header::AUTHORIZATION;
        for name in [headers::API_KEY, headers::AZURE_KEY, headers::GOOGLE_KEY] {
            for other in [signature, "Bearer wrong"] {
                let others = [(authorization.clone(), other), (name.clone(), "right")];
                assert_eq!(check(&others), Ok(true), "{name} beside {other}");
            }
        }
        let signed = (authorization, signature);
        assert_eq!(check(std::slice::from_ref(&signed)), Err(KeyError::Missing));
        let wrong = [signed, (headers::API_KEY, "wrong")];
        assert_eq!(check(&wrong), Err(KeyError::Unknown));
    }

    #[test]
    fn key_over_the_limit_is_not_hashed() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        let keys = |known: &str| {
            Keys::new([ClientKey {
                hash: KeyHash::of(known),
                ..ClientKey::clone(&keys().0[0])
            }])
        };
        let check = |known: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::API_KEY, known.parse().expect("a valid value"));
            keys(known).check(&headers).map(|key| key.is_some())
        };
        assert_eq!(check(&longest), Ok(true));
        assert_eq!(check(&format!("{longest}k")), Err(KeyError::Unknown));
    }

    #[test]
    fn wrong_and_missing_keys_are_distinguished() {
        assert_eq!(
            check("authorization", "Bearer wrong"),
            Err(KeyError::Unknown)
        );
        assert_eq!(
            check("authorization", "Basic right"),
            Err(KeyError::Missing)
        );
        assert_eq!(check("x-other", "right"), Err(KeyError::Missing));
        assert_eq!(Keys::default().check(&HeaderMap::new()), Ok(None));
    }
}
