//! Which nodes exist, and what they publish: chitchat over the links, signed values, rumors.
//!
//! Reading order: [`task`] (the one task that owns all of it), `chat` (one incarnation of chitchat),
//! `codec` (its messages on our connections), `guard`, `filter` and `proof` (which of them it receives),
//! [`quarantined`] (peers that are ignored for a while), `own` (what this node publishes), `receiver` (what
//! peers publish) with `former` (this node's earlier incarnations), `authors` (which authors are trusted) and
//! `relays` (what to relay), `members` (who is alive), `seeds` (which addresses to try first), [`counters`].
//!
//! Chitchat relays all nodes' keys, does not check who wrote them, takes any amount of memory, and ends
//! for good on some malformed messages. So it receives no byte that a peer chose: `grapevine_proto::gossip`
//! reads a message (its header lists what would end chitchat); what the authors did not sign is left out;
//! and the rest is encoded again. Should chitchat end all the same, it is restarted in a new incarnation.
//! The data path depends on none of it.
//!
//! What it does not know: QUIC. It moves bytes through [`super::wire`].

mod authors;
mod chat;
mod codec;
pub mod counters;
mod filter;
mod former;
mod guard;
mod members;
mod own;
mod proof;
pub mod quarantined;
mod receiver;
mod relays;
mod seeds;
pub mod task;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Rejection};
pub use quarantined::Quarantined;
pub use task::{Gossip, GossipConfig};
