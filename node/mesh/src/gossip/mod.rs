//! Who exists, and what they say of themselves: chitchat over the links, signed values, rumors.
//!
//! Reading order: [`task`] (the one task that owns all of it), `chat` (one life of chitchat),
//! `codec` (its messages on our connections), `guard`, `filter` and `proof` (what of them it gets to see),
//! [`quarantined`] (whom it does not listen to), `own` (what this node tells), `receiver` (what peers say)
//! with `former` (this node before this life),
//! `authors` (whose word counts) and `relays` (what to pass on), `members` (who is alive), `seeds`
//! (whom to try first), [`counters`].
//!
//! Chitchat relays everybody's keys, does not check who wrote them, takes any amount of memory, and ends
//! for good on some malformed messages. So it sees no byte that a peer chose: a message is read by
//! `grapevine_proto::gossip`, whose header lists what chitchat would end by; what its authors did not sign
//! is left out; and the rest is written anew. Should chitchat end all the same, it is watched and
//! started again in a new life. The data path depends on none of it.
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
