//! What peers publish, checked and queued for the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::engine::{Event, Via};
use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, MeshName, NodeName, Stamp};
use grapevine_core::links::RumorChecks;
use grapevine_proto::value::envelope::Rumor;
use grapevine_proto::value::{self, StateKey};
use tokio::time::Instant;

use super::authors::{AuthorIncarnation, Authors, Reception, of_envelope};
use super::chat::GossipChange;
use super::counters::{Counters, Rejection};
use super::former::Former;
use super::quarantined::Quarantined;
use super::relays::{Kept, Relays};
use crate::identity::Verifier;
use crate::wire::RUMOR_BYTES_MAX;

/// Queued facts at which nothing more is taken from peers; one read of chitchat may exceed it by what
/// changed there meanwhile.
const FACTS_MAX: usize = 4_096;

/// The number of authors up to which none is forgotten.
const AUTHORS_KEPT: usize = 128;

/// What was received from peers and waits for the engine.
#[derive(Debug)]
pub(super) struct GossipReceiver {
    node: NodeName,
    authors: Authors,
    relays: Relays,
    former: Former,
    checks: RumorChecks,
    /// The newest members, unless the engine has them.
    members: Option<BTreeSet<NodeName>>,
    facts: VecDeque<Event>,
    counters: Arc<Counters>,
    quarantined: Arc<Quarantined>,
}

impl GossipReceiver {
    pub(super) fn new(
        mesh: MeshName,
        node: NodeName,
        verifier: Verifier,
        counters: Arc<Counters>,
        quarantined: Arc<Quarantined>,
    ) -> Self {
        Self {
            node,
            authors: Authors::new(mesh, verifier),
            relays: Relays::default(),
            former: Former::default(),
            checks: RumorChecks::default(),
            members: None,
            facts: VecDeque::new(),
            counters,
            quarantined,
        }
    }

