//! Ids of upstreams in an answer, in pieces that end at each byte 0xff, which is no byte of UTF-8.

use grapevine_node::ingress::probes::{opened, sealed};

/// However the bytes are cut into pieces, the same ids are sealed; nothing else changes, and what comes back is what was sent.
pub(crate) fn target(bytes: &[u8]) {
    let whole: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0xff).collect();
    let expected = sealed([&whole[..]]);
    assert!(expected.len() >= whole.len());
    assert_eq!(sealed(bytes.split(|byte| *byte == 0xff)), expected);
    assert_eq!(sealed(whole.chunks(1)), expected);
    // Bytes that end like a seal of another mesh are refused.
    if let Some(opened) = opened(&expected) {
        assert_eq!(opened, whole);
    }
}
