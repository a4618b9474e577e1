//! The first frame on a new connection, both ways.

use std::net::SocketAddr;

use bincode::{BorrowDecode, Encode};
use grapevine_core::ids::{Generation, NodeName};

use super::codec;
use super::{DecodeError, EncodeError, GREETING_BYTES_MAX, VERSION};

/// The longest advertised `host:port`: a DNS name of 253 bytes and a port.
pub const HOST_BYTES_MAX: usize = 260;

/// The handshake of a link, which is up when both sides have sent theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The node. Must be the one that its certificate names.
    pub node: NodeName,
    /// Its incarnation.
    pub generation: Generation,
    /// Where peers reach it, which behind NAT is not where its packets come from.
    pub address: SocketAddr,
    /// The same as configured, `host:port`, to be resolved anew when the address no longer answers.
    pub host: String,
    /// The oldest version of the protocol that it speaks.
    pub version_min: u16,
    /// The newest.
    pub version_max: u16,
}

#[derive(Encode, BorrowDecode)]
struct WireGreeting<'a> {
    node: &'a str,
    generation: u64,
    address: &'a str,
    host: &'a str,
    version_min: u16,
    version_max: u16,
}

impl Greeting {
    /// The frame, length included.
    ///
    /// # Errors
    /// When the host is too long.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.host.len() > HOST_BYTES_MAX {
            return Err(EncodeError::TooLong {
                field: "advertised host",
                max: HOST_BYTES_MAX,
            });
        }
        let wire = WireGreeting {
            node: self.node.as_str(),
            generation: self.generation.0,
            address: &self.address.to_string(),
            host: &self.host,
            version_min: self.version_min,
            version_max: self.version_max,
        };
        codec::framed(&wire, "greeting", GREETING_BYTES_MAX)
    }

    /// Reads the payload of a frame, and checks that both sides speak a common version.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let wire: WireGreeting<'_> = codec::read(payload)?;
        if !(wire.version_min..=wire.version_max).contains(&VERSION) {
            return Err(DecodeError::Version {
                theirs: wire.version_max,
                ours: VERSION,
            });
        }
        if wire.host.len() > HOST_BYTES_MAX {
            return Err(DecodeError::OutOfRange { field: "host" });
        }
        let address = wire.address.parse();
        Ok(Self {
            node: NodeName::new(wire.node).map_err(|source| DecodeError::BadName {
                field: "node",
                source,
            })?,
            generation: Generation(wire.generation),
            address: address.map_err(|_| DecodeError::OutOfRange { field: "address" })?,
            host: wire.host.to_owned(),
            version_min: wire.version_min,
            version_max: wire.version_max,
        })
    }
}
