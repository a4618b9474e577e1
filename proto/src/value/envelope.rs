//! Who wrote a payload and when: the signed envelope around it, and the rumor around an envelope.
//!
//! Scuttlebutt relays everybody's keys and does not ask who wrote them, so a value carries its
//! owner's signature. It covers the mesh, the node, the key, the stamp and the payload's bytes
//! exactly as they travel: the payload is kept verbatim and never written anew, and no two different
//! statements have equal signed bytes, since every text is preceded by its length.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use grapevine_core::ids::{Generation, NameError, NodeName, Stamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::value::VALUE_BYTES_MAX;
use crate::value::position::POSITION_BYTES_MAX;

/// The longest envelope in bytes without its payload: field names, two numbers, the signature.
pub const SEAL_BYTES_MAX: usize = 192;

/// The longest certificate in bytes of DER. Ours have about 480; each DNS name adds its length.
pub const CERTIFICATE_BYTES_MAX: usize = 2_048;

/// The longest value under the certificate's key: its certificate in base64, an address, a position, and the
/// envelope.
pub const CERTIFICATE_VALUE_BYTES_MAX: usize =
    CERTIFICATE_BYTES_MAX.div_ceil(3) * 4 + 48 + 64 + POSITION_BYTES_MAX + SEAL_BYTES_MAX;

/// The longest rumor in bytes.
pub const RUMOR_BYTES_MAX: usize = 8 * 1_024;

/// Longest signature in bytes: Ed25519 has 64, ECDSA over P-256 at most 72, over P-384 at most 104.
const SIGNATURE_BYTES_MAX: usize = 104;

/// Keeps these signatures apart from any other use of the same key, TLS included.
const DOMAIN: &[u8] = b"grapevine gossip value v1\0";

/// Why bytes are not an envelope or a rumor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// More bytes than the limit.
    #[error("longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Not the JSON of an envelope or a rumor.
    #[error("not the JSON of an envelope")]
    Malformed,
    /// A name that is none.
    #[error("bad name: {0}")]
    Name(#[from] NameError),
}

/// A payload with its stamp and signature. Parsing checks the form and not the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Its position in the order of its node's facts.
    pub stamp: Stamp,
    /// The payload's JSON as it came.
    pub payload: &'a str,
    /// Over [`signed_bytes`].
    pub signature: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeJson<'a> {
    g: u64,
    v: u64,
    #[serde(borrow)]
    d: &'a RawValue,
    s: String,
}

impl<'a> Envelope<'a> {
    /// Takes an envelope of at most `bytes_max` bytes apart.
    ///
    /// # Errors
    /// When it is too long, or is not an envelope.
    pub fn parse(text: &'a str, bytes_max: usize) -> Result<Self, EnvelopeError> {
        check_length(text.len(), bytes_max)?;
        let json: EnvelopeJson<'a> =
            serde_json::from_str(text).map_err(|_| EnvelopeError::Malformed)?;
        Self::from_json(json)
    }

    fn from_json(json: EnvelopeJson<'a>) -> Result<Self, EnvelopeError> {
        check_length(json.s.len(), SIGNATURE_BYTES_MAX * 2)?;
        Ok(Self {
            stamp: Stamp {
                generation: Generation(json.g),
                version: json.v,
            },
            payload: json.d.get(),
            signature: unarmour(&json.s)?,
        })
    }
}

/// The envelope's text.
///
/// # Errors
/// [`EnvelopeError::Malformed`] when `payload` is not JSON.
pub fn seal(stamp: Stamp, payload: &str, signature: &[u8]) -> Result<String, EnvelopeError> {
    let payload: &RawValue = serde_json::from_str(payload).map_err(|_| EnvelopeError::Malformed)?;
    serde_json::to_string(&EnvelopeJson {
        g: stamp.generation.0,
        v: stamp.version,
        d: payload,
        s: BASE64.encode(signature),
    })
    .map_err(|_| EnvelopeError::Malformed)
}

