//! Pretends: drives the core that ships, on a clock and a network of its own.
//!
//! [`heap`] orders what happens; [`mesh`] lets engines tell each other facts over links with a delay,
//! passing them through the encodings of `grapevine-proto` as real nodes do. What this crate does not
//! know: `grapevine-node`, sockets, real time.
//!
//! So far it is the kernel of the simulator: perfect membership, constant delays, no workload.

pub mod heap;
pub mod membership;
pub mod mesh;
