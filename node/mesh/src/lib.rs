//! The mesh: identities, one QUIC endpoint, links to peers, gossip and forwarded requests over them.
//!
//! Reading order: [`identity`] (who a node is), [`credentials`] (its files), [`authority`] (who
//! issues them); [`tls`], [`endpoint`], [`hello`], [`links`], `gone` (what a link is, which one is used,
//! when it ends); [`forward`] and [`serve`] (a call's two ends), `receive` (a call's body), `inside` (calls of nodes to each other); [`wire`] (what gossip sees of the links)
//! and [`gossip`] itself.
//!
//! What it does not know: HTTP servers and clients. It carries calls and answers as `exchange` says.

mod accept;
mod admission;
pub mod credentials;
mod dial;
pub mod endpoint;
pub mod forward;
mod framed;
mod gone;
pub mod gossip;
pub mod hello;
mod hub;
pub mod identity;
mod inside;
pub mod links;
mod messages;
pub mod outbox;
mod outgoing;
mod rank;
mod receive;
pub mod serve;
mod session;
mod silence;
mod start;
pub mod streams;
pub mod table;
pub mod tls;
mod warm;
pub mod wire;

pub use credentials::{Credentials, CredentialsError};
pub use dial::Members;
pub use forward::Forwarder;
pub use hub::ServingRules;
pub use outgoing::MeshOutgoing;
pub use start::{MeshConfig, MeshHandle, Parts, StartError, start};

#[cfg(test)]
mod tests;
