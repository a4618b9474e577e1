//! What travels around a fact: its envelope, a rumor, a certificate.

use grapevine_proto::value::VALUE_BYTES_MAX;
use grapevine_proto::value::envelope::{
    CERTIFICATE_BYTES_MAX, Certificate, Envelope, Rumor, seal, signed_bytes,
};

/// What is read can be written, and is then read the same.
pub(crate) fn target(bytes: &[u8]) {
    if let Ok(rumor) = Rumor::parse(bytes) {
        let envelope = sealed(&rumor.envelope);
        let written = Rumor::encode(&rumor.author, &rumor.key, &rumor.certificate, &envelope);
        let written = written.expect("what came can be passed on");
        assert_eq!(Rumor::parse(&written).as_ref(), Ok(&rumor));
        let stamp = rumor.envelope.stamp;
        let payload = rumor.envelope.payload;
        let signed = signed_bytes("m", &rumor.author, &rumor.key, stamp, payload);
        let moved = signed_bytes(
            "m",
            &rumor.author,
            &format!("{}x", rumor.key),
            stamp,
            payload,
        );
        assert_ne!(signed, moved);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(envelope) = Envelope::parse(text, VALUE_BYTES_MAX) {
        let written = sealed(&envelope);
        assert_eq!(Envelope::parse(&written, VALUE_BYTES_MAX), Ok(envelope));
    }
    if let Ok(certificate) = Certificate::parse(text) {
        assert!(certificate.der.len() <= CERTIFICATE_BYTES_MAX);
        assert_eq!(Certificate::parse(&certificate.payload()), Ok(certificate));
    }
}

fn sealed(envelope: &Envelope<'_>) -> String {
    let sealed = seal(envelope.stamp, envelope.payload, &envelope.signature);
    sealed.expect("a payload that was read is JSON")
}
