//! The keys that an identity provider signs its tokens with: a JWK set (RFC 7517), read and searched.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;
use serde_json::Value;

/// Keys of one set. Providers publish two to six.
const KEYS_MAX: usize = 64;

/// The keys of a set that can verify tokens.
#[derive(Clone)]
pub struct SigningKeySet(Vec<SigningKey>);

#[derive(Clone)]
struct SigningKey {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

/// A document is no set of keys that tokens could be verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeySetError {
    /// Not a JWK set.
    #[error("is not a JWK set")]
    NotASet,
    /// Too many keys.
    #[error("holds more than {KEYS_MAX} keys")]
    TooMany,
    /// No key is one for signatures.
    #[error("holds no RSA, P-256, P-384 or Ed25519 key for signatures")]
    NoKey,
}

#[derive(Deserialize)]
struct KeySetText {
    keys: Vec<Value>,
}

/// No key is shown: there are too many digits in one, and none of use.
impl std::fmt::Debug for SigningKeySet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self.0.iter().map(|key| &key.id);
        formatter.debug_list().entries(ids).finish()
    }
}

impl SigningKeySet {
    /// The keys of the JWK set in `text`. Keys for other uses, of kinds that are not known, and secret ones are left
    /// out: a provider may publish what this node does not need.
    ///
    /// # Errors
    /// When none is left.
    pub fn read(text: &[u8]) -> Result<Self, SigningKeySetError> {
        let set: KeySetText =
            serde_json::from_slice(text).map_err(|_| SigningKeySetError::NotASet)?;
        if set.keys.len() > KEYS_MAX {
            return Err(SigningKeySetError::TooMany);
        }
        let keys: Vec<SigningKey> = set.keys.into_iter().filter_map(signing_key).collect();
        match keys.is_empty() {
            true => Err(SigningKeySetError::NoKey),
            false => Ok(Self(keys)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, which no set is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that a token with this header says it was signed with. A token that names none has the only key there
    /// is for its algorithm.
    pub(super) fn find(&self, header: &Header) -> Option<&DecodingKey> {
        let of_kind = |key: &&SigningKey| key.algorithms.contains(&header.alg);
        let mut fitting = self.0.iter().filter(of_kind);
        let found = match &header.kid {
            Some(id) => fitting.find(|key| key.id.as_ref() == Some(id)),
            None => {
                let only = fitting.next();
                only.filter(|_| fitting.next().is_none())
            }
        };
        found.map(|found| &found.key)
    }
}

fn signing_key(value: Value) -> Option<SigningKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let algorithms = algorithms(&jwk).filter(|_| is_for_signatures)?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(SigningKey {
        id: jwk.common.key_id,
        algorithms,
        key,
    })
}

/// What the key may have signed: what it says itself, else what its kind can.
fn algorithms(jwk: &Jwk) -> Option<&'static [Algorithm]> {
    use Algorithm as A;
    use KeyAlgorithm as K;
    let of_kind: &'static [A] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => {
            &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512]
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[A::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[A::ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[A::EdDSA]
        }
        _ => return None,
    };
    let said: &'static [A] = match jwk.common.key_algorithm {
        None => return Some(of_kind),
        Some(K::RS256) => &[A::RS256],
        Some(K::RS384) => &[A::RS384],
        Some(K::RS512) => &[A::RS512],
        Some(K::PS256) => &[A::PS256],
        Some(K::PS384) => &[A::PS384],
        Some(K::PS512) => &[A::PS512],
        Some(K::ES256) => &[A::ES256],
        Some(K::ES384) => &[A::ES384],
        Some(K::EdDSA) => &[A::EdDSA],
        Some(_) => return None,
    };
    said.iter()
        .all(|algorithm| of_kind.contains(algorithm))
        .then_some(said)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(keys: &Value) -> Result<SigningKeySet, SigningKeySetError> {
        SigningKeySet::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn okp(id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id,
               "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn rsa() -> Value {
        json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"})
    }

    fn finds(set: &SigningKeySet, algorithm: Algorithm, id: Option<&str>) -> bool {
        let mut header = Header::new(algorithm);
        header.kid = id.map(str::to_owned);
        set.find(&header).is_some()
    }

    #[test]
    fn keys_for_signatures_are_found_by_id_and_algorithm() {
        let mut for_secrets = rsa();
        for_secrets["use"] = "enc".into();
        for_secrets["kid"] = "e".into();
        let keys = json!([
            okp("a"),
            rsa(),
            for_secrets,
            {"kty": "oct", "kid": "h", "k": "c2VjcmV0"},
            {"kty": "new"},
            "nonsense",
        ]);
        let set = read(&keys).expect("a set");
        assert_eq!(set.len(), 2);
        assert!(finds(&set, Algorithm::EdDSA, Some("a")));
        assert!(finds(&set, Algorithm::EdDSA, None));
        assert!(finds(&set, Algorithm::PS384, Some("r")));
        for (algorithm, id) in [
            (Algorithm::EdDSA, Some("r")),
            (Algorithm::RS256, Some("a")),
            (Algorithm::RS256, Some("e")),
            (Algorithm::HS256, Some("h")),
            (Algorithm::HS256, None),
            (Algorithm::ES256, None),
        ] {
            assert!(!finds(&set, algorithm, id), "{algorithm:?} {id:?}");
        }
    }

    #[test]
    fn token_without_a_key_id_has_the_only_key_or_none() {
        let set = read(&json!([okp("a"), okp("b")])).expect("a set");
        assert!(!finds(&set, Algorithm::EdDSA, None));
    }

    #[test]
    fn algorithm_that_a_key_names_is_its_only_one() {
        let mut key = rsa();
        key["alg"] = "RS256".into();
        let set = read(&json!([key.clone()])).expect("a set");
        assert!(finds(&set, Algorithm::RS256, Some("r")));
        assert!(!finds(&set, Algorithm::PS256, Some("r")));
        for other in ["ES256", "HS256", "RSA-OAEP"] {
            key["alg"] = other.into();
            let refused = read(&json!([key.clone()])).map(|set| set.len());
            assert_eq!(refused, Err(SigningKeySetError::NoKey), "{other}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
            let refused = SigningKeySet::read(text.as_bytes()).map(|set| set.len());
            assert_eq!(refused, Err(SigningKeySetError::NotASet), "{text}");
        }
        let none = read(&json!([])).map(|set| set.len());
        assert_eq!(none, Err(SigningKeySetError::NoKey));
        let many: Vec<Value> = (0..=KEYS_MAX).map(|_| okp("a")).collect();
        let many = read(&Value::from(many)).map(|set| set.len());
        assert_eq!(many, Err(SigningKeySetError::TooMany));
    }
}
