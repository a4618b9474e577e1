//! The mesh: identities, one QUIC endpoint, links to peers, gossip and forwarded requests over them.
//!
//! Reading order: [`identity`] (who a node is), [`credentials`] (its files), [`authority`] (who
//! issues them), then [`wire`] (what
//! gossip sees of the links).

pub mod authority;
pub mod credentials;
pub mod gossip;
pub mod identity;
pub mod wire;
