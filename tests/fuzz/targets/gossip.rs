//! A message of gossip: what is read can be written, and is then read the same.

use grapevine_proto::gossip::{
    BLOCK_BYTES_MAX, CONTENT_BYTES_MAX, KEYS_MAX, MESSAGE_BYTES_MAX, Message, NODES_MAX, NodeDelta,
    decode, encode,
};

/// How every message begins.
const MAGIC: [u8; 3] = [0x53, 0xb0, 1];

/// A message as it came; without its magic, the content of a SYN-ACK's or an ACK's delta, which chance would
/// seldom frame.
pub(crate) fn target(bytes: &[u8]) {
    if bytes.starts_with(&MAGIC[..1]) {
        return check(bytes);
    }
    let Some((kind, content)) = bytes.split_first() else {
        return;
    };
    let mut message = MAGIC.to_vec();
    match kind % 3 {
        0 => {
            message.push(0);
            blocks(content, &mut message);
            message.extend(b"\x02\x00m1");
        }
        1 => {
            message.extend([1, 0]);
            blocks(content, &mut message);
        }
        _ => {
            message.push(2);
            blocks(content, &mut message);
        }
    }
    check(&message);
}

fn blocks(content: &[u8], to: &mut Vec<u8>) {
    for block in content.chunks(BLOCK_BYTES_MAX) {
        to.push(2);
        to.extend((block.len() as u16).to_le_bytes());
        to.extend(block);
    }
    to.push(0);
}

fn check(bytes: &[u8]) {
    let Ok(message) = decode(bytes) else { return };
    assert!(bytes.len() <= MESSAGE_BYTES_MAX);
    let (entries, nodes): (usize, &[NodeDelta]) = match &message {
        Message::Syn { digest, .. } => (digest.len(), &[]),
        Message::SynAck { digest, delta } => (digest.len(), delta),
        Message::Ack { delta } => (0, delta),
    };
    assert!(entries <= NODES_MAX && nodes.len() <= NODES_MAX);
    let keys = || nodes.iter().flat_map(|node| &node.keys);
    assert!(keys().count() <= KEYS_MAX);
    let texts: usize = keys().map(|key| key.key.len() + key.value.len()).sum();
    assert!(texts <= CONTENT_BYTES_MAX);
    for node in nodes {
        // What chitchat asserts when it takes the delta and when it passes it on.
        assert!(
            node.keys
                .is_sorted_by(|one, next| one.version < next.version)
        );
        let highest = node.keys.last().map_or(0, |key| key.version);
        assert!(node.version.is_none_or(|version| version >= highest));
    }
    // What was compressed better than we do may not fit any more.
    if let Ok(written) = encode(&message) {
        assert_eq!(decode(&written), Ok(message));
    }
}