/// What a signature covers: every text behind its length, so that none can borrow from its neighbour.
pub fn signed_bytes(
    mesh: &str,
    node: &NodeName,
    key: &str,
    stamp: Stamp,
    payload: &str,
) -> Vec<u8> {
    let texts = [mesh, node.as_str(), key, payload];
    let length: usize = texts.iter().map(|text| text.len() + 8).sum();
    let mut bytes = Vec::with_capacity(DOMAIN.len() + length + 16);
    bytes.extend_from_slice(DOMAIN);
    bytes.extend_from_slice(&stamp.generation.0.to_be_bytes());
    bytes.extend_from_slice(&stamp.version.to_be_bytes());
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// What a node gossips of its certificate.
///
/// Gossip may have to begin a new incarnation while the node goes on, so the generation that gossip knows need not be
/// the one in the stamps of facts. The certificate's value is stamped with the former and contains the latter, which
/// binds the two by a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate as DER.
    pub der: Vec<u8>,
    /// The incarnation of the node, as in the stamps of its facts.
    pub generation: Generation,
    /// Where this incarnation's gossip is reached, so that no relay can claim otherwise; `None` when its writer is of
    /// a build that does not send it.
    pub address: Option<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct CertificateJson {
    der: String,
    of: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<SocketAddr>,
}

impl Certificate {
    /// The payload of the certificate's key.
    pub fn payload(&self) -> String {
        let json = CertificateJson {
            der: BASE64.encode(&self.der),
            of: self.generation.0,
            at: self.address,
        };
        serde_json::to_string(&json).expect("texts and a number always are JSON")
    }

    /// Reads the payload of the certificate's key.
    ///
    /// # Errors
    /// When it or the certificate in it is too long, or it is not such a payload.
    pub fn parse(payload: &str) -> Result<Self, EnvelopeError> {
        check_length(payload.len(), CERTIFICATE_VALUE_BYTES_MAX)?;
        let json: CertificateJson =
            serde_json::from_str(payload).map_err(|_| EnvelopeError::Malformed)?;
        let der = unarmour(&json.der)?;
        check_length(der.len(), CERTIFICATE_BYTES_MAX)?;
        Ok(Self {
            der,
            generation: Generation(json.of),
            address: json.at,
        })
    }
}

/// A value that is pushed ahead of gossip, with the certificate that proves it. Parsing checks the
/// form and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rumor<'a> {
    /// Its claimed author.
    pub author: NodeName,
    /// Under which key.
    pub key: String,
    /// The author's certificate in DER, so that a peer that does not know the author can check.
    pub certificate: Vec<u8>,
    /// The value.
    pub envelope: Envelope<'a>,
}

#[derive(Serialize, Deserialize)]
struct RumorJson<'a> {
    n: String,
    k: String,
    c: String,
    #[serde(borrow)]
    e: &'a RawValue,
}

impl<'a> Rumor<'a> {
    /// Takes a rumor apart.
    ///
    /// # Errors
    /// When it or a part of it is too long, or it is not a rumor.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        check_length(bytes.len(), RUMOR_BYTES_MAX)?;
        let json: RumorJson<'a> =
            serde_json::from_slice(bytes).map_err(|_| EnvelopeError::Malformed)?;
        let certificate = unarmour(&json.c)?;
        check_length(certificate.len(), CERTIFICATE_BYTES_MAX)?;
        Ok(Self {
            author: NodeName::new(&json.n)?,
            key: json.k,
            certificate,
            envelope: Envelope::parse(json.e.get(), VALUE_BYTES_MAX)?,
        })
    }

    /// A rumor's bytes, of a sealed envelope.
    ///
    /// # Errors
    /// When `envelope` is not JSON, or the whole would be too long.
    pub fn encode(
        author: &NodeName,
        key: &str,
        certificate: &[u8],
        envelope: &str,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let envelope = serde_json::from_str(envelope).map_err(|_| EnvelopeError::Malformed)?;
        let bytes = serde_json::to_vec(&RumorJson {
            n: author.as_str().to_owned(),
            k: key.to_owned(),
            c: BASE64.encode(certificate),
            e: envelope,
        })
        .map_err(|_| EnvelopeError::Malformed)?;
        check_length(bytes.len(), RUMOR_BYTES_MAX)?;
        Ok(bytes)
    }
}

