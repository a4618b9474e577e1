//! Signatures of other providers' thoughts in the form of Gemini's own.
//!
//! Gemini's clients decode a signature from base64, so a sealed one is encoded as a whole. What a client sends back
//! may use either alphabet of base64.

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
    let standard = text.replace('-', "+").replace('_', "/");
    let decoded = BASE64.decode(standard).ok();
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
    fn own_signature_stays_as_it_is() {
        for text in ["dGhvdWdodA==", "not base64!", ""] {
            assert_eq!(sealed(text, DIALECT), text);
            assert_eq!(opened(text.to_string()), (text.to_string(), DIALECT));
        }
    }
}
