//! What nodes publish to each other: gossip by the chosen membership, and rumors pushed ahead of it.
//!
//! Every value is written and read by `grapevine-proto`, sealed with a signature of the right length
//! that nobody checks. A value is read once and not once for each node that receives it: equal bytes
//! are equal facts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::{Event, Via};
use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, NodeName, Stamp};
use grapevine_core::links;
use grapevine_proto::value::envelope::{Envelope, Rumor, seal};
use grapevine_proto::value::{self, PAYLOAD_BYTES_MAX, StateKey, VALUE_BYTES_MAX};

use super::node::IncarnationNumber;
use super::{World, WorldEvent};
use crate::check::Seen;
use crate::membership::{Entry, NodeIndex, Observation, Observed};

/// A signature's length; nobody forges anything here.
const SIGNATURE: [u8; 64] = [7; 64];

/// A certificate's length.
const CERTIFICATE: [u8; 480] = [7; 480];

/// A node that started more recently than this may still be taken for its earlier incarnation.
const SETTLES_IN: Duration = Duration::from_secs(4);

/// Values of one key that are kept as read.
const PUBLISHED_PER_KEY: usize = 4;

/// How long a node waits for more changes of the members before it takes them, in a small mesh and in a
/// large one, where each pass costs more.
const LOOKS_AFTER: Duration = Duration::from_millis(2);
const LOOKS_AFTER_MANY: Duration = Duration::from_millis(500);
const MANY: usize = 64;

/// A published fact, as read from its bytes.
#[derive(Debug)]
pub(super) struct SealedFact {
    pub(super) author: NodeIndex,
    pub(super) value: Arc<str>,
    pub(super) key: FactKey,
    pub(super) stamp: Stamp,
    pub(super) fact: Fact,
    /// As a rumor, in bytes.
    pub(super) rumor_bytes: usize,
    /// The incarnation in which each node received it last, 0 for none. Atomic to be shared; one thread uses it.
    received: Vec<AtomicU32>,
}

impl SealedFact {
    /// Whether a node received it before, in this incarnation.
    fn is_known(&self, node: NodeIndex, incarnation: IncarnationNumber) -> bool {
        self.received[node.at()].load(Ordering::Relaxed) == incarnation
    }

    fn mark_received(&self, node: NodeIndex, incarnation: IncarnationNumber) {
        self.received[node.at()].store(incarnation, Ordering::Relaxed);
    }
}

/// The last of what each node published.
pub(super) type PublishedFacts = Vec<Vec<Arc<SealedFact>>>;

impl World {
    /// Writes a fact, sets it in gossip, and pushes it where it is urgent.
    pub(super) fn publish(&mut self, node: NodeIndex, fact: &Fact, stamp: Stamp, urgent: bool) {
        let Some(published) = self.seal_fact(node, fact, stamp) else {
            return;
        };
        let key = published.key.to_string();
        let bytes = key.len() + published.value.len();
        self.checks.see(
            self.now,
            &Seen::Published {
                author: node,
                key: &published.key,
                bytes,
                fact,
            },
        );
        self.record.watch_published(self.now, node, stamp, fact);
        self.record.stands(node, fact);
        self.record_received(node, &published);
        let entry = Entry {
            key: key.into(),
            value: Arc::clone(&published.value),
        };
        self.members.set(self.now, node, entry);
        if urgent && self.rumors {
            self.push(node, None, &published);
        }
    }

    fn seal_fact(&mut self, node: NodeIndex, fact: &Fact, stamp: Stamp) -> Option<Arc<SealedFact>> {
        let key = fact.key();
        let payload = value::encode(fact, PAYLOAD_BYTES_MAX).ok()?;
        let sealed = seal(stamp, &payload.json, &SIGNATURE).ok()?;
        let name = &self.nodes[node.at()].name;
        let rumor = Rumor::encode(name, &key.to_string(), &CERTIFICATE, &sealed).ok()?;
        let nodes = self.nodes.len();
        let published = Arc::new(read(node, &key.to_string(), &sealed, (rumor.len(), nodes))?);
        let recent = &mut self.published[node.at()];
        let same_key = recent
            .iter()
            .filter(|other| other.key == published.key)
            .count();
        if same_key >= PUBLISHED_PER_KEY {
            let oldest = recent.iter().position(|other| other.key == published.key);
            oldest.map(|oldest| recent.remove(oldest));
        }
        recent.push(Arc::clone(&published));
        Some(published)
    }

