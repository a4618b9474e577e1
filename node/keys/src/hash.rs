//! Hashes of client keys: what the file holds instead of the keys.
//!
//! SHA-256 without salt or stretching: a key is 256 random bits (`grapevine key hash --generate`), so
//! that guessing is hopeless already, and a slow hash would be paid at every request.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq;

const PREFIX: &str = "sha256:";

/// Why a text is not a key's hash. Does not quote the text, which may be a key by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be sha256: and 64 hexadecimal digits")]
pub struct HashError;

/// SHA-256 of a client's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

impl KeyHash {
    /// The hash of `key`; bytes, since a header need not be text.
    pub fn of(key: impl AsRef<[u8]>) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, key.as_ref()).as_ref());
        Self(bytes)
    }

    /// Its first bytes as a number: as good as random.
    pub(super) fn beginning(&self) -> u64 {
        let bytes = self.0.first_chunk().copied();
        u64::from_le_bytes(bytes.unwrap_or_default())
    }

    /// Whether `given` is this hash, in constant time.
    pub fn matches(&self, given: &Self) -> bool {
        self.0.ct_eq(&given.0).into()
    }
}

impl FromStr for KeyHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let digits = text.strip_prefix(PREFIX).ok_or(HashError)?.as_bytes();
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if digits.len() != 2 * SHA256_OUTPUT_LEN {
            return Err(HashError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex(pair[0])? << 4 | hex(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn hex(digit: u8) -> Result<u8, HashError> {
    let value = char::from(digit).to_digit(16).ok_or(HashError)?;
    u8::try_from(value).map_err(|_| HashError)
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{:02x}{:02x}..", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_fips_180() {
        // The "abc" example of FIPS 180-4.
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of("abc").to_string(), text);
        assert_eq!(text.parse(), Ok(KeyHash::of("abc")));
    }

    #[test]
    fn hash_matches_its_key_alone() {
        assert!(KeyHash::of("abc").matches(&KeyHash::of("abc")));
        assert!(!KeyHash::of("abc").matches(&KeyHash::of("abd")));
    }

    #[test]
    fn text_of_another_form_is_refused() {
        let digits = "0".repeat(64);
        assert!(format!("sha256:{digits}").parse::<KeyHash>().is_ok());
        for text in [
            digits.clone(),
            format!("sha256:{digits}0"),
            format!("sha256:{}g", "0".repeat(63)),
            String::new(),
        ] {
            assert_eq!(text.parse::<KeyHash>(), Err(HashError), "{text}");
        }
    }
}
