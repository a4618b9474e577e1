//! The only input of chitchat: reads what peers send, and passes on what the filter lets through.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chitchat::ChitchatId;
use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use grapevine_proto::gossip::{self, Incarnation};

use super::counters::{Counters, Rejection};
use super::filter::Filter;
use super::quarantined::Quarantined;
use crate::wire::GossipSender;

/// Guards chitchat in all its incarnations. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ChitchatGuard {
    started: tokio::time::Instant,
    filter: Arc<Mutex<Filter>>,
    quarantined: Arc<Quarantined>,
    counters: Arc<Counters>,
}

impl ChitchatGuard {
    pub(super) fn new(
        filter: Filter,
        quarantined: Arc<Quarantined>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            started: tokio::time::Instant::now(),
            filter: Arc::new(Mutex::new(filter)),
            quarantined,
            counters,
        }
    }

    /// The part of a message that chitchat may receive, if any.
    pub(super) fn pass(&self, from: &GossipSender, message: &[u8]) -> Option<Vec<u8>> {
        if self.quarantined.holds(&from.node) {
            self.counters.reject(Rejection::Quarantined, &from.node);
            return None;
        }
        let message = match gossip::decode(message) {
            Ok(message) => message,
            Err(error) => {
                self.counters.reject(Rejection::Message, &from.node);
                self.quarantined.put(&from.node, &error);
                return None;
            }
        };
        let passed = self
            .lock()
            .pass(self.now(), from, message, &self.counters)?;
        match gossip::encode(&passed) {
            Ok(bytes) => Some(bytes),
            Err(_) => {
                self.counters.reject(Rejection::Oversize, &from.node);
                None
            }
        }
    }

    #[cfg(test)]
    pub(super) const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The codec cannot read what the guard wrote of a message from `from`: a fault of this build.
    pub(super) fn disagrees(&self, from: &dyn fmt::Display) {
        self.counters.reject(Rejection::Message, from);
    }

    /// Gossip begins a new incarnation.
    pub(super) fn begin_incarnation(&self, generation: Generation) {
        self.lock().begin_incarnation(generation);
    }

    /// A second has passed.
    pub(super) fn refill(&self) {
        self.lock().refill();
        self.quarantined.log_ended();
    }

    /// Forgets the nodes that chitchat has forgotten.
    pub(super) fn retain(&self, known: &BTreeSet<ChitchatId>) {
        let is_known = |incarnation: &Incarnation| {
            let Incarnation {
                node,
                generation,
                address,
            } = incarnation;
            let id = ChitchatId::new(node.as_str(), generation.0, *address);
            known.contains(&id)
        };
        self.lock().retain(self.now(), is_known);
    }

    fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Filter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
