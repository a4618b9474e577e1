//! Restarts of chitchat: after it ended, was written into, or peers knew a later incarnation.
//!
//! Each incarnation has a higher number than those before, so that peers replace them by it. No member is
//! declared dead between two.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::clock;
use grapevine_core::ids::Generation;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::authors::AuthorIncarnation;
use super::super::chat::Chat;
use super::super::counters::{Counters, Rejection};
use super::{CONTACTS_MAX, STABLE_AFTER, Task};
use crate::wire::GossipOutput;

/// The first and the longest pause before chitchat is started again.
pub(super) const RESTART_DELAY: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(2);

/// Intervals that a new incarnation needs to find every member again; a rejoin takes about 0.4 s.
const REJOIN_INTERVALS: u32 = 10;

impl<O: GossipOutput> Task<O> {
    pub(super) async fn start(&mut self) {
        let values = self.own.seal_first();
        let changed = Arc::clone(&self.changed);
        let generation = self.own.gossip_generation();
        self.transport.guard.begin_incarnation(generation);
        let started = Chat::start(
            &self.chat_config,
            generation,
            values,
            &self.transport,
            changed,
        )
        .await;
        match started {
            Ok(chat) => {
                self.started_at = Instant::now();
                for address in self.contacts.drain(..) {
                    chat.gossip(address);
                }
                self.chat = Some(chat);
                info!(generation = generation.0, "gossip runs");
            }
            Err(error) => self.on_end(&error.to_string()),
        }
    }

    pub(super) fn on_foreign_write(&mut self) {
        let node = self.chat_config.node.clone();
        self.counters.reject(Rejection::ForeignWrite, &node);
        self.on_end("somebody else wrote into this node's state");
    }

    /// Ends this chitchat and schedules the next, with a later incarnation. No member is declared dead
    /// meanwhile.
    pub(super) fn on_end(&mut self, cause: &str) {
        let now = Instant::now();
        let has_run = self.chat.take().is_some();
        if has_run && now.duration_since(self.started_at) > STABLE_AFTER {
            self.restart_delay = RESTART_DELAY;
        }
        let room = CONTACTS_MAX.saturating_sub(self.contacts.len());
        self.contacts.extend(self.live_addresses.iter().take(room));
        let delay = self.restart_delay;
        self.restart_delay = (delay * 2).min(RESTART_DELAY_MAX);
        self.start_at = now + delay;
        let next = Generation(self.own.gossip_generation().0.saturating_add(1));
        let next = next.max(clock::generation());
        self.own.begin_gossip_generation(next);
        let rejoin = self.chat_config.interval * REJOIN_INTERVALS;
        self.members.freeze(now, delay + rejoin);
        Counters::add(&self.counters.restarts);
        warn!(
            cause,
            ?delay,
            "gossip ended; it will be restarted in a new incarnation"
        );
    }

    /// Rises above an earlier incarnation of this node: in gossip at once, in the stamps once the engine has.
    pub(super) fn supersede(&mut self, former: AuthorIncarnation) {
        if former.node > self.own.generation() {
            self.receiver.put_former(former.node);
        }
        if former.gossip > self.own.gossip_generation() {
            self.on_end("peers know a later incarnation of this node");
            self.own.rise_above(former.gossip);
        }
    }

    /// The engine rose above an earlier incarnation of this node: gossip begins a new incarnation too.
    pub(super) fn begin_generation(&mut self, generation: Generation) {
        self.own.begin_generation(generation);
        if self.chat.is_some() {
            self.on_end("the node publishes everything again");
        }
    }
}
