//! The messages of gossip, read and written without chitchat: the check in front of it.
//!
//! Chitchat 0.13 decompresses without a limit, and asserts what a hostile message can break. So a message
//! from a peer is read here first, within limits, and what chitchat sees is written here: it never reads a
//! byte that a peer chose. [`decode`] takes bytes of any origin.
//!
//! The format, all numbers in little endian: magic 0xb053 (2 bytes), version 1 (1), type (1), body.
//!
//! | type | body |
//! | --- | --- |
//! | 0 SYN | digest, name of the mesh |
//! | 1 SYN-ACK | digest, delta |
//! | 2 ACK | delta |
//!
//! A digest and a delta are *streams*: blocks of at most 16,384 bytes of content, each behind its kind (1
//! zstd, 2 as it is) and length (2), then a 0. The content of a digest is entries: incarnation, heartbeat
//! (8), last collected version (8), highest version (8). That of a delta is operations behind a tag: 0 a
//! node (incarnation, last collected version, version after which it goes on), 1 a key of that node (key,
//! value, version, kind of deletion), 2 that node's highest version. An incarnation is a name, a generation
//! (8) and an address (4 or 6, its bytes, port). A text is its length (2) and UTF-8.
//!
//! What would stop chitchat, and what prevents that:
//!
//! | in chitchat | a message would need | refused as |
//! | --- | --- | --- |
//! | `deserialize_stream`: no limit | many blocks of much content | [`MessageError::TooMuch`], [`MessageError::Compression`] |
//! | `apply_delta`: `max_version >= self.max_version` | a highest version below a key's | [`MessageError::Order`] |
//! | `apply_op`, asserted when a state is passed on | versions that do not rise, a node twice | [`MessageError::Order`] |
//! | `trigger_event`: the first byte of a key is a character | a key that begins beyond ASCII | [`MessageError::Text`] |
//! | `set`: `max_version + 1` | the receiver's own highest version at its end | [`MessageError::Number`]; and the node takes no delta of its own state |
//! | `inc_heartbeat`: no overflow | as above, of heartbeats | the same |
//! | `append`: an item of at most 65,535 bytes | a key and a value that large | [`MessageError::Text`] |
//! | `with_mtu`: room for 100 bytes beside the own digest | thousands of members | the node's limit of members |
//!
//! A sender of what is refused here is at fault itself and no relay of others: chitchat writes every
//! message anew from what it keeps, and a node of this build keeps only what passed.

mod blocks;
mod read;
mod reader;
mod write;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use grapevine_core::ids::{Generation, NodeName};

pub use read::decode;
pub use write::{TooLong, encode};

/// The longest message in bytes: what one UDP datagram of chitchat's own transport can hold.
pub const MESSAGE_BYTES_MAX: usize = 65_507;

/// The content of one digest or delta in bytes.
pub const CONTENT_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// The content of one digest or delta for each byte of the message, beside [`CONTENT_BYTES_FREE`]. A key carries
/// a signature of 64 bytes that cannot be compressed and has about a kibibyte at most, so that the content of an
/// honest message is up to 18 times as long.
pub const CONTENT_RATIO_MAX: usize = 32;

/// Content that even the shortest message may have.
pub const CONTENT_BYTES_FREE: usize = 64 * 1_024;

/// The content of one block in bytes: where chitchat begins another.
pub const BLOCK_BYTES_MAX: usize = 16_384;

/// Entries of a digest, and nodes of a delta: about what fits a message of an honest node.
pub const NODES_MAX: usize = 4_096;

/// Keys in one delta: more signatures than fit a message.
pub const KEYS_MAX: usize = 4_096;

/// The longest name of a node or mesh in bytes.
const NAME_BYTES_MAX: usize = 63;

/// The longest key in bytes: that of an upstream has 66 at most.
pub const KEY_BYTES_MAX: usize = 128;

/// The longest value in bytes: a certificate, the longest that there is, has less.
pub const VALUE_BYTES_MAX: usize = 4_096;

/// Heartbeats, versions and generations end here. A generation is a time in milliseconds, which comes here
/// in the year 10889; the others count what happens less often.
pub const NUMBER_MAX: u64 = 1 << 48;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Begins a round: what the sender knows, for a mesh of this name.
    Syn {
        /// The name of the mesh, at most 63 bytes.
        mesh: String,
        /// How far it knows each node.
        digest: Vec<StateEntry>,
    },
    /// Answers a SYN.
    SynAck {
        /// How far the sender knows each node.
        digest: Vec<StateEntry>,
        /// What the other lacks.
        delta: Vec<NodeDelta>,
    },
    /// Ends a round.
    Ack {
        /// What the other lacks.
        delta: Vec<NodeDelta>,
    },
}

/// One incarnation of one node's gossip, under one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation {
    /// The node.
    pub node: NodeName,
    /// The generation of its gossip.
    pub generation: Generation,
    /// Where it claims to be reached.
    pub address: SocketAddr,
}

/// How far one incarnation is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// Which.
    pub incarnation: Incarnation,
    /// Grows while it is alive.
    pub heartbeat: u64,
    /// Tombstones up to this version are collected.
    pub collected_version: u64,
    /// The highest version known of it.
    pub version: u64,
}

/// What is new of one incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDelta {
    /// Which.
    pub incarnation: Incarnation,
    /// Tombstones up to this version are collected.
    pub collected_version: u64,
    /// The delta holds what came after this version.
    pub after_version: u64,
    /// The keys, by rising version.
    pub keys: Vec<KeyValue>,
    /// Its highest version, where no key contains it.
    pub version: Option<u64>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key: visible ASCII.
    pub key: String,
    /// The value.
    pub value: String,
    /// Its version among all keys of its incarnation; at least 1.
    pub version: u64,
    /// Whether it goes away.
    pub deletion: Deletion,
}

/// Whether a key goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It stays.
    Stays,
    /// It is gone.
    Gone,
    /// It stays for a while.
    Passing,
}

/// Why bytes are not a message that an honest node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not gossip, or of a version or type that does not exist.
    #[error("not a message of gossip")]
    Kind,
    /// It ends in the middle, or goes on behind its end.
    #[error("cut short, or longer than announced")]
    Length,
    /// A block that cannot be decompressed, or holds more than a block may.
    #[error("a block that cannot be decompressed within {BLOCK_BYTES_MAX} bytes")]
    Compression,
    /// More content, nodes or keys than a message may hold.
    #[error("more content than a message may hold")]
    TooMuch,
    /// A text that is too long, or holds what it must not.
    #[error("a name, key or value that is not allowed")]
    Text,
    /// A number beyond its range.
    #[error("a heartbeat, version or generation out of range")]
    Number,
    /// An address at which nobody can be reached.
    #[error("an address that cannot be reached")]
    Address,
    /// Versions that do not rise, a node that comes twice, or a key of no node.
    #[error("versions that do not rise, or a node twice")]
    Order,
}
