//! Bytes, read from the front and never beyond their end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use grapevine_core::ids::{Generation, NodeName};

use super::{
    Deletion, Incarnation, KEY_BYTES_MAX, KeyValue, MessageError, NAME_BYTES_MAX, NUMBER_MAX,
    NodeDelta, VALUE_BYTES_MAX,
};

/// Bytes that are read from the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

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

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn end(&self) -> Result<(), MessageError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(MessageError::Length)
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, MessageError> {
        let number = self.array().map(u64::from_le_bytes)?;
        if number <= NUMBER_MAX {
            Ok(number)
        } else {
            Err(MessageError::Number)
        }
    }

    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, MessageError> {
        let length = usize::from(self.short()?);
        if length > max {
            return Err(MessageError::Text);
        }
        str::from_utf8(self.bytes(length)?).map_err(|_| MessageError::Text)
    }

    pub(super) fn incarnation(&mut self) -> Result<Incarnation, MessageError> {
        let node = self.text(NAME_BYTES_MAX)?;
        Ok(Incarnation {
            node: NodeName::new(node).map_err(|_| MessageError::Text)?,
            generation: Generation(self.number()?),
            address: self.address()?,
        })
    }

    pub(super) fn address(&mut self) -> Result<SocketAddr, MessageError> {
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

    pub(super) fn node_delta(&mut self) -> Result<NodeDelta, MessageError> {
        Ok(NodeDelta {
            incarnation: self.incarnation()?,
            collected_version: self.number()?,
            after_version: self.number()?,
            keys: Vec::new(),
            version: None,
        })
    }

    pub(super) fn key_value(&mut self) -> Result<KeyValue, MessageError> {
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
