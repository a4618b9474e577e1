//! The signed form of everything that an issuing key says: a JWS, compact, EdDSA over Ed25519 alone.
//!
//! jsonwebtoken reads and writes it; ring signs and verifies, as everywhere in the node.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::issuer::{IssuerPublicKey, IssuingKey};
use super::signatures::{install, signature_by};

/// The longest JWS that is read, in bytes: a request's header has no room for more.
pub(super) const JWS_BYTES_MAX: usize = 4_096;

/// An Ed25519 signature in base64url without padding.
const SIGNATURE_CHARS: usize = 86;

/// What a JWS is for, as `typ` in its signed header (RFC 8725, 3.11: explicit typing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Key,
    Statement,
}

impl Purpose {
    const fn typ(self) -> &'static str {
        match self {
            Self::Key => "grapevine-key+jwt",
            Self::Statement => "grapevine-statement+jwt",
        }
    }
}

/// Why a text is not what an issuer signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Not a whole JWS of the expected kind.
    #[error("it is not whole, or not of this kind")]
    Malformed,
    /// Signed by a key that is not configured here.
    #[error("it was signed by a key that this node does not know")]
    UnknownIssuer,
    /// The signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// Signed, but it says something that this build does not know; it could be a limit, so it is not ignored.
    #[error("it says something that this build does not understand")]
    NotUnderstood,
}

/// Signs `claims`.
///
/// # Errors
/// When they are too long.
pub(super) fn sign(
    purpose: Purpose,
    claims: &impl Serialize,
    key: &IssuingKey,
) -> Result<String, JwsTooLong> {
    install();
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(purpose.typ().to_owned());
    header.kid = Some(key.public().id());
    let text = jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(key.pkcs8()));
    let text = text.map_err(|_| JwsTooLong)?;
    (text.len() <= JWS_BYTES_MAX)
        .then_some(text)
        .ok_or(JwsTooLong)
}

/// What was to be signed has no room in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it would be longer than {JWS_BYTES_MAX} bytes; name fewer models, regions or services")]
pub struct JwsTooLong;

/// The claims of `text`, which one of `issuers` signed for `purpose`.
///
/// What costs nothing is checked first: without the id of a known issuer no signature is verified.
pub(super) fn open<T: DeserializeOwned>(
    purpose: Purpose,
    text: &[u8],
    issuers: &[IssuerPublicKey],
) -> Result<T, JwsError> {
    install();
    if text.len() > JWS_BYTES_MAX {
        return Err(JwsError::Malformed);
    }
    let header = jsonwebtoken::decode_header(text).map_err(|_| JwsError::Malformed)?;
    let is_whole = signature_of(text).is_some_and(|it| it.len() == SIGNATURE_CHARS);
    // Extensions that must be understood (`crit`) are not.
    if header.typ.as_deref() != Some(purpose.typ())
        || header.alg != Algorithm::EdDSA
        || header.crit.is_some()
        || !is_whole
    {
        return Err(JwsError::Malformed);
    }
    let kid = header.kid.ok_or(JwsError::Malformed)?;
    let issuer = issuers.iter().find(|issuer| issuer.id() == kid);
    let issuer = issuer.ok_or(JwsError::UnknownIssuer)?;
    let key = DecodingKey::from_ed_der(issuer.bytes());
    let read = jsonwebtoken::decode::<T>(text, &key, &signature_by(Algorithm::EdDSA));
    read.map(|read| read.claims)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => JwsError::Signature,
            ErrorKind::Json(_) => JwsError::NotUnderstood,
            _ => JwsError::Malformed,
        })
}

/// The claims of `text`, unverified: for the holder's own eyes.
pub(super) fn peek<T: DeserializeOwned>(text: &[u8]) -> Result<T, JwsError> {
    install();
    let read = jsonwebtoken::dangerous::insecure_decode::<T>(text);
    read.map(|read| read.claims)
        .map_err(|_| JwsError::Malformed)
}

/// Whether `text` says of itself that an issuing key signed it for `purpose`. Nothing is verified.
pub(super) fn is_for(purpose: Purpose, text: &[u8]) -> bool {
    let header = jsonwebtoken::decode_header(text);
    header.is_ok_and(|header| header.typ.as_deref() == Some(purpose.typ()))
}

fn signature_of(text: &[u8]) -> Option<&[u8]> {
    text.rsplit(|byte| *byte == b'.').next()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn opened(text: &str, issuers: &[IssuerPublicKey]) -> Result<Value, JwsError> {
        open(Purpose::Key, text.as_bytes(), issuers)
    }

    #[test]
    fn what_is_signed_is_read_by_holders_of_the_public_key_for_its_purpose_alone() {
        let key = IssuingKey::generate().expect("a key");
        let other = IssuingKey::generate().expect("a key");
        let claims = json!({"sub": "app"});
        let text = sign(Purpose::Key, &claims, &key).expect("a token");
        assert_eq!(opened(&text, &[other.public(), key.public()]), Ok(claims));
        assert_eq!(
            opened(&text, &[other.public()]),
            Err(JwsError::UnknownIssuer)
        );
        let statement: Result<Value, _> =
            open(Purpose::Statement, text.as_bytes(), &[key.public()]);
        assert_eq!(statement, Err(JwsError::Malformed));
    }

    #[test]
    fn cut_and_changed_texts_are_refused() {
        let key = IssuingKey::generate().expect("a key");
        let text = sign(Purpose::Key, &json!({"sub": "app"}), &key).expect("a token");
        let issuers = [key.public()];
        for length in 0..text.len() {
            let cut = opened(&text[..length], &issuers);
            assert_eq!(cut, Err(JwsError::Malformed), "{length}");
        }
        let other = sign(Purpose::Key, &json!({"sub": "root"}), &key).expect("a token");
        let parts: Vec<&str> = text.split('.').collect();
        let others: Vec<&str> = other.split('.').collect();
        let mixed = [parts[0], others[1], parts[2]].join(".");
        assert_eq!(opened(&mixed, &issuers), Err(JwsError::Signature));
        let long = "e".repeat(JWS_BYTES_MAX + 1);
        assert_eq!(opened(&long, &issuers), Err(JwsError::Malformed));
    }

    #[test]
    fn no_other_algorithm_is_accepted() {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let key = IssuingKey::generate().expect("a key");
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"app"}"#);
        for algorithm in ["none", "HS256", "ES256", "RS256"] {
            let header = format!(
                r#"{{"typ":"grapevine-key+jwt","alg":"{algorithm}","kid":"{}"}}"#,
                key.public().id()
            );
            let header = URL_SAFE_NO_PAD.encode(header);
            let text = format!("{header}.{claims}.{}", "A".repeat(SIGNATURE_CHARS));
            let refused = opened(&text, &[key.public()]);
            assert_eq!(refused, Err(JwsError::Malformed), "{algorithm}");
        }
    }
}
