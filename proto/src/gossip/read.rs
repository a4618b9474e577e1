//! Bytes into a message, within limits.

use std::collections::BTreeSet;

use super::reader::Reader;
use super::{
    KEYS_MAX, KeyValue, MESSAGE_BYTES_MAX, Message, MessageError, NAME_BYTES_MAX, NODES_MAX,
    NodeDelta, StateEntry, blocks,
};

/// Reads a message. Costs a few MB of memory at most, whatever the bytes are.
///
/// # Errors
/// When `bytes` are not what an honest node could have sent: see [`MessageError`].
pub fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(MessageError::TooMuch);
    }
    let mut reader = Reader(bytes);
    if reader.bytes(3)? != [0x53, 0xb0, 1] {
        return Err(MessageError::Kind);
    }
    let message = match reader.byte()? {
        0 => Message::Syn {
            digest: digest(&mut reader)?,
            mesh: mesh(&mut reader)?,
        },
        1 => Message::SynAck {
            digest: digest(&mut reader)?,
            delta: delta(&mut reader)?,
        },
        2 => Message::Ack {
            delta: delta(&mut reader)?,
        },
        _ => return Err(MessageError::Kind),
    };
    reader.end()?;
    Ok(message)
}

fn mesh(reader: &mut Reader<'_>) -> Result<String, MessageError> {
    let text = reader.text(NAME_BYTES_MAX)?;
    Ok(text.to_owned())
}

fn digest(reader: &mut Reader<'_>) -> Result<Vec<StateEntry>, MessageError> {
    let content = blocks::read(reader)?;
    let mut reader = Reader(&content);
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    while !reader.is_empty() {
        if entries.len() == NODES_MAX {
            return Err(MessageError::TooMuch);
        }
        let entry = StateEntry {
            incarnation: reader.incarnation()?,
            heartbeat: reader.number()?,
            collected_version: reader.number()?,
            version: reader.number()?,
        };
        if !seen.insert(entry.incarnation.clone()) {
            return Err(MessageError::Order);
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn delta(reader: &mut Reader<'_>) -> Result<Vec<NodeDelta>, MessageError> {
    let content = blocks::read(reader)?;
    let mut reader = Reader(&content);
    let mut seen = BTreeSet::new();
    let mut nodes: Vec<NodeDelta> = Vec::new();
    let mut keys = 0;
    while !reader.is_empty() {
        match reader.byte()? {
            0 => {
                if nodes.len() == NODES_MAX {
                    return Err(MessageError::TooMuch);
                }
                let node = reader.node_delta()?;
                if !seen.insert(node.incarnation.clone()) {
                    return Err(MessageError::Order);
                }
                nodes.push(node);
            }
            1 => {
                keys += 1;
                if keys > KEYS_MAX {
                    return Err(MessageError::TooMuch);
                }
                let key = reader.key_value()?;
                nodes.last_mut().ok_or(MessageError::Order)?.add(key)?;
            }
            2 => {
                let version = reader.number()?;
                let node = nodes.last_mut().ok_or(MessageError::Order)?;
                // Where there are keys, the last one contains it.
                if node.version.is_some() || !node.keys.is_empty() {
                    return Err(MessageError::Order);
                }
                node.version = Some(version);
            }
            _ => return Err(MessageError::Kind),
        }
    }
    Ok(nodes)
}

impl NodeDelta {
    fn add(&mut self, key: KeyValue) -> Result<(), MessageError> {
        let highest = self.keys.last().map_or(0, |key| key.version);
        if key.version <= highest || self.version.is_some() {
            return Err(MessageError::Order);
        }
        self.keys.push(key);
        Ok(())
    }
}
