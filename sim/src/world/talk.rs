//! What nodes tell each other: gossip by the make of membership, and rumors pushed ahead of it.
//!
//! Every value is written and read by `grapevine-proto`, sealed with a signature of the right length
//! that nobody checks. A value is read once and not once for each node that hears it: equal bytes are
//! equal facts.

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

use super::node::LifeNumber;
use super::{Happening, World};
use crate::check::Seen;
use crate::membership::{Entry, NodeIndex, Observation, Observed};

/// A signature's length; nobody forges anything here.
const SIGNATURE: [u8; 64] = [7; 64];

/// A certificate's length.
const CERTIFICATE: [u8; 480] = [7; 480];

/// A node whose life is younger may still be taken for its former one.
const SETTLES_IN: Duration = Duration::from_secs(4);

/// Values of one key that are kept as read.
const SAYINGS_PER_KEY: usize = 4;

/// How long a node waits for more changes of the members before it looks, in a small mesh and in a
/// large one, where each look costs more.
const LOOKS_AFTER: Duration = Duration::from_millis(2);
const LOOKS_AFTER_MANY: Duration = Duration::from_millis(500);
const MANY: usize = 64;

/// What was said, as read from its bytes.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) author: NodeIndex,
    pub(super) value: Arc<str>,
    pub(super) key: FactKey,
    pub(super) stamp: Stamp,
    pub(super) fact: Fact,
    /// As a rumor, in bytes.
    pub(super) rumor_bytes: usize,
    /// In which of its lives each node heard it last, 0 for none. Atomic to be shared; one thread uses it.
    heard: Vec<AtomicU32>,
}

impl Said {
    /// Whether a node heard it before, in this life.
    fn is_known(&self, node: NodeIndex, life: LifeNumber) -> bool {
        self.heard[node.at()].load(Ordering::Relaxed) == life
    }

    fn is_heard_by(&self, node: NodeIndex, life: LifeNumber) {
        self.heard[node.at()].store(life, Ordering::Relaxed);
    }
}

/// The last of what each node said.
pub(super) type Sayings = Vec<Vec<Arc<Said>>>;

impl World {
    /// Writes a fact, sets it in gossip, and pushes it where it is urgent.
    pub(super) fn publish(&mut self, node: NodeIndex, fact: &Fact, stamp: Stamp, urgent: bool) {
        let Some(said) = self.say(node, fact, stamp) else {
            return;
        };
        let key = said.key.to_string();
        let bytes = key.len() + said.value.len();
        self.checks.see(
            self.now,
            &Seen::Told {
                author: node,
                key: &said.key,
                bytes,
                fact,
            },
        );
        self.record.watch_said(self.now, node, stamp, fact);
        self.knows(node, &said);
        let entry = Entry {
            key: key.into(),
            value: Arc::clone(&said.value),
        };
        self.members.set(self.now, node, entry);
        if urgent && self.rumors {
            self.push(node, None, &said);
        }
    }

    fn say(&mut self, node: NodeIndex, fact: &Fact, stamp: Stamp) -> Option<Arc<Said>> {
        let key = fact.key();
        let payload = value::encode(fact, PAYLOAD_BYTES_MAX).ok()?;
        let sealed = seal(stamp, &payload.json, &SIGNATURE).ok()?;
        let name = &self.nodes[node.at()].name;
        let rumor = Rumor::encode(name, &key.to_string(), &CERTIFICATE, &sealed).ok()?;
        let nodes = self.nodes.len();
        let said = Arc::new(read(node, &key.to_string(), &sealed, (rumor.len(), nodes))?);
        let sayings = &mut self.sayings[node.at()];
        let same_key = sayings.iter().filter(|other| other.key == said.key).count();
        if same_key >= SAYINGS_PER_KEY {
            let oldest = sayings.iter().position(|other| other.key == said.key);
            oldest.map(|oldest| sayings.remove(oldest));
        }
        sayings.push(Arc::clone(&said));
        Some(said)
    }

    /// Sends a rumor to the peers it goes to, but `except`.
    fn push(&mut self, node: NodeIndex, except: Option<NodeIndex>, said: &Arc<Said>) {
        let Some(life) = &self.nodes[node.at()].life else {
            return;
        };
        let links = life.links.iter().filter(|(peer, _)| Some(**peer) != except);
        let mut to: Vec<(NodeIndex, LifeNumber)> =
            links.map(|(peer, link)| (*peer, link.life)).collect();
        links::spread(&mut to, &mut self.chance.routing);
        for (peer, life) in to {
            let arrives = self.network.stream(self.now, node, peer, said.rumor_bytes);
            if let Some(at) = arrives {
                let rumor = Happening::Rumor {
                    node: peer,
                    life,
                    from: node,
                    said: Arc::clone(said),
                };
                self.plan(at, rumor);
            }
        }
    }

    /// Passes a peer's rumor on, in a mesh in which not everybody got it from its author.
    pub(super) fn relay(
        &mut self,
        node: NodeIndex,
        author: &NodeName,
        key: &FactKey,
        stamp: Stamp,
    ) {
        let members = self.nodes[node.at()].life.as_ref();
        let relays = members.is_some_and(|life| links::relays(life.members.len()));
        if !relays || !self.rumors {
            return;
        }
        let Some(author) = NodeIndex::of(author) else {
            return;
        };
        let mut said = self.sayings[author.at()].iter().rev();
        let said = said
            .find(|said| said.key == *key && said.stamp == stamp)
            .cloned();
        if let Some(said) = said {
            self.push(node, self.heard_from, &said);
        }
    }