    /// Whether nothing waits for the engine.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_none() && self.facts.is_empty()
    }

    /// Whether nothing more should be received before the engine has taken some.
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
        self.checks.refill();
    }

    /// Whether so many authors are known that those which chitchat has forgotten should be dropped.
    pub(super) fn is_crowded(&self, members: usize) -> bool {
        self.authors.len() > members * 2 + AUTHORS_KEPT
    }

    pub(super) fn retain(&mut self, names: &BTreeSet<String>) {
        self.authors.retain(|node| names.contains(node.as_str()));
    }

    /// Takes the incarnations of gossip that newcomers are sent, the latest of each node.
    pub(super) fn lapse(&mut self, sent: &BTreeMap<String, Generation>) {
        let is_sent = |node: &NodeName, gossip| {
            sent.get(node.as_str())
                .is_some_and(|latest| *latest >= gossip)
        };
        self.authors.lapse(is_sent);
    }

    /// The node of an incarnation, if it is another node and a signature proved the incarnation.
    pub(super) fn member(&self, node: &str, gossip: u64) -> Option<NodeName> {
        let node = NodeName::new(node).ok()?;
        let is_member = node != self.node && self.authors.is_proven(&node, Generation(gossip));
        is_member.then_some(node)
    }

    /// Whether `node` proved any incarnation of its gossip by a signature.
    pub(super) fn is_author(&self, node: &NodeName) -> bool {
        *node != self.node && self.authors.is_proven(node, Generation(0))
    }

    /// The rumor to relay, with the peer that it came from.
    pub(super) fn relay(&self, node: &NodeName, key: &FactKey, stamp: Stamp) -> Option<&Kept> {
        self.relays.find(node, key, stamp)
    }

    /// Takes a rumor that `from` pushed.
    pub(super) fn rumor(&mut self, from: NodeName, bytes: Bytes) {
        if self.quarantined.holds(&from) {
            self.counters.reject(Rejection::Quarantined, &from);
            return;
        }
        if let Err(reason) = self.check_rumor(&from, &bytes) {
            self.counters.reject(reason, &from);
            if reason == Rejection::Signature {
                // An honest relay has checked it, by the certificate that the rumor includes.
                let cause = "a rumor that the author it names did not sign";
                self.quarantined.put(&from, &cause);
            }
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
        } = Rumor::parse(bytes).map_err(|error| {
            self.quarantined.put(from, &error);
            of_envelope(error)
        })?;
        let StateKey::Fact(key) = value::parse_key(&key).map_err(|_| Rejection::Malformed)? else {
            return Ok(());
        };
        if author == self.node || self.authors.knows(&author, &key, envelope.stamp) {
            Counters::add(&self.counters.rumors_repeated);
            return Ok(());
        }
        if !self.checks.take(from) {
            return Err(Rejection::Throttled);
        }
        let now = Instant::now();
        let received = self
            .authors
            .receive(now, &author, &key, &envelope, certificate)?;
        if let Reception::New(stamp, fact) = received {
            Counters::add(&self.counters.rumors_new);
            let kept = Kept {
                stamp,
                from: from.clone(),
                bytes: bytes.clone(),
            };
            self.relays.keep(author.clone(), key, kept);
            self.put(author, stamp, *fact, Via::Rumor);
        }
        Ok(())
    }

    /// Takes what one incarnation changed; false when that incarnation is not proven yet, or past.
    pub(super) fn change(&mut self, change: &GossipChange) -> bool {
        let gossip = Generation(change.id.generation_id);
        let Ok(node) = NodeName::new(&change.id.node_id) else {
            let source = &"a node without a proper name";
            self.counters.reject(Rejection::Malformed, source);
            return true;
        };
        if node == self.node {
            self.own_incarnation(gossip, change);
            return true;
        }
        if self.authors.is_past(&node, gossip) {
            // Until the later incarnation lapses.
            return false;
        }
        let mut is_proven = true;
        for (key, text) in &change.keys {
            match self.check_value(&node, gossip, key, text) {
                Ok(Reception::New(stamp, fact)) => {
                    self.put(node.clone(), stamp, *fact, Via::Gossip)
                }
                Ok(Reception::Known) => {}
                Ok(Reception::Unproven) => is_proven = false,
                Err(reason) => self.counters.reject(reason, &node),
            }
        }
        is_proven
    }

    /// Takes another incarnation of this node itself, of which only the certificate matters.
    fn own_incarnation(&mut self, gossip: Generation, change: &GossipChange) {
        let is_certificate = |(key, _): &&(String, String)| key == value::CERTIFICATE_KEY;
        let now = Instant::now();
        for (_, text) in change.keys.iter().filter(is_certificate) {
            match self
                .authors
                .prove_incarnation(now, &self.node, gossip, text)
            {
                Ok(incarnation) => self.former.learn(now, incarnation),
                Err(reason) => self.counters.reject(reason, &self.node),
            }
        }
    }

    /// The earlier incarnation of this node that fell silent, once: see [`Former::silent`].
    pub(super) fn former_incarnation(
        &mut self,
        speaks: bool,
        interval: Duration,
    ) -> Option<AuthorIncarnation> {
        self.former.silent(Instant::now(), speaks, interval)
    }

    /// Queues an earlier incarnation of this node.
    pub(super) fn put_former(&mut self, generation: Generation) {
        self.facts
            .push_back(Event::FormerIncarnation { generation });
    }

    fn check_value(
        &mut self,
        node: &NodeName,
        gossip: Generation,
        key: &str,
        text: &str,
    ) -> Result<Reception, Rejection> {
        let now = Instant::now();
        match value::parse_key(key).map_err(|_| Rejection::Malformed)? {
            StateKey::Unknown => Ok(Reception::Known),
            StateKey::Certificate => {
                self.authors.receive_certificate(now, node, gossip, text)?;
                Ok(Reception::Known)
            }
            StateKey::Fact(key) => self.authors.receive_gossip(now, node, gossip, &key, text),
        }
    }

    fn put(&mut self, node: NodeName, stamp: Stamp, fact: Fact, via: Via) {
        self.facts.push_back(Event::FactReceived {
            node,
            stamp,
            fact,
            via,
        });
    }
}
