//! Which key a request carries, and why it may not.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::{clock, headers};
use grapevine_core::ids::{ModelName, RegionName, ServiceKey, UpstreamName};
use grapevine_keys::oidc::OIDC_TOKEN_BYTES_MAX;
use grapevine_keys::rights::{ClientKey, KeyScope, StaticKey};
use grapevine_keys::ring::{KeyRefusal, KeyRing};
use http::header::{self, HeaderMap};

use super::IngressSettings;
use super::background;
use super::problem::Problem;
use super::track::Track;

/// A longer key is unknown: hashing a head full of it would cost more than the request.
const KEY_BYTES_MAX: usize = OIDC_TOKEN_BYTES_MAX;

/// All keys. Without any, requests are not authenticated.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Those of the file.
    filed: Arc<[StaticKey]>,
    /// Those that are issued, and what the operator says about all of them.
    ring: KeyRing,
}

/// The client brought no key, or one that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    Missing,
    Refused(KeyRefusal),
}

impl Keys {
    /// These keys of the file.
    pub fn new(filed: impl IntoIterator<Item = StaticKey>) -> Self {
        Self {
            filed: filed.into_iter().collect(),
            ring: KeyRing::default(),
        }
    }

    /// Beside them, the keys of `ring`.
    #[must_use]
    pub fn beside(self, ring: KeyRing) -> Self {
        Self { ring, ..self }
    }

    /// The static key called `name`.
    pub(super) fn named(&self, name: &str) -> Option<Arc<ClientKey>> {
        let (put, is_spoken_of) = self.ring.named(name);
        put.or_else(|| {
            let mut filed = self.filed.iter().filter(|_| !is_spoken_of);
            let found = filed.find(|filed| &*filed.key.name == name)?;
            Some(Arc::clone(&found.key))
        })
    }

    /// The services that static keys of workers name.
    pub fn services(&self) -> Vec<ServiceKey> {
        let put = self.ring.put();
        let keys = self.filed.iter().map(|filed| &filed.key).chain(&put);
        let services = keys.filter_map(|key| key.rights.services.as_deref());
        services.flatten().cloned().collect()
    }

    /// The keys of the file.
    pub fn filed(&self) -> Vec<Arc<ClientKey>> {
        let filed = self.filed.iter();
        filed.map(|filed| Arc::clone(&filed.key)).collect()
    }

    /// The names of the static keys.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let filed = self.filed.iter().map(|filed| Arc::clone(&filed.key.name));
        let mut names: Vec<Arc<str>> = filed.collect();
        let put = self.ring.put();
        names.extend(put.iter().map(|key| Arc::clone(&key.name)));
        names.retain(|name| self.named(name).is_some());
        names.sort();
        names.dedup();
        names
    }

    /// The key of the request at `now` since the Unix epoch; `None` when no keys are needed.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        now: Duration,
    ) -> Result<Option<Arc<ClientKey>>, KeyError> {
        if self.filed.is_empty() && !self.ring.has_tokens() {
            return Ok(None);
        }
        let mut failure = KeyError::Missing;
        for presented in presented(headers) {
            match self.find(presented, now) {
                Ok(key) => return Ok(Some(key)),
                // That nobody knows one says less than what is wrong with another.
                Err(KeyRefusal::Unknown) if matches!(failure, KeyError::Refused(_)) => {}
                Err(refusal) => failure = KeyError::Refused(refusal),
            }
        }
        Err(failure)
    }

    fn find(&self, presented: &[u8], now: Duration) -> Result<Arc<ClientKey>, KeyRefusal> {
        if presented.len() > KEY_BYTES_MAX {
            return Err(KeyRefusal::Unknown);
        }
        self.ring.check(presented, now, &self.filed)
    }
}

/// Why the holder of `key` may not send a request for `model`, or one without a model; `None` when it may.
pub(super) fn refusal(key: &ClientKey, model: Option<&ModelName>) -> Option<Problem> {
    match model {
        Some(model) if !key.allows(model) => Some(Problem::model_not_allowed(model)),
        None if key.rights.models.is_some() => Some(Problem::model_not_shown()),
        Some(_) | None => None,
    }
}

/// The key of a request, which `track` records; `None` when no keys are needed.
pub(super) fn of_request(
    settings: &IngressSettings,
    headers: &HeaderMap,
    track: &mut Track,
) -> Result<Option<Arc<ClientKey>>, Problem> {
    let checked = settings.keys.check(headers, clock::wall());
    let key = checked.map_err(|error| match error {
        KeyError::Missing => Problem::missing_key(),
        KeyError::Refused(refusal) => {
            track.set_key_id(refusal.id().cloned());
            Problem::key_refused(&refusal)
        }
    })?;
    if let Some(key) = &key {
        track.set_key(key.name.clone());
        track.set_key_id(key.id.clone());
    }
    Ok(key)
}

/// Checks that `key` is for `path`: a worker's for tasks alone, any other for what its scopes say.
pub(super) fn check_path(key: &ClientKey, path: &str, is_background: bool) -> Result<(), Problem> {
    if key.rights.services.is_some() && !background::is_for_workers(path) {
        return Err(Problem::key_of_a_worker());
    }
    check_scope(key, is_background)
}

