//! Frames of a link: what precedes a forwarded body, greetings, and pings.
//!
//! A frame on a stream is its length (u32, little-endian) and its payload; in a datagram it is the
//! payload alone. Every payload begins with the version of the protocol, so that a node can refuse
//! one it does not know and name both. What follows is bincode 2.0.1 by its own derive, under a
//! limit: with it a hostile length costs an error and no allocation. bincode is used in this module
//! alone, since it is no longer maintained: another codec replaces `codec.rs` and the derives.
//!
//! A forwarded call is, on one bidirectional stream: a [`RequestHead`], the body, the end of the
//! stream; then in answer a [`ResponseStart`] and, unless it is a [`NoAnswer`], the body. A body ends
//! whole where its stream ends; a body that broke off is a stream reset with a code of [`reset`].
//!
//! A call to the inside of a peer is the same with an [`InsideHead`] in front.
//!
//! Invariant: no input panics, and none makes a decoder allocate more than [`HEAD_BYTES_MAX`] a few
//! times over.

mod call;
mod client;
pub mod close;
mod codec;
mod greeting;
mod inside;
mod ping;
pub mod reset;
mod rights;

pub use call::{NoAnswer, RequestHead, ResponseHead, ResponseStart, WireLoad};
pub use greeting::{Greeting, HOST_BYTES_MAX};
pub use inside::{INSIDE_METHOD, InsideHead};
pub use ping::{
    Datagram, LOADS_MAX, Ping, Pong, TAG_GOSSIP, TAG_GREETING, TAG_PING, TAG_PONG, TAG_RUMOR,
};
pub use rights::{RIGHTS_BYTES_MAX, TAG_RIGHTS, decode_rights, encode_rights};

use grapevine_core::ids::NameError;

/// The version of the protocol that this build speaks.
pub const VERSION: u16 = 1;

/// Bytes of the length before a frame.
pub const LENGTH_BYTES: usize = 4;

/// The longest payload of a head frame.
pub const HEAD_BYTES_MAX: usize = 96 * 1_024;

/// The longest payload of a greeting.
pub const GREETING_BYTES_MAX: usize = 1_024;

/// Header fields of a forwarded request or response.
pub const HEADERS_MAX: usize = 128;

/// Bytes of all names and values of a head's fields together.
pub const HEADER_BYTES_MAX: usize = 64 * 1_024;

/// The longest path and query.
pub const PATH_BYTES_MAX: usize = 8 * 1_024;

/// The longest method.
pub const METHOD_BYTES_MAX: usize = 32;

/// The longest request id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The longest trace context.
pub const TRACEPARENT_BYTES_MAX: usize = 128;

/// Regions that a request may be fenced into.
pub const REGIONS_MAX: usize = 64;

/// The longest text that says why there is no answer; longer ones are cut.
pub const DETAIL_BYTES_MAX: usize = 512;

/// The longest forwarded request body.
pub const BODY_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version of the protocol.
    #[error("frame is of protocol version {theirs}, this node speaks version {ours}")]
    Version {
        /// The version of the frame.
        theirs: u16,
        /// [`VERSION`].
        ours: u16,
    },
    /// Longer than a frame of its kind may be.
    #[error("frame of {length} bytes is longer than the {max} allowed")]
    TooLong {
        /// The announced length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// Not what the codec would write, cut short, or with bytes left over.
    #[error("frame is malformed")]
    Malformed,
    /// A field is outside its range.
    #[error("frame's {field} is out of range")]
    OutOfRange {
        /// Which.
        field: &'static str,
    },
    /// A field is not a name.
    #[error("frame's {field} {source}")]
    BadName {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
}

/// Why something does not fit into a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field is longer than its limit.
    #[error("{field} is longer than the {max} that a frame may carry")]
    TooLong {
        /// Which.
        field: &'static str,
        /// The limit.
        max: usize,
    },
}

/// The length of the payload that follows, from the bytes before it.
///
/// # Errors
/// When it is above `max`; nothing need be read then.
pub fn payload_length(prefix: [u8; LENGTH_BYTES], max: usize) -> Result<usize, DecodeError> {
    let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if length > max {
        return Err(DecodeError::TooLong { length, max });
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
