//! A message into bytes, as chitchat reads them.

use std::net::IpAddr;

use super::{
    Deletion, Incarnation, KeyValue, MESSAGE_BYTES_MAX, Message, NodeDelta, StateEntry, blocks,
};

/// Content up to which it is not worth to be compressed.
const PLAIN_BYTES_MAX: usize = 24 * 1_024;

/// A message does not fit into [`MESSAGE_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("longer than {MESSAGE_BYTES_MAX} bytes")]
pub struct TooLong;

/// Writes a message.
///
/// # Errors
/// When it would be too long.
pub fn encode(message: &Message) -> Result<Vec<u8>, TooLong> {
    let mut bytes = vec![0x53, 0xb0, 1];
    match message {
        Message::Syn { mesh, digest } => {
            bytes.push(0);
            stream(digest, entry, &mut bytes);
            text(mesh, &mut bytes);
        }
        Message::SynAck { digest, delta } => {
            bytes.push(1);
            stream(digest, entry, &mut bytes);
            stream(delta, node_delta, &mut bytes);
        }
        Message::Ack { delta } => {
            bytes.push(2);
            stream(delta, node_delta, &mut bytes);
        }
    }
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(TooLong);
    }
    Ok(bytes)
}

fn stream<T>(items: &[T], write: impl Fn(&T, &mut Vec<u8>), to: &mut Vec<u8>) {
    let mut content = Vec::new();
    for item in items {
        write(item, &mut content);
    }
    blocks::write(&content, content.len() > PLAIN_BYTES_MAX, to);
}

fn entry(entry: &StateEntry, to: &mut Vec<u8>) {
    incarnation(&entry.incarnation, to);
    for number in [entry.heartbeat, entry.collected_version, entry.version] {
        to.extend(number.to_le_bytes());
    }
}

fn node_delta(node: &NodeDelta, to: &mut Vec<u8>) {
    to.push(0);
    incarnation(&node.incarnation, to);
    for number in [node.collected_version, node.after_version] {
        to.extend(number.to_le_bytes());
    }
    for key in &node.keys {
        to.push(1);
        key_value(key, to);
    }
    if let Some(version) = node.version {
        to.push(2);
        to.extend(version.to_le_bytes());
    }
}

fn key_value(key: &KeyValue, to: &mut Vec<u8>) {
    text(&key.key, to);
    text(&key.value, to);
    to.extend(key.version.to_le_bytes());
    to.push(match key.deletion {
        Deletion::Stays => 0,
        Deletion::Gone => 1,
        Deletion::Passing => 2,
    });
}

fn incarnation(incarnation: &Incarnation, to: &mut Vec<u8>) {
    text(incarnation.node.as_str(), to);
    to.extend(incarnation.generation.0.to_le_bytes());
    match incarnation.address.ip() {
        IpAddr::V4(ip) => {
            to.push(4);
            to.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            to.push(6);
            to.extend(ip.octets());
        }
    }
    to.extend(incarnation.address.port().to_le_bytes());
}

/// A text behind its length. Longer texts do not occur: names, keys and values of a message have been read, or are
/// this node's own.
fn text(text: &str, to: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    to.extend(length.to_le_bytes());
    to.extend(&text.as_bytes()[..usize::from(length)]);
}