    /// Sends a rumor to the peers it goes to, but `except`.
    fn push(&mut self, node: NodeIndex, except: Option<NodeIndex>, published: &Arc<SealedFact>) {
        let Some(process) = &self.nodes[node.at()].process else {
            return;
        };
        let links = process
            .links
            .iter()
            .filter(|(peer, _)| Some(**peer) != except);
        let mut to: Vec<(NodeIndex, IncarnationNumber)> = links
            .map(|(peer, link)| (*peer, link.incarnation))
            .collect();
        links::spread(&mut to, &mut self.chance.routing);
        for (peer, incarnation) in to {
            let arrives = self
                .network
                .stream(self.now, node, peer, published.rumor_bytes);
            if let Some(at) = arrives {
                let rumor = WorldEvent::Rumor {
                    node: peer,
                    incarnation,
                    from: node,
                    published: Arc::clone(published),
                };
                self.plan(at, rumor);
            }
        }
    }

    /// Relays a peer's rumor, in a mesh in which not every node got it from its author.
    pub(super) fn relay(
        &mut self,
        node: NodeIndex,
        author: &NodeName,
        key: &FactKey,
        stamp: Stamp,
    ) {
        let members = self.nodes[node.at()].process.as_ref();
        let relays = members.is_some_and(|process| links::relays(process.members.len()));
        if !relays || !self.rumors {
            return;
        }
        let Some(author) = NodeIndex::of(author) else {
            return;
        };
        let mut recent = self.published[author.at()].iter().rev();
        let published = recent
            .find(|published| published.key == *key && published.stamp == stamp)
            .cloned();
        if let Some(published) = published {
            self.push(node, self.rumor_sender, &published);
        }
    }

    pub(super) fn rumor_arrives(
        &mut self,
        node: NodeIndex,
        incarnation: IncarnationNumber,
        from: NodeIndex,
        published: &Arc<SealedFact>,
    ) {
        let now = self.now;
        let sender = self.nodes[from.at()].name.clone();
        let process = self.nodes[node.at()].process.as_mut();
        let Some(process) = process.filter(|process| process.incarnation == incarnation) else {
            return;
        };
        // The product's gossip drops what it knows before it counts it or passes it to its engine.
        if published.author == node || published.is_known(node, incarnation) {
            return;
        }
        if now.since(process.refilled_checks_at) >= Duration::from_secs(1) {
            process.refilled_checks_at = now;
            process.checks.refill();
        }
        if process.checks.take(&sender) {
            self.rumor_sender = Some(from);
            self.receive(node, published, Via::Rumor);
        }
    }

    fn receive(&mut self, node: NodeIndex, published: &Arc<SealedFact>, via: Via) {
        self.record_received(node, published);
        if self.sabotage.loses_fact(node, published.author) {
            return;
        }
        if let Some(incarnation) = self.incarnation_of(node) {
            published.mark_received(node, incarnation);
        }
        let event = Event::FactReceived {
            node: self.nodes[published.author.at()].name.clone(),
            stamp: published.stamp,
            fact: published.fact.clone(),
            via,
        };
        self.deliver(node, event);
    }

    /// Records that a node received a fact, apart from what its engine makes of it.
    fn record_received(&mut self, node: NodeIndex, published: &Arc<SealedFact>) {
        self.record
            .watch_received(self.now, node, published.author, published.stamp);
        self.checks.see(
            self.now,
            &Seen::Received {
                observer: node,
                author: published.author,
                stamp: published.stamp,
                fact: &published.fact,
            },
        );
    }

    /// Lets gossip happen until `until`, and passes to the engines what nodes learned.
    pub(super) fn gossip_until(&mut self, until: Instant) {
        let found = self
            .members
            .advance(until, &mut self.network, &mut self.chance.membership);
        for contact in self.network.take_contacts() {
            self.exchanged(contact);
        }
        for Observation { at, observer, what } in found {
            self.now = self.now.max(at);
            let kind = match &what {
                Observed::Up { node, .. } => 101 + (u64::from(node.0) << 8),
                Observed::Down { node } => 102 + (u64::from(node.0) << 8),
                Observed::Value { author, .. } => 103 + (u64::from(author.0) << 8),
            };
            let describe = || Some(format!("n{} learns {}", observer.0, what.describe()));
            self.tail.add(self.now, describe);
            let nanos = self.now.since_start().as_nanos() as u64;
            self.digest.words(&[nanos, kind, u64::from(observer.0)]);
            self.observed(observer, what);
        }
    }

