//! Bytes into a message, within limits.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use grapevine_core::ids::{Generation, NodeName};

use super::{
    Deletion, Entry, Incarnation, KEY_BYTES_MAX, KEYS_MAX, KeyValue, MESSAGE_BYTES_MAX, Message,
    MessageError, NAME_BYTES_MAX, NODES_MAX, NUMBER_MAX, NodeDelta, VALUE_BYTES_MAX, blocks,
};

/// Bytes that are read from the front.
pub(super) struct Reader<'a>(&'a [u8]);

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

fn digest(reader: &mut Reader<'_>) -> Result<Vec<Entry>, MessageError> {
    let content = blocks::read(reader)?;
    let mut reader = Reader(&content);
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    while !reader.is_empty() {
        if entries.len() == NODES_MAX {
            return Err(MessageError::TooMuch);
        }
        let entry = Entry {
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
                // Where there are keys, the last one says it.
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

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(MessageError::Length)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(MessageError::Length)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, MessageError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn short(&mut self) -> Result<u16, MessageError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) const fn length(&self) -> usize {
        self.0.len()
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    const fn end(&self) -> Result<(), MessageError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(MessageError::Length)
        }
    }

    fn number(&mut self) -> Result<u64, MessageError> {
        let number = self.array().map(u64::from_le_bytes)?;
        if number <= NUMBER_MAX {
            Ok(number)
        } else {
            Err(MessageError::Number)
        }
    }

    fn text(&mut self, max: usize) -> Result<&'a str, MessageError> {
        let length = usize::from(self.short()?);
        if length > max {
            return Err(MessageError::Text);
        }
        str::from_utf8(self.bytes(length)?).map_err(|_| MessageError::Text)
    }

    fn incarnation(&mut self) -> Result<Incarnation, MessageError> {
        let node = self.text(NAME_BYTES_MAX)?;
        Ok(Incarnation {
            node: NodeName::new(node).map_err(|_| MessageError::Text)?,
            generation: Generation(self.number()?),
            address: self.address()?,
        })
    }

    fn address(&mut self) -> Result<SocketAddr, MessageError> {
        let ip: IpAddr = match self.byte()? {
            4 => self.array::<4>()?.into(),
            6 => self.array::<16>()?.into(),
            _ => return Err(MessageError::Kind),
        };
        let port = self.short()?;
        let is_nowhere = ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST;
        if is_nowhere || port == 0 {
            return Err(MessageError::Address);
        }
        Ok(SocketAddr::new(ip, port))
    }

    fn node_delta(&mut self) -> Result<NodeDelta, MessageError> {
        Ok(NodeDelta {
            incarnation: self.incarnation()?,
            collected_version: self.number()?,
            after_version: self.number()?,
            keys: Vec::new(),
            version: None,
        })
    }

    fn key_value(&mut self) -> Result<KeyValue, MessageError> {
        let key = self.text(KEY_BYTES_MAX)?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(MessageError::Text);
        }
        let value = self.text(VALUE_BYTES_MAX)?;
        let version = self.number()?;
        let deletion = match self.byte()? {
            0 => Deletion::Stays,
            1 => Deletion::Gone,
            2 => Deletion::Passing,
            _ => return Err(MessageError::Kind),
        };
        Ok(KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
            version,
            deletion,
        })
    }
}
