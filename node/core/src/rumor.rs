//! To whom a rumor goes: a fact that is pushed ahead of gossip.
//!
//! To all peers in a small mesh, where nobody passes it on. Beyond it to some, drawn anew each time, and who
//! hears it first passes it on in the same way.

/// Up to this many peers a rumor goes to all of them.
pub const PEERS_MAX: usize = 64;

/// To how many it goes beyond that. All of 1,000 nodes hear it in about three steps: two reach 256 and a
/// third the rest. With 12 the simulator's slowest transition took more than 1.5 times the largest one-way
/// delay, since two steps reached 144 only.
pub const FAN_OUT: usize = 16;