    fn observed(&mut self, observer: NodeIndex, what: Observed) {
        match what {
            Observed::Up { node, .. } => self.member(observer, node, true),
            Observed::Down { node } => {
                let is_false = self.is_settled(node) && self.is_settled(observer);
                self.record.death(self.now, observer, node, is_false);
                self.member(observer, node, false);
            }
            Observed::Value { author, entry, .. } => {
                let recent = self.published[author.at()].iter().rev();
                let mut same = recent.filter(|published| {
                    Arc::ptr_eq(&published.value, &entry.value) || *published.value == *entry.value
                });
                let published = same.next().cloned();
                let read = || read(author, &entry.key, &entry.value, (0, self.nodes.len()));
                let published = published.or_else(|| read().map(Arc::new));
                if let Some(published) = published {
                    self.receive(observer, &published, Via::Gossip);
                }
            }
        }
    }

    /// Whether a node has been up for a while, and nothing keeps its packets from arriving.
    fn is_settled(&self, node: NodeIndex) -> bool {
        let node = &self.nodes[node.at()];
        let is_old = self.now.since(node.began_at) >= SETTLES_IN;
        node.runs(self.now) && is_old && !self.network.is_cut_anywhere()
    }

    fn member(&mut self, observer: NodeIndex, node: NodeIndex, is_up: bool) {
        let Some(process) = &mut self.nodes[observer.at()].process else {
            return;
        };
        let changed = match is_up {
            true => process.members.insert(node),
            false => process.members.remove(&node),
        };
        if changed {
            process.warm = None;
        }
        if changed && !process.members_are_due {
            process.members_are_due = true;
            let incarnation = process.incarnation;
            let wait = match process.members.len() > MANY {
                true => LOOKS_AFTER_MANY,
                false => LOOKS_AFTER,
            };
            let looks = WorldEvent::Members {
                node: observer,
                incarnation,
            };
            self.plan(self.now + wait, looks);
        }
    }

    pub(super) fn members_changed(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        let process = self.nodes[node.at()].process.as_mut();
        let Some(process) = process.filter(|process| process.incarnation == incarnation) else {
            return;
        };
        process.members_are_due = false;
        let members = process.members.clone();
        let names = members
            .iter()
            .map(|peer| self.nodes[peer.at()].name.clone());
        let names = names.collect();
        self.deliver(node, Event::MembersChanged(names));
        self.dial_wanted(node);
    }

    /// A node with a clock that went back learns of its earlier incarnation, once that is silent.
    pub(super) fn earlier_incarnation(&mut self, node: NodeIndex, incarnation: IncarnationNumber) {
        if !self.is_incarnation(node, incarnation) {
            return;
        }
        let recent = self.published[node.at()].iter();
        let latest = recent.map(|published| published.stamp.generation).max();
        if let Some(generation) = latest.filter(|it| *it > self.nodes[node.at()].generation) {
            self.nodes[node.at()].generation = Generation(generation.0 + 1);
            self.deliver(node, Event::FormerIncarnation { generation });
        }
    }
}

/// Reads what was written, as any of so many nodes that receive it would.
fn read(
    author: NodeIndex,
    key: &str,
    sealed: &str,
    (rumor_bytes, nodes): (usize, usize),
) -> Option<SealedFact> {
    let envelope = Envelope::parse(sealed, VALUE_BYTES_MAX).ok()?;
    let Ok(StateKey::Fact(key)) = value::parse_key(key) else {
        return None;
    };
    let fact = value::decode(&key, envelope.payload).ok()?;
    Some(SealedFact {
        author,
        stamp: envelope.stamp,
        value: sealed.into(),
        key,
        fact,
        rumor_bytes,
        received: std::iter::repeat_with(AtomicU32::default)
            .take(nodes)
            .collect(),
    })
}
