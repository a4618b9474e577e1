//! Domain names as people write them: the zone that is answered for, and its name servers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name in bytes, so that the names of nodes and regions fit below it into the 253 bytes that
/// DNS allows.
pub const DOMAIN_BYTES_MAX: usize = 180;

/// The longest label in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// A domain name in lower case, without the root's dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainName(Arc<str>);

/// Why a text is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing, or nothing but a dot.
    #[error("is empty")]
    Empty,
    /// More than [`DOMAIN_BYTES_MAX`].
    #[error("is longer than {DOMAIN_BYTES_MAX} bytes")]
    TooLong,
    /// A part between two dots is empty or too long, or has a hyphen at an end.
    #[error("has a label that is empty, longer than 63 bytes, or begins or ends with '-'")]
    Label,
    /// Something other than letters, digits, `-`, `_` and dots.
    #[error("must hold letters, digits, '-', '_' and dots alone")]
    Character,
}

impl DomainName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        let above = self.0.strip_suffix(&*zone.0);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}

impl FromStr for DomainName {
    type Err = DomainError;

    /// A trailing dot is accepted; letters of other alphabets must be written as `xn--`.
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(DomainError::Empty);
        }
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !name.bytes().all(is_fit) {
            return Err(DomainError::Character);
        }
        if name.len() > DOMAIN_BYTES_MAX {
            return Err(DomainError::TooLong);
        }
        let is_label = |label: &str| {
            let is_edged = label.starts_with('-') || label.ends_with('-');
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && !is_edged
        };
        if !name.split('.').all(is_label) {
            return Err(DomainError::Label);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Result<DomainName, DomainError> {
        text.parse()
    }

    #[test]
    fn name_is_kept_in_lower_case_without_the_last_dot() {
        for text in ["Api.Example.NET", "api.example.net."] {
            assert_eq!(domain(text).expect("a name").as_str(), "api.example.net");
        }
        assert!(domain("mesh").is_ok() && domain("_dns.xn--p1ai").is_ok());
    }

    #[test]
    fn text_that_is_no_name_is_refused() {
        let long = format!("{}.net", "a".repeat(64));
        let longer = ["abcdefghi"; 19].join(".");
        for (text, error) in [
            ("", DomainError::Empty),
            (".", DomainError::Empty),
            ("a..b", DomainError::Label),
            ("a.b..", DomainError::Label),
            (".a", DomainError::Label),
            ("-a.b", DomainError::Label),
            (&long, DomainError::Label),
            (&longer, DomainError::TooLong),
            ("a b.c", DomainError::Character),
            ("https://a.b", DomainError::Character),
            ("*.a.b", DomainError::Character),
            ("münchen.example", DomainError::Character),
        ] {
            assert_eq!(domain(text), Err(error), "{text}");
        }
    }

    #[test]
    fn name_within_a_zone_ends_with_its_labels() {
        let is_within = |name: &str, zone: &str| {
            let zone = domain(zone).expect("a name");
            domain(name).expect("a name").is_within(&zone)
        };
        assert!(is_within("example.net", "example.net"));
        assert!(is_within("a.b.example.net", "example.net"));
        assert!(!is_within("badexample.net", "example.net"));
        assert!(!is_within("net", "example.net"));
    }
}
