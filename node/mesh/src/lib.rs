//! The mesh: identities, one QUIC endpoint, links to peers, gossip and forwarded requests over them.
//!
//! Reading order: [`identity`] (who a node is), [`credentials`] (its files), [`signer`]; [`tls`], [`endpoint`],
//! `runtime` with `socket` and `relay` (what QUIC runs on, and how threads wake each other), [`hello`],
//! [`link`] (one connection), [`links`] (which of several is used), `session` and `gone` (its lifetime and its
//! end), `dial` and `accept` (how it is opened); [`forward`] and [`serve`] (a call's two ends), with `answer`,
//! `admission`, `receive` and `respond`; `inside` (calls of nodes to each other), `rights` (messages about the rights of limits); [`wire`] (the links as gossip
//! uses them) and [`gossip`] itself. `hub` holds what the tasks that serve peers share, and `start` starts them
//! all.
//!
//! What this crate does not know: HTTP servers and clients, configuration, what a task is. It carries calls and
//! answers as `grapevine_base::exchange` defines them.

mod accept;
mod admission;
mod answer;
mod complaints;
pub mod credentials;
mod dial;
pub mod endpoint;
pub mod forward;
mod forwards;
mod framed;
mod gone;
pub mod gossip;
mod halves;
pub mod hello;
mod hub;
pub mod identity;
mod idle;
mod inside;
pub mod link;
pub mod links;
mod loads;
mod members;
mod messages;
mod opener;
pub mod outbox;
mod outgoing;
mod pending;
mod preference;
mod receive;
mod relay;
mod respond;
mod rights;
mod rules;
mod runtime;
pub mod serve;
mod session;
pub mod signer;
mod silence;
mod socket;
mod start;
pub mod streams;
pub mod table;
pub mod tls;
mod tunnel;
mod warm;
pub mod wire;

pub use credentials::{Credentials, CredentialsError};
pub use forward::Forwarder;
pub use members::Members;
pub use outgoing::MeshOutgoing;
pub use rights::{RightsOutput, RightsWay};
pub use rules::ServingRules;
pub use start::{MeshHandle, MeshOptions, MeshParts, MeshStartError, start};

#[cfg(test)]
mod tests;
