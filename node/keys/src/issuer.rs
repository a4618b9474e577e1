//! The operator's issuing key, and the public half that nodes hold.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair};

use super::token::hex;

/// What public keys begin with.
const PREFIX: &str = "ed25519:";

/// Bytes of a key's digest in its id.
const ID_BYTES: usize = 8;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Characters in a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// Signs keys and statements about them. It belongs to the operator; no node needs it.
pub struct IssuingKey {
    pkcs8: Vec<u8>,
    public: IssuerPublicKey,
}

/// Why there is no issuing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuingKeyError {
    /// Not a private key of Ed25519 in PKCS #8 and PEM.
    #[error("is not an Ed25519 private key in PEM (PKCS #8)")]
    Form,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl IssuingKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, IssuingKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.map_err(|_| IssuingKeyError::Random)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// The key in `pem`, as [`IssuingKey::to_pem`] or `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// When it holds none.
    pub fn from_pem(pem: &str) -> Result<Self, IssuingKeyError> {
        let body = pem
            .split_once(PEM_BEGIN)
            .and_then(|(_, rest)| rest.split_once(PEM_END))
            .map(|(body, _)| body.split_ascii_whitespace().collect::<String>())
            .ok_or(IssuingKeyError::Form)?;
        let pkcs8 = STANDARD.decode(body).map_err(|_| IssuingKeyError::Form)?;
        Self::from_pkcs8(&pkcs8)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, IssuingKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8);
        let pair = pair.map_err(|_| IssuingKeyError::Form)?;
        let mut public = [0; ED25519_PUBLIC_KEY_LEN];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self {
            pkcs8: pkcs8.to_vec(),
            public: IssuerPublicKey(public),
        })
    }

    /// The key as a file. Secret.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(&self.pkcs8);
        let mut pem = format!("{PEM_BEGIN}\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(PEM_LINE));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str(PEM_END);
        pem.push('\n');
        pem
    }

    /// Its public half.
    pub const fn public(&self) -> IssuerPublicKey {
        self.public
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

/// Shows the public half alone.
impl fmt::Debug for IssuingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IssuingKey({})", self.public)
    }
}

/// The public half of an issuing key: verifies, and is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerPublicKey([u8; ED25519_PUBLIC_KEY_LEN]);

/// Why a text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be ed25519: and 43 characters of base64url")]
pub struct IssuerPublicKeyError;

impl IssuerPublicKey {
    /// Its name in what it signs (`kid`): the first half of the digits of a digest.
    pub fn id(&self) -> String {
        let digest = digest(&SHA256, &self.0);
        hex(&digest.as_ref()[..ID_BYTES])
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for IssuerPublicKey {
    type Err = IssuerPublicKeyError;

    fn from_str(text: &str) -> Result<Self, IssuerPublicKeyError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(IssuerPublicKeyError)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded);
        let bytes = bytes.map_err(|_| IssuerPublicKeyError)?;
        bytes.try_into().map(Self).map_err(|_| IssuerPublicKeyError)
    }
}

impl fmt::Display for IssuerPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for IssuerPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_back_from_its_file_and_its_public_half_from_its_text() {
        let key = IssuingKey::generate().expect("a key");
        let read = IssuingKey::from_pem(&key.to_pem()).expect("the same key");
        assert_eq!(read.public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn key_of_another_tool_is_read() {
        // RFC 8410, 10.3: a private key without its public half.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = IssuingKey::from_pem(pem).expect("a key");
        let public = "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";
        assert_eq!(key.public().to_string(), public);
    }

    #[test]
    fn other_texts_are_no_keys() {
        for pem in [
            "",
            PEM_BEGIN,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            let error = IssuingKey::from_pem(pem).expect_err("no key");
            assert_eq!(error, IssuingKeyError::Form);
        }
        for text in [
            "",
            "ed25519:",
            "ed25519:AAAA",
            "rsa:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE",
        ] {
            assert_eq!(text.parse::<IssuerPublicKey>(), Err(IssuerPublicKeyError));
        }
    }
}