/// Checks that `key` is for requests of this kind: background work, or a call of a model.
pub(super) fn check_scope(key: &ClientKey, is_background: bool) -> Result<(), Problem> {
    let (needed, or) = match is_background {
        true => (KeyScope::Tasks, KeyScope::Services),
        false => (KeyScope::Api, KeyScope::Api),
    };
    match key.is_for(needed) || key.is_for(or) {
        true => Ok(()),
        false => Err(Problem::scope_not_allowed(needed)),
    }
}

/// Narrows the regions that the client allows to those of `key`; none are all.
///
/// # Errors
/// When none is left.
pub(super) fn fence(key: Option<&ClientKey>, allowed: &mut Vec<RegionName>) -> Result<(), Problem> {
    let Some(regions) = key.and_then(|key| key.rights.regions.as_deref()) else {
        return Ok(());
    };
    if allowed.is_empty() {
        allowed.extend(regions.iter().cloned());
    } else {
        allowed.retain(|region| regions.contains(region));
    }
    match allowed.is_empty() {
        true => Err(Problem::region_not_allowed()),
        false => Ok(()),
    }
}

/// Checks that `key` may choose the upstream called `name`.
///
/// # Errors
/// When it may not: none of its own is called so. Without keys everybody may.
pub(super) fn check_upstream(
    key: Option<&ClientKey>,
    name: Option<&UpstreamName>,
) -> Result<(), Problem> {
    let (Some(key), Some(name)) = (key, name) else {
        return Ok(());
    };
    let mut own = key.rights.upstreams.iter().flat_map(|all| all.iter());
    match own.any(|own| own == name) {
        true => Ok(()),
        false => Err(Problem::upstream_not_allowed()),
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
    use grapevine_keys::hash::KeyHash;
    use http::{HeaderName, HeaderValue};

    fn keys() -> Keys {
        Keys::new([StaticKey {
            hash: KeyHash::of("right"),
            key: Arc::new(ClientKey::named("app")),
        }])
    }

    fn check(name: &'static str, value: &'static str) -> Result<Option<Arc<str>>, KeyError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static(name),
            value.parse().expect("a valid value"),
        );
        let found = keys().check(&headers, Duration::ZERO)?;
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
            let found = keys().check(&headers, Duration::ZERO);
            found.map(|key| key.is_some())
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
        assert_eq!(check(&wrong), Err(KeyError::Refused(KeyRefusal::Unknown)));
    }

    #[test]
    fn key_over_the_limit_is_not_hashed() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        let keys = |known: &str| {
            Keys::new([StaticKey {
                hash: KeyHash::of(known),
                key: Arc::new(ClientKey::named("app")),
            }])
        };
        let check = |known: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::API_KEY, known.parse().expect("a valid value"));
            let checked = keys(known).check(&headers, Duration::ZERO);
            checked.map(|key| key.is_some())
        };
        assert_eq!(check(&longest), Ok(true));
        assert_eq!(
            check(&format!("{longest}k")),
            Err(KeyError::Refused(KeyRefusal::Unknown))
        );
    }

    #[test]
    fn wrong_and_missing_keys_are_distinguished() {
        assert_eq!(
            check("authorization", "Bearer wrong"),
            Err(KeyError::Refused(KeyRefusal::Unknown))
        );
        assert_eq!(
            check("authorization", "Basic right"),
            Err(KeyError::Missing)
        );
        assert_eq!(check("x-other", "right"), Err(KeyError::Missing));
        assert_eq!(
            Keys::default().check(&HeaderMap::new(), Duration::ZERO),
            Ok(None)
        );
    }

    #[test]
    fn regions_of_a_key_narrow_what_the_client_allows_and_never_widen_it() {
        let region = |code: &str| RegionName::new(code).expect("a region");
        let mut key = ClientKey::named("app");
        key.rights.regions = Some(Arc::new([region("eur"), region("sgp")].into()));
        let narrowed = |asked: &[&str]| {
            let mut allowed = asked.iter().map(|code| region(code)).collect();
            fence(Some(&key), &mut allowed).map(|()| allowed)
        };
        assert_eq!(narrowed(&[]), Ok(vec![region("eur"), region("sgp")]));
        assert_eq!(narrowed(&["usa", "sgp"]), Ok(vec![region("sgp")]));
        assert_eq!(narrowed(&["usa"]), Err(Problem::region_not_allowed()));
    }

    #[test]
    fn key_is_for_its_scopes_alone() {
        let mut key = ClientKey::named("app");
        assert!(check_scope(&key, false).is_ok() && check_scope(&key, true).is_ok());
        key.rights.scopes = [KeyScope::Tasks].into();
        assert!(check_scope(&key, false).is_err() && check_scope(&key, true).is_ok());
        key.rights.scopes = [KeyScope::AdminOperate].into();
        assert!(check_scope(&key, false).is_err() && check_scope(&key, true).is_err());
    }
}
