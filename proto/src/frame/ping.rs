//! What a datagram of a link carries: gossip, a ping and its echo, or a message about rights.

use std::time::Duration;

use bincode::{BorrowDecode, Encode};
use grapevine_core::fact::Load;
use grapevine_core::ids::UpstreamName;

use super::DecodeError;
use super::codec;
use super::rights::TAG_RIGHTS;

/// First byte of a datagram or of a unidirectional stream that carries gossip.
pub const TAG_GOSSIP: u8 = 1;
/// First byte of a ping.
pub const TAG_PING: u8 = 2;
/// First byte of its echo.
pub const TAG_PONG: u8 = 3;
/// First byte of a unidirectional stream that carries a rumor.
pub const TAG_RUMOR: u8 = 4;
/// First byte of the unidirectional stream that carries the greeting.
pub const TAG_GREETING: u8 = 5;

/// Loads in one echo at most; it must fit into a datagram of 1,200 bytes.
pub const LOADS_MAX: usize = 32;

/// A datagram, by its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// A gossip message.
    Gossip(&'a [u8]),
    /// Asks for an echo.
    Ping(Ping),
    /// The echo.
    Pong(Pong),
    /// A message about the rights of limits.
    Rights(&'a [u8]),
}

/// Asks for an echo at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the echo.
    pub sequence: u64,
}

/// The echo, with the loads of the echoing node's own upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// That of the ping.
    pub sequence: u64,
    /// Loads, as many as fit.
    pub loads: Vec<Load>,
}

#[derive(Encode, BorrowDecode)]
struct WirePing {
    sequence: u64,
}

#[derive(Encode, BorrowDecode)]
struct WirePong<'a> {
    sequence: u64,
    loads: Vec<(&'a str, u32, u64)>,
}

impl Ping {
    /// The datagram.
    pub fn encode(self) -> Vec<u8> {
        let wire = WirePing {
            sequence: self.sequence,
        };
        codec::payload_after(vec![TAG_PING], &wire)
    }
}

impl Pong {
    /// The datagram, with as many loads as fit into `bytes_max` and at most [`LOADS_MAX`].
    pub fn encode(&self, bytes_max: usize) -> Vec<u8> {
        /// Tag, version, sequence and the list's length at their widest.
        const FIXED_BYTES_MAX: usize = 1 + 3 + 9 + 1;
        /// A load's numbers and its name's length at their widest.
        const LOAD_BYTES_MAX: usize = 1 + 5 + 9;
        let mut room = bytes_max.saturating_sub(FIXED_BYTES_MAX);
        let mut loads = Vec::with_capacity(self.loads.len().min(LOADS_MAX));
        for load in self.loads.iter().take(LOADS_MAX) {
            let name = load.upstream.as_str();
            let Some(left) = room.checked_sub(LOAD_BYTES_MAX + name.len()) else {
                break;
            };
            room = left;
            let ttft = u64::try_from(load.ttft.as_micros()).unwrap_or(u64::MAX);
            loads.push((name, load.in_flight, ttft));
        }
        let wire = WirePong {
            sequence: self.sequence,
            loads,
        };
        codec::payload_after(vec![TAG_PONG], &wire)
    }
}

impl<'a> Datagram<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// On an unknown first byte, and on a malformed ping or echo.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let (tag, payload) = datagram.split_first().ok_or(DecodeError::Malformed)?;
        match *tag {
            TAG_GOSSIP => Ok(Self::Gossip(payload)),
            TAG_PING => {
                let WirePing { sequence } = codec::read(payload)?;
                Ok(Self::Ping(Ping { sequence }))
            }
            TAG_PONG => decode_pong(payload).map(Self::Pong),
            TAG_RIGHTS => Ok(Self::Rights(payload)),
            _ => Err(DecodeError::Malformed),
        }
    }
}

fn decode_pong(payload: &[u8]) -> Result<Pong, DecodeError> {
    let wire: WirePong<'_> = codec::read(payload)?;
    if wire.loads.len() > LOADS_MAX {
        return Err(DecodeError::OutOfRange { field: "loads" });
    }
    let load = |(name, in_flight, ttft_micros): &(&str, u32, u64)| {
        let upstream = UpstreamName::new(name).map_err(|source| DecodeError::BadName {
            field: "upstream",
            source,
        })?;
        Ok(Load {
            upstream,
            in_flight: *in_flight,
            ttft: Duration::from_micros(*ttft_micros),
        })
    };
    Ok(Pong {
        sequence: wire.sequence,
        loads: wire.loads.iter().map(load).collect::<Result<_, _>>()?,
    })
}
