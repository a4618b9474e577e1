//! WebSockets as tunnels: bytes pass both ways as they are, and frames are only followed.
//!
//! Reading order: [`frames`] (where frames end), [`own`] (the few that a node sends), [`closing`] (an upstream's direction and how
//! it ends), [`upload`] (a client's), [`counts`]. A call with the method `CONNECT` opens one; its answer is a success with an
//! [`upload`](crate::exchange::Answer::upload), as RFC 8441 has it in HTTP/2.

pub mod closing;
pub mod counts;
pub mod frames;
pub mod own;
pub mod upload;

/// A request whose client waits to be told that its connection, or stream, is a WebSocket from now on. Its body is what the client
/// sends afterwards: it must not be read before the answer is sent, which is a status of 101.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeOffer {
    /// What is wrong with it as HTTP; then no body follows, and it cannot be taken up.
    pub fault: Option<&'static str>,
}
