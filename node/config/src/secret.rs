//! A text that must not be shown: keys, tokens, extra headers.
//!
//! Invariant: nothing prints it. `Debug`, `Display` and serialisation write [`REDACTED`];
//! [`Secret::expose`] is the only access, so that every use can be found by its name.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;

/// What is printed instead of a secret.
pub const REDACTED: &str = "***";

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Makes `text` a secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself: for the wire alone, never for a log, an error or a dump.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the secret, in a time that does not depend on how much of it is right.
    pub fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_printed_by_no_formatter() {
        let secret = Secret::new("sk-live");
        let json = serde_json::to_string(&secret).expect("text is valid JSON");
        let printed = format!("{secret} {secret:?} {secret:#?} {json}");
        assert_eq!(printed, "*** *** *** \"***\"");
    }

    #[test]
    fn secret_matches_itself_alone() {
        let secret = Secret::new("sk-live");
        assert!(secret.matches("sk-live"));
        assert!(!secret.matches("sk-liv") && !secret.matches("sk-live2") && !secret.matches(""));
    }
}
