//! Who exists, and what they say of themselves: chitchat over the links, signed values, rumors.
//!
//! Reading order: [`task`] (the one task that owns all of it), `chat` (one life of chitchat),
//! `codec` (its messages on our connections), `own` (what this node tells), `hearing` (what peers say)
//! with `former` (this node before this life),
//! `authors` (whose word counts) and `relays` (what to pass on), `members` (who is alive), `seeds`
//! (whom to try first), [`counters`].
//!
//! Chitchat relays everybody's keys, does not check who wrote them, and ends for good on some
//! malformed messages. So no value counts before its author's signature was checked, no node counts
//! as a member before one of its values did, and chitchat is watched and started again in a new
//! life. The data path depends on none of it.
//!
//! What it does not know: QUIC. It moves bytes through [`super::wire`].

mod authors;
mod chat;
mod codec;
pub mod counters;
mod former;
mod hearing;
mod members;
mod own;
mod relays;
mod seeds;
pub mod task;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Rejection};
pub use task::{Gossip, GossipConfig};