fn check_length(length: usize, max: usize) -> Result<(), EnvelopeError> {
    if length > max {
        Err(EnvelopeError::TooLong { max })
    } else {
        Ok(())
    }
}

fn unarmour(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    BASE64.decode(text).map_err(|_| EnvelopeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(generation: u64, version: u64) -> Stamp {
        Stamp {
            generation: Generation(generation),
            version,
        }
    }

    fn node(name: &str) -> NodeName {
        NodeName::new(name).expect("a valid name")
    }

    #[test]
    fn envelope_has_these_bytes() {
        let sealed = seal(
            stamp(1_763_750_000_000, 7),
            r#"{"phase":"ready"}"#,
            &[0, 1, 255],
        );
        assert_eq!(
            sealed.as_deref(),
            Ok(r#"{"g":1763750000000,"v":7,"d":{"phase":"ready"},"s":"AAH/"}"#)
        );
    }

    #[test]
    fn signed_bytes_are_these() {
        let bytes = signed_bytes("m", &node("n"), "phase", stamp(1, 2), "{}");
        let mut expected = b"grapevine gossip value v1\0".to_vec();
        expected.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        for text in ["m", "n", "phase", "{}"] {
            expected.extend([0, 0, 0, 0, 0, 0, 0, text.len() as u8]);
            expected.extend(text.as_bytes());
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn rumor_has_these_bytes() {
        let sealed = seal(stamp(1, 2), r#"{"phase":"ready"}"#, &[9]).expect("JSON");
        let bytes = Rumor::encode(&node("sgp"), "phase", &[1, 2, 3], &sealed).expect("fits");
        assert_eq!(
            String::from_utf8(bytes).expect("text"),
            r#"{"n":"sgp","k":"phase","c":"AQID","e":{"g":1,"v":2,"d":{"phase":"ready"},"s":"CQ"}}"#
        );
    }

    #[test]
    fn payload_is_kept_byte_for_byte() {
        let text = r#"{"g":1,"v":2,"d":{ "phase" :"ready",  "x":1e2},"s":"CQ","later":[1]}"#;
        let envelope = Envelope::parse(text, VALUE_BYTES_MAX).expect("an envelope");
        assert_eq!(envelope.payload, r#"{ "phase" :"ready",  "x":1e2}"#);
    }

    #[test]
    fn seal_without_payload_stays_in_its_limit() {
        let sealed = seal(stamp(u64::MAX, u64::MAX), "0", &[7; SIGNATURE_BYTES_MAX]);
        assert!(sealed.expect("JSON").len() <= SEAL_BYTES_MAX + 24);
        let sealed = seal(stamp(u64::MAX, u64::MAX), "0", &[7; 72]).expect("JSON");
        assert!(sealed.len() <= SEAL_BYTES_MAX, "{}", sealed.len());
    }

    #[test]
    fn oversize_is_refused_before_it_is_read() {
        let text = " ".repeat(VALUE_BYTES_MAX + 1);
        let error = Envelope::parse(&text, VALUE_BYTES_MAX).expect_err("too long");
        assert_eq!(
            error,
            EnvelopeError::TooLong {
                max: VALUE_BYTES_MAX
            }
        );
        let error = Rumor::parse(&vec![b'['; RUMOR_BYTES_MAX + 1]).expect_err("too long");
        assert_eq!(
            error,
            EnvelopeError::TooLong {
                max: RUMOR_BYTES_MAX
            }
        );
    }

    #[test]
    fn hostile_texts_are_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"g":-1,"v":2,"d":0,"s":""}"#,
            r#"{"g":1.5,"v":2,"d":0,"s":""}"#,
            r#"{"g":1e400,"v":2,"d":0,"s":""}"#,
            r#"{"g":1,"g":2,"v":2,"d":0,"s":""}"#,
            r#"{"g":1,"v":2,"d":0,"s":"!"}"#,
            r#"{"g":1,"v":2,"d":{,"s":""}"#,
            &format!(r#"{{"g":1,"v":2,"d":{},"s":""}}"#, "[".repeat(700)),
        ] {
            let error = Envelope::parse(text, VALUE_BYTES_MAX);
            assert_eq!(error, Err(EnvelopeError::Malformed), "{text}");
        }
        assert!(Rumor::parse(&[0xff, 0xfe]).is_err());
        assert!(
            Rumor::parse(br#"{"n":"a b","k":"phase","c":"","e":{"g":1,"v":2,"d":0,"s":""}}"#)
                .is_err()
        );
    }

    fn certificate(length: usize) -> Certificate {
        Certificate {
            der: vec![7; length],
            generation: Generation(u64::MAX),
            address: "[fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                .parse()
                .ok(),
        }
    }

    #[test]
    fn certificate_has_these_bytes() {
        let mut certificate = Certificate {
            der: vec![1, 2, 3],
            generation: Generation(9),
            address: None,
        };
        assert_eq!(certificate.payload(), r#"{"der":"AQID","of":9}"#);
        certificate.address = Some(([10, 0, 0, 7], 7_171).into());
        let payload = r#"{"der":"AQID","of":9,"at":"10.0.0.7:7171"}"#;
        assert_eq!(certificate.payload(), payload);
        assert_eq!(Certificate::parse(payload), Ok(certificate));
    }

    #[test]
    fn long_certificate_is_refused() {
        let fits = certificate(CERTIFICATE_BYTES_MAX);
        assert_eq!(Certificate::parse(&fits.payload()), Ok(fits.clone()));
        let sealed = seal(stamp(u64::MAX, 0), &fits.payload(), &[7; 72]).expect("JSON");
        assert!(Envelope::parse(&sealed, CERTIFICATE_VALUE_BYTES_MAX).is_ok());
        let long = certificate(CERTIFICATE_BYTES_MAX + 1).payload();
        assert!(Certificate::parse(&long).is_err());
    }

    proptest! {
        #[test]
        fn sealed_envelope_comes_back(
            generation: u64,
            version: u64,
            signature in proptest::collection::vec(any::<u8>(), 0..=72),
            text in ".{0,40}",
        ) {
            let payload = serde_json::to_string(&text).expect("JSON");
            let sealed = seal(stamp(generation, version), &payload, &signature).expect("JSON");
            let envelope = Envelope::parse(&sealed, VALUE_BYTES_MAX).expect("an envelope");
            prop_assert_eq!(envelope.stamp, stamp(generation, version));
            prop_assert_eq!(envelope.payload, payload);
            prop_assert_eq!(envelope.signature, signature);
        }

        #[test]
        fn no_two_statements_share_their_signed_bytes(
            a in ("[a-c]{0,3}", "[a-c]{1,3}", "[a-c]{0,3}", 0..3u64, 0..3u64, "[a-c]{0,3}"),
            b in ("[a-c]{0,3}", "[a-c]{1,3}", "[a-c]{0,3}", 0..3u64, 0..3u64, "[a-c]{0,3}"),
        ) {
            let bytes = |s: &(String, String, String, u64, u64, String)| {
                signed_bytes(&s.0, &node(&s.1), &s.2, stamp(s.3, s.4), &s.5)
            };
            prop_assert_eq!(a == b, bytes(&a) == bytes(&b));
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Rumor::parse(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let _ = Envelope::parse(&text, VALUE_BYTES_MAX);
            let _ = Certificate::parse(&text);
        }
    }
}
