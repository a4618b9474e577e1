//! Which nodes are alive and what they publish, as learned by gossip: two implementations behind one interface.
//!
//! Real chitchat, unmodified, for up to 100 nodes; a model of its rounds for more. Both are event-driven
//! in virtual time: the world calls [`Membership::next_due`], lets its own earlier events happen, then
//! calls [`Membership::advance`] to that moment and feeds the observations to its engines. Every message
//! passes through the world's [`Carrier`], which decides delay, loss and partitions.
//!
//! What it does not know: engines, requests, the meaning of a value. A value is the text on the wire,
//! its signature included, since its length counts.

mod held;
pub mod measure;
pub mod model;
pub mod real;
pub mod rumors;
mod settings;

use std::sync::Arc;

use grapevine_core::Instant;
use grapevine_core::ids::{Generation, NodeName};
use rand_chacha::ChaCha8Rng;

pub use model::Model;
pub use real::Real;
pub use settings::Settings;

/// A node, as an index into the world's table; below the number of nodes that the implementation was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// As an index into a table with one entry per node.
    pub const fn at(self) -> usize {
        self.0 as usize
    }

    /// The number in a node's name.
    pub(crate) fn of(name: &NodeName) -> Option<Self> {
        name.as_str().strip_prefix('n')?.parse().ok().map(Self)
    }
}

/// The simulated network, owned by the world with its own stream of randomness.
pub trait Carrier {
    /// When `bytes` sent at `now` arrive at `to`; `None` when they are lost. Never before `now`. Whether
    /// the receiver is alive at that moment does not matter here: the implementation drops what reaches a dead node.
    fn carry(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        bytes: usize,
    ) -> Option<Instant>;
}

/// A key and its value, as a node publishes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Such as `up.primary`.
    pub key: Arc<str>,
    /// The text on the wire.
    pub value: Arc<str>,
}

/// What a node learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Instant,
    /// The node that learned it.
    pub observer: NodeIndex,
    /// What.
    pub what: Observed,
}

/// What can be learned about another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// This incarnation of it counts as a member from now on.
    Up {
        /// The other node.
        node: NodeIndex,
        /// Its incarnation, by its generation.
        generation: Generation,
    },
    /// No incarnation of it is a member any more.
    Down {
        /// The other node.
        node: NodeIndex,
    },
    /// It published this. A value that was replaced before it reached the observer may never be observed.
    Value {
        /// The node that published it.
        author: NodeIndex,
        /// The incarnation that published it.
        generation: Generation,
        /// What it published.
        entry: Entry,
    },
}

/// What a node has sent since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages, the lost ones included.
    pub messages: u64,
    /// Their bytes, without headers of datagrams and connections.
    pub bytes: u64,
}

/// Membership for a fixed number of nodes, all of them down at first.
pub trait Membership {
    /// Starts an incarnation of `node`, which must be down, with its first values. It first gossips with
    /// `seeds` and tries them again while it knows no other node, as the product does. `generation` must be
    /// later than all earlier ones of the node.
    fn join(
        &mut self,
        now: Instant,
        node: NodeIndex,
        generation: Generation,
        seeds: &[NodeIndex],
        entries: &[Entry],
    );

    /// Ends a node without notice; it forgets everything.
    fn crash(&mut self, now: Instant, node: NodeIndex);

    /// Lets a live node publish a new value. Nothing happens if it is down or has published that already.
    fn set(&mut self, now: Instant, node: NodeIndex, entry: Entry);

    /// When something happens next; not before the last `now`.
    fn next_due(&self) -> Option<Instant>;

    /// Lets everything happen until `until`, that moment included, and returns what nodes learned, in
    /// order of time. `rng` draws whom to gossip with.
    fn advance(
        &mut self,
        until: Instant,
        carrier: &mut dyn Carrier,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Observation>;

    /// What `node` sent so far, over all its incarnations.
    fn sent(&self, node: NodeIndex) -> Sent;
}
