//! What peers say, checked and put in line for the engine.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use grapevine_core::engine::{Event, Via};
use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, MeshName, NodeName, Stamp};
use grapevine_proto::value::{self, Key};
use grapevine_proto::value_envelope::Rumor;
use tokio::time::Instant;

use super::authors::{Authors, Heard, of_envelope};
use super::chat::Change;
use super::counters::{Counters, Rejection};
use super::relays::{Kept, Relays};
use crate::mesh::identity::Verifier;
use crate::mesh::wire::RUMOR_BYTES_MAX;

/// Facts in line at which nothing more is taken from peers; one look at chitchat may go beyond it by
/// what changed there meanwhile.
const FACTS_MAX: usize = 4_096;

/// Rumors whose signatures are checked per second: an eighth of a core.
const RUMORS_PER_SECOND: u32 = 2_000;

/// Authors up to which none is forgotten.
const AUTHORS_KEPT: usize = 128;

/// What came in from peers and waits for the engine.
#[derive(Debug)]
pub(super) struct Hearing {
    node: NodeName,
    authors: Authors,
    relays: Relays,
    /// Rumors that may still be checked in this second.
    rumors_left: u32,
    /// The newest members, unless the engine has them.
    members: Option<BTreeSet<NodeName>>,
    facts: VecDeque<Event>,
    counters: Arc<Counters>,
}

impl Hearing {
    pub(super) fn new(
        mesh: MeshName,
        node: NodeName,
        verifier: Verifier,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            node,
            authors: Authors::new(mesh, verifier),
            relays: Relays::default(),
            rumors_left: RUMORS_PER_SECOND,
            members: None,
            facts: VecDeque::new(),
            counters,
        }
    }

    /// Whether nothing waits for the engine.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_none() && self.facts.is_empty()
    }

    /// Whether nothing more should be heard before the engine has taken some.
    pub(super) fn is_full(&self) -> bool {
        self.facts.len() >= FACTS_MAX
    }

    /// The next event for the engine.
    pub(super) fn next(&mut self) -> Option<Event> {
        let members = self.members.take().map(Event::MembersChanged);
        members.or_else(|| self.facts.pop_front())
    }

    pub(super) fn set_members(&mut self, members: BTreeSet<NodeName>) {
        self.members = Some(members);
    }

    /// A second has passed.
    pub(super) fn refill(&mut self) {
        self.rumors_left = RUMORS_PER_SECOND;
    }

    /// Whether so many authors are known that those whom chitchat forgot should go.
    pub(super) fn is_crowded(&self, members: usize) -> bool {
        self.authors.len() > members * 2 + AUTHORS_KEPT
    }

    pub(super) fn retain(&mut self, names: &BTreeSet<String>) {
        self.authors.retain(|node| names.contains(node.as_str()));
    }

    /// Whose life this is, if it is of another node and was proved by a signature.
    pub(super) fn member(&self, node: &str, life: u64) -> Option<NodeName> {
        let node = NodeName::new(node).ok()?;
        let is_member = node != self.node && self.authors.is_proven(&node, Generation(life));
        is_member.then_some(node)
    }

    /// The rumor to pass on, with the peer that needs it least.
    pub(super) fn relay(&self, node: &NodeName, key: &FactKey, stamp: Stamp) -> Option<&Kept> {
        self.relays.find(node, key, stamp)
    }

    /// Takes a rumor that `from` pushed.
    pub(super) fn rumor(&mut self, from: NodeName, bytes: Bytes) {
        if let Err(reason) = self.check_rumor(&from, &bytes) {
            self.counters.reject(reason, &from);
        }
    }

    fn check_rumor(&mut self, from: &NodeName, bytes: &Bytes) -> Result<(), Rejection> {
        if bytes.len() > RUMOR_BYTES_MAX {
            return Err(Rejection::Oversize);
        }
        let Rumor {
            author,
            key,
            certificate,
            envelope,
        } = Rumor::parse(bytes).map_err(of_envelope)?;
        let Key::Fact(key) = value::parse_key(&key).map_err(|_| Rejection::Malformed)? else {
            return Ok(());
        };
        if author == self.node || self.authors.knows(&author, &key, envelope.stamp) {
            Counters::add(&self.counters.rumors_repeated);
            return Ok(());
        }
        let left = self.rumors_left.checked_sub(1);
        self.rumors_left = left.ok_or(Rejection::Throttled)?;
        let now = Instant::now();
        let heard = self
            .authors
            .hear(now, &author, &key, &envelope, certificate)?;
        if let Heard::News(stamp, fact) = heard {
            Counters::add(&self.counters.rumors_heard);
            let kept = Kept {
                stamp,
                from: from.clone(),
                bytes: bytes.clone(),
            };
            self.relays.keep(author.clone(), key, kept);
            self.put(author, stamp, fact, Via::Rumor);
        }
        Ok(())
    }

    /// Takes what one life changed; false when that life is not proven yet.
    pub(super) fn change(&mut self, change: &Change) -> bool {
        let life = Generation(change.id.generation_id);
        let Ok(node) = NodeName::new(&change.id.node_id) else {
            let source = &"a node without a proper name";
            self.counters.reject(Rejection::Malformed, source);
            return true;
        };
        if self.authors.is_past(&node, life) {
            return true;
        }
        let mut is_proven = true;
        for (key, text) in &change.keys {
            match self.check_value(&node, life, key, text) {
                Ok(Heard::News(stamp, fact)) => self.put(node.clone(), stamp, fact, Via::Gossip),
                Ok(Heard::Known) => {}
                Ok(Heard::Unproven) => is_proven = false,
                Err(reason) => self.counters.reject(reason, &node),
            }
        }
        is_proven
    }

    fn check_value(
        &mut self,
        node: &NodeName,
        life: Generation,
        key: &str,
        text: &str,
    ) -> Result<Heard, Rejection> {
        let now = Instant::now();
        match value::parse_key(key).map_err(|_| Rejection::Malformed)? {
            Key::Unknown => Ok(Heard::Known),
            Key::Certificate => {
                self.authors.hear_certificate(now, node, life, text)?;
                Ok(Heard::Known)
            }
            Key::Fact(key) => self.authors.hear_gossip(now, node, life, &key, text),
        }
    }

    fn put(&mut self, node: NodeName, stamp: Stamp, fact: Fact, via: Via) {
        self.facts.push_back(Event::FactHeard {
            node,
            stamp,
            fact,
            via,
        });
    }
}
