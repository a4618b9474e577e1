//! Pretends: drives the core that ships, on a clock and a network of its own.

mod atlas;
mod chance;
pub mod digest;
pub mod heap;
pub mod membership;
pub mod mesh;
mod network;
pub mod scenario;
