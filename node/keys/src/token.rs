//! An issued key: a token that names its holder, its rights and its mesh, signed by an issuing key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{MeshName, NodeName};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::issuer::{IssuerPublicKey, IssuingKey, IssuingKeyError};
use super::jws::{self, JwsError, JwsTooLong, Purpose};
use super::rights::{ClientKey, KeyRights, RightsText};

/// What every token begins with: base64url of `{"`.
pub(super) const TOKEN_BEGINS: &[u8] = b"eyJ";

/// Random bytes of an id: two of a billion keys are alike with a chance of 1 to 10^11.
const ID_BYTES: usize = 12;

const ID_PREFIX: &str = "gvk_";

/// How far the clock of a node may be behind that of the issuer.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The name of one issued key, for logs and revocations. No secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

/// Not the id of an issued key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not the id of an issued key: gvk_ and 24 hexadecimal digits, as `grapevine key issue` prints it"
)]
pub struct KeyIdError;

impl KeyId {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, IssuingKeyError> {
        let mut bytes = [0; ID_BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| IssuingKeyError::Random)?;
        Ok(Self::of(&bytes))
    }

    /// The one that all tokens of a holder have which an identity provider knows.
    pub(super) fn of_holder(issuer: &str, holder: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&(issuer.len() as u64).to_le_bytes());
        context.update(issuer.as_bytes());
        context.update(holder.as_bytes());
        Self::of(&context.finish().as_ref()[..ID_BYTES])
    }

    fn of(bytes: &[u8]) -> Self {
        Self(format!("{ID_PREFIX}{}", hex(bytes)).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeyId {
    /// The text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let digits = text.strip_prefix(ID_PREFIX).ok_or(KeyIdError)?;
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        (digits.len() == 2 * ID_BYTES && digits.bytes().all(is_hex))
            .then(|| Self(text.into()))
            .ok_or(KeyIdError)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a token says. Times are since the Unix epoch, in whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedKey {
    /// Its own name.
    pub id: KeyId,
    /// Its holder.
    pub name: NodeName,
    /// The mesh that it is for.
    pub mesh: MeshName,
    /// When it was issued.
    pub issued_at: Duration,
    /// When it begins to be valid.
    pub not_before: Duration,
    /// When it ends to be valid. Every token has an end, so that a revocation may be forgotten one day.
    pub expires_at: Duration,
    /// What its holder may do.
    pub rights: KeyRights,
}

/// The claims (RFC 7519). An unknown one is refused, since it may be a limit.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenText {
    aud: String,
    jti: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    rights: RightsText,
}

impl IssuedKey {
    /// The token.
    ///
    /// # Errors
    /// When it would be too long for a header.
    pub fn sign(&self, key: &IssuingKey) -> Result<String, JwsTooLong> {
        let claims = TokenText {
            aud: self.mesh.to_string(),
            jti: self.id.to_string(),
            sub: self.name.to_string(),
            iat: self.issued_at.as_secs(),
            nbf: self.not_before.as_secs(),
            exp: self.expires_at.as_secs(),
            rights: RightsText::of(&self.rights),
        };
        jws::sign(Purpose::Key, &claims, key)
    }

    /// What `token` says, when one of `issuers` signed it. Neither its mesh nor its times are checked.
    ///
    /// # Errors
    /// When it is not whole, or not signed by one of them.
    pub fn open(token: &[u8], issuers: &[IssuerPublicKey]) -> Result<Self, JwsError> {
        let claims = jws::open::<TokenText>(Purpose::Key, token, issuers)?;
        claims.read().ok_or(JwsError::NotUnderstood)
    }

    /// What `token` says, whoever signed it: for its holder's eyes.
    ///
    /// # Errors
    /// When it is not a whole token.
    pub fn peek(token: &[u8]) -> Result<Self, JwsError> {
        let claims = jws::peek::<TokenText>(token)?;
        claims.read().ok_or(JwsError::NotUnderstood)
    }

    /// The key as the node knows it.
    pub fn client_key(&self) -> ClientKey {
        ClientKey {
            name: self.name.as_str().into(),
            id: Some(self.id.clone()),
            not_before: self.not_before.saturating_sub(CLOCK_SKEW),
            expires_at: Some(self.expires_at),
            rights: self.rights.clone(),
        }
    }
}

impl TokenText {
    fn read(self) -> Option<IssuedKey> {
        Some(IssuedKey {
            id: self.jti.parse().ok()?,
            name: NodeName::new(&self.sub).ok()?,
            mesh: MeshName::new(&self.aud).ok()?,
            issued_at: Duration::from_secs(self.iat),
            not_before: Duration::from_secs(self.nbf),
            expires_at: Duration::from_secs(self.exp),
            rights: self.rights.read()?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn issued(name: &str) -> IssuedKey {
        IssuedKey {
            id: KeyId::generate().expect("an id"),
            name: NodeName::new(name).expect("a name"),
            mesh: MeshName::new("production").expect("a name"),
            issued_at: Duration::from_secs(1_000),
            not_before: Duration::from_secs(1_000),
            expires_at: Duration::from_secs(2_000),
            rights: KeyRights::default(),
        }
    }

    #[test]
    fn token_says_what_was_signed() {
        let key = IssuingKey::generate().expect("a key");
        let said = issued("app");
        let token = said.sign(&key).expect("a token");
        assert_eq!(
            IssuedKey::open(token.as_bytes(), &[key.public()]),
            Ok(said.clone())
        );
        assert_eq!(IssuedKey::peek(token.as_bytes()), Ok(said));
    }

    #[test]
    fn claim_that_this_build_does_not_know_is_not_ignored() {
        let key = IssuingKey::generate().expect("a key");
        let said = issued("app");
        let mut claims = serde_json::json!({
            "aud": "production", "jti": said.id.as_str(), "sub": "app",
            "iat": 1, "nbf": 1, "exp": 2, "rights": {"scopes": ["api"]},
        });
        let open = |claims: &serde_json::Value| {
            let token = jws::sign(Purpose::Key, claims, &key).expect("a token");
            IssuedKey::open(token.as_bytes(), &[key.public()])
        };
        assert!(open(&claims).is_ok());
        claims["hours"] = "9-17".into();
        assert_eq!(open(&claims), Err(JwsError::NotUnderstood));
    }

    #[test]
    fn ids_have_one_form() {
        let id = KeyId::generate().expect("an id");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for text in [
            "",
            "gvk_",
            "gvk_XYZ",
            &id.as_str()[..20],
            "gvk_ABCDEFABCDEFABCDEFABCDEF",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(KeyIdError), "{text}");
        }
    }
}
