//! Who is alive and what they say of themselves, as gossip finds it out: two makes behind one interface.
//!
//! Real chitchat, unmodified, for up to 100 nodes; a model of its rounds for more. Both are event-driven
//! in virtual time: the world calls [`Membership::next_due`], lets its own earlier events happen, then
//! calls [`Membership::advance`] to that moment and feeds the observations to its engines. What travels
//! passes through the world's [`Carrier`], which decides delay, loss and partitions.
//!
//! What it does not know: engines, requests, the meaning of a value. A value is the text as it travels,
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

/// A node by its place in the world's table; below the number of nodes that the make was built for.
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
    /// the receiver is alive at that moment is not asked here: the make drops what reaches the dead.
    fn carry(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        bytes: usize,
    ) -> Option<Instant>;
}

/// A key and its value, as a node tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Such as `up.primary`.
    pub key: Arc<str>,
    /// The text that travels.
    pub value: Arc<str>,
}

/// What a node found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Instant,
    /// Who found out.
    pub observer: NodeIndex,
    /// What.
    pub what: Observed,
}

/// What can be found out about another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// This life of it counts as a member from now on.
    Up {
        /// The other node.
        node: NodeIndex,
        /// Its life.
        life: Generation,
    },
    /// No life of it is a member any more.
    Down {
        /// The other node.
        node: NodeIndex,
    },
    /// It tells this. A value that was replaced before the observer heard of it may never be observed.
    Value {
        /// The node that tells.
        author: NodeIndex,
        /// The life in which it tells.
        life: Generation,
        /// What it tells.
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

/// A make of membership for a fixed number of nodes, all of them down at first.
pub trait Membership {
    /// Starts a life of `node`, which must be down, with what it tells at first. It first gossips with
    /// `seeds` and tries them again while it knows nobody, as the product does. `life` must be later
    /// than every earlier life of the node.
    fn join(
        &mut self,
        now: Instant,
        node: NodeIndex,
        life: Generation,
        seeds: &[NodeIndex],
        entries: &[Entry],
    );

    /// Ends a node without a word; it forgets everything.
    fn crash(&mut self, now: Instant, node: NodeIndex);

    /// Lets a live node tell a new value. Nothing happens where it is down or tells that already.
    fn set(&mut self, now: Instant, node: NodeIndex, entry: Entry);

    /// When something happens next; not before the last `now`.
    fn next_due(&self) -> Option<Instant>;

    /// Lets everything happen until `until`, that moment included, and returns what nodes found out, in
    /// order of time. `rng` draws whom to gossip with.
    fn advance(
        &mut self,
        until: Instant,
        carrier: &mut dyn Carrier,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Observation>;

    /// What `node` sent so far, over all its lives.
    fn sent(&self, node: NodeIndex) -> Sent;
}