    pub(super) fn rumor_arrives(
        &mut self,
        node: NodeIndex,
        number: LifeNumber,
        from: NodeIndex,
        said: &Arc<Said>,
    ) {
        let now = self.now;
        let sender = self.nodes[from.at()].name.clone();
        let life = self.nodes[node.at()].life.as_mut();
        let Some(life) = life.filter(|life| life.number == number) else {
            return;
        };
        // The product's gossip drops what it knows before it counts or its engine is told.
        if said.author == node || said.is_known(node, number) {
            return;
        }
        if now.since(life.refilled_checks_at) >= Duration::from_secs(1) {
            life.refilled_checks_at = now;
            life.checks.refill();
        }
        if life.checks.take(&sender) {
            self.heard_from = Some(from);
            self.hears(node, said, Via::Rumor);
        }
    }

    fn hears(&mut self, node: NodeIndex, said: &Arc<Said>, via: Via) {
        self.knows(node, said);
        if self.sabotage.loses_fact(node, said.author) {
            return;
        }
        if let Some(life) = self.life_of(node) {
            said.is_heard_by(node, life);
        }
        let event = Event::FactReceived {
            node: self.nodes[said.author.at()].name.clone(),
            stamp: said.stamp,
            fact: said.fact.clone(),
            via,
        };
        self.tell(node, event);
    }

    /// Notes who was told what, apart from what engines make of it.
    fn knows(&mut self, node: NodeIndex, said: &Arc<Said>) {
        self.record
            .watch_heard(self.now, node, said.author, said.stamp);
        self.checks.see(
            self.now,
            &Seen::Heard {
                observer: node,
                author: said.author,
                stamp: said.stamp,
                fact: &said.fact,
            },
        );
    }

    /// Lets gossip happen until `until`, and tells the engines what nodes found out.
    pub(super) fn gossip_until(&mut self, until: Instant) {
        let found = self
            .members
            .advance(until, &mut self.network, &mut self.chance.membership);
        for Observation { at, observer, what } in found {
            self.now = self.now.max(at);
            let kind = match &what {
                Observed::Up { node, .. } => 101 + (u64::from(node.0) << 8),
                Observed::Down { node } => 102 + (u64::from(node.0) << 8),
                Observed::Value { author, .. } => 103 + (u64::from(author.0) << 8),
            };
            let words = || Some(format!("n{} hears {}", observer.0, what.words()));
            self.tail.add(self.now, words);
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
                let sayings = self.sayings[author.at()].iter().rev();
                let mut same = sayings.filter(|said| {
                    Arc::ptr_eq(&said.value, &entry.value) || *said.value == *entry.value
                });
                let said = same.next().cloned();
                let read = || read(author, &entry.key, &entry.value, (0, self.nodes.len()));
                let said = said.or_else(|| read().map(Arc::new));
                if let Some(said) = said {
                    self.hears(observer, &said, Via::Gossip);
                }
            }
        }
    }

    /// Whether a node has been there for a while, and nothing keeps it from being heard.
    fn is_settled(&self, node: NodeIndex) -> bool {
        let node = &self.nodes[node.at()];
        let is_old = self.now.since(node.began_at) >= SETTLES_IN;
        node.runs(self.now) && is_old && !self.network.is_cut_anywhere()
    }

    fn member(&mut self, observer: NodeIndex, node: NodeIndex, is_up: bool) {
        let Some(life) = &mut self.nodes[observer.at()].life else {
            return;
        };
        let changed = match is_up {
            true => life.members.insert(node),
            false => life.members.remove(&node),
        };
        if changed {
            life.warm = None;
        }
        if changed && !life.members_are_due {
            life.members_are_due = true;
            let number = life.number;
            let wait = match life.members.len() > MANY {
                true => LOOKS_AFTER_MANY,
                false => LOOKS_AFTER,
            };
            let looks = Happening::Members {
                node: observer,
                life: number,
            };
            self.plan(self.now + wait, looks);
        }
    }

    pub(super) fn members_changed(&mut self, node: NodeIndex, number: LifeNumber) {
        let life = self.nodes[node.at()].life.as_mut();
        let Some(life) = life.filter(|life| life.number == number) else {
            return;
        };
        life.members_are_due = false;
        let members = life.members.clone();
        let names = members
            .iter()
            .map(|peer| self.nodes[peer.at()].name.clone());
        let names = names.collect();
        self.tell(node, Event::MembersChanged(names));
        self.dial_wanted(node);
    }

    /// A node whose clock went back hears of its former life, once that is silent.
    pub(super) fn former_life(&mut self, node: NodeIndex, number: LifeNumber) {
        if !self.is_life(node, number) {
            return;
        }
        let sayings = self.sayings[node.at()].iter();
        let latest = sayings.map(|said| said.stamp.generation).max();
        if let Some(generation) = latest.filter(|it| *it > self.nodes[node.at()].generation) {
            self.nodes[node.at()].generation = Generation(generation.0 + 1);
            self.tell(node, Event::FormerIncarnation { generation });
        }
    }
}

/// Reads what was written, as any of so many nodes that hears it would.
fn read(
    author: NodeIndex,
    key: &str,
    sealed: &str,
    (rumor_bytes, nodes): (usize, usize),
) -> Option<Said> {
    let envelope = Envelope::parse(sealed, VALUE_BYTES_MAX).ok()?;
    let Ok(StateKey::Fact(key)) = value::parse_key(key) else {
        return None;
    };
    let fact = value::decode(&key, envelope.payload).ok()?;
    Some(Said {
        author,
        stamp: envelope.stamp,
        value: sealed.into(),
        key,
        fact,
        rumor_bytes,
        heard: std::iter::repeat_with(AtomicU32::default)
            .take(nodes)
            .collect(),
    })
}
