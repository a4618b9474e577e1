//! Why a connection was closed: the application's error codes of QUIC.

/// The node shuts down.
pub const SHUTDOWN: u32 = 1;

/// A later incarnation of the peer is connected.
pub const STALE: u32 = 2;

/// Another connection to the same peer is used.
pub const SUPERFLUOUS: u32 = 3;

/// The peer is not the expected one, or too many are connected.
pub const REFUSED: u32 = 4;

/// Nothing was received from the peer for too long, or its process is gone.
pub const LOST: u32 = 5;
