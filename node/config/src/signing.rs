//! A key that webhooks are signed with, as Standard Webhooks 1.0 writes it: `whsec_` and base64.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::secret::REDACTED;

/// The optional prefix of a key; the rest is base64 then.
const PREFIX: &str = "whsec_";

/// The shortest key in bytes (the specification's lower limit).
pub const BYTES_MIN: usize = 24;

/// The bytes of a key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Arc<[u8]>);

/// Why the text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// Not base64 behind the prefix.
    #[error("is not base64 behind whsec_")]
    Encoding,
    /// Too few bytes.
    #[error("holds fewer than {BYTES_MIN} bytes")]
    TooShort,
}

impl SigningKey {
    /// What is behind `whsec_` as base64, else the text itself.
    ///
    /// # Errors
    /// When it cannot be read or is too short.
    pub fn new(text: &str) -> Result<Self, SigningKeyError> {
        let bytes = match text.strip_prefix(PREFIX) {
            Some(encoded) => {
                let decoded = STANDARD.decode(encoded);
                decoded.map_err(|_| SigningKeyError::Encoding)?
            }
            None => text.as_bytes().to_vec(),
        };
        match bytes.len() >= BYTES_MIN {
            true => Ok(Self(bytes.into())),
            false => Err(SigningKeyError::TooShort),
        }
    }

    /// The bytes: for signing alone.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_and_without_their_prefix() {
        let bytes = |text: &str| SigningKey::new(text).map(|key| key.expose().to_vec());
        let encoded = format!("whsec_{}", STANDARD.encode([1; 24]));
        assert_eq!(bytes(&encoded), Ok(vec![1; 24]));
        assert_eq!(bytes("whsec_!!!"), Err(SigningKeyError::Encoding));
        assert_eq!(bytes("too short"), Err(SigningKeyError::TooShort));
        assert!(bytes("twenty-four bytes or more").is_ok());
    }

    #[test]
    fn key_is_never_printed() {
        let key = SigningKey::new("twenty-four bytes or more").expect("a key");
        assert_eq!(format!("{key:?}"), REDACTED);
    }
}
