//! Signatures of other providers' thoughts in the form of Gemini's own, and bytes in base64.
//!
//! Gemini's clients decode a signature from base64, so a sealed one is encoded as a whole. What a client sends
//! may use either alphabet of base64, with or without padding; Google's SDK for Python uses that for URLs.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::DIALECT;
use crate::dialect::Dialect;
use crate::signature;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The signature of `origin` as Gemini writes it.
pub(super) fn sealed(proof: &str, origin: Dialect) -> String {
    if origin == DIALECT {
        proof.to_string()
    } else {
        BASE64.encode(signature::sealed(proof, origin, DIALECT))
    }
}

/// The signature that stands in a Gemini body, and whose it is.
pub(super) fn opened(text: String) -> (String, Dialect) {
    let decoded = BASE64.decode(standard(text.clone()).0).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.map(|seal| signature::opened(seal, DIALECT)) {
        Some((proof, origin)) if origin != DIALECT => (proof, origin),
        _ => (text, DIALECT),
    }
}

/// Bytes in base64, as inline data holds them.
pub(super) fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Base64 in the standard alphabet with padding, the one form that every other API takes, and how it came if that was
/// otherwise.
pub(super) fn standard(mut data: String) -> (String, Option<&'static str>) {
    let is_for_urls = data.contains(['-', '_']);
    if is_for_urls {
        data = data.replace('-', "+").replace('_', "/");
    }
    let missing = data.len().next_multiple_of(4) - data.len();
    let is_bare = missing > 0 && !data.ends_with('=');
    if is_bare {
        data.extend(std::iter::repeat_n('=', missing));
    }
    let form = match (is_for_urls, is_bare) {
        (true, true) => Some("url-bare"),
        (true, false) => Some("url"),
        (false, true) => Some("bare"),
        (false, false) => None,
    };
    (data, form)
}

/// Base64 as it came, by the form that [`standard`] named.
pub(super) fn as_it_came(data: &str, form: Option<&str>) -> String {
    let bare = data.trim_end_matches('=');
    let for_urls = |data: &str| data.replace('+', "-").replace('/', "_");
    match form {
        Some("url-bare") => for_urls(bare),
        Some("url") => for_urls(data),
        Some("bare") => bare.to_string(),
        _ => data.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_of_another_provider_is_base64_and_comes_back() {
        let text = sealed("c2ln.>?", Dialect::Messages);
        assert!(BASE64.decode(&text).is_ok());
        let expected = ("c2ln.>?".to_string(), Dialect::Messages);
        assert_eq!(opened(text.clone()), expected);
        let by_url = text.replace('+', "-").replace('/', "_");
        assert_eq!(opened(by_url.trim_end_matches('=').to_string()), expected);
    }

    #[test]
    fn both_alphabets_become_the_standard_one_and_come_back() {
        for (sent, expected) in [
            ("-_8", "+/8="),
            ("-_8=", "+/8="),
            ("+/8=", "+/8="),
            ("AA", "AA=="),
            ("AAAA", "AAAA"),
            ("", ""),
        ] {
            let (data, form) = standard(sent.to_string());
            assert_eq!(data, expected);
            assert_eq!(as_it_came(&data, form), sent);
        }
    }

    #[test]
    fn own_signature_stays_as_it_is() {
        for text in ["dGhvdWdodA==", "not base64!", ""] {
            assert_eq!(sealed(text, DIALECT), text);
            assert_eq!(opened(text.to_string()), (text.to_string(), DIALECT));
        }
    }
}
