//! What of a peer's gossip chitchat gets to see: what its authors have signed.
//!
//! Chitchat believes whoever relays. So each message is taken apart in front of it, and written anew from what
//! may stay:
//!
//! - A node counts once it is *proven*: it is the sender itself, as its connection's certificate says, or the
//!   message holds its certificate with its signature over this life of its gossip and its address.
//! - A value counts when its node's certificate signed it for this very key, life and version. A relay can
//!   leave out, and nothing else.
//! - What says nothing about its author is bounded: a highest version without a value is the node's own to
//!   say, and no collected version goes beyond the values that were proven.
//! - Nobody says anything about this node but this node.
//!
//! What is left to a relay: to leave out what it was asked to carry, and to claim heartbeats, which nobody
//! signs. The first is repaired by everybody else. By the second a dead node can be held for alive, until the
//! liar is gone, or a living one for dead: the links say who is alive where there is one.
//!
//! Costs one check of a signature (60 us) per value that is new here, of which a sender gets so many a second.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use grapevine_core::Instant;
use grapevine_core::ids::{Generation, MeshName, NodeName};
use grapevine_core::roster::Roster;
use grapevine_proto::gossip::{Deletion, Incarnation, KeyValue, Message, NodeDelta, StateEntry};
use grapevine_proto::value::CERTIFICATE_KEY;

use super::counters::{Counters, Rejection};
use super::proof::{Judge, Proof};
use crate::identity::Verifier;
use crate::wire::GossipSender;

/// Values of one sender that are checked per second: what a newcomer needs of a mesh of a hundred nodes, at
/// 3 % of a core.
const CHECKS_PER_SECOND: u32 = 500;

/// What may stay of the messages of peers.
#[derive(Debug)]
pub(super) struct Filter {
    mesh: MeshName,
    own: Incarnation,
    judge: Judge,
    roster: Roster,
    proofs: BTreeMap<Incarnation, Proof>,
    /// How many values of each sender were checked in this second.
    checked: BTreeMap<NodeName, u32>,
}

impl Filter {
    pub(super) fn new(
        mesh: MeshName,
        node: NodeName,
        advertise: SocketAddr,
        verifier: Verifier,
    ) -> Self {
        Self {
            judge: Judge::new(mesh.clone(), verifier),
            mesh,
            own: Incarnation {
                node,
                generation: Generation(0),
                address: advertise,
            },
            roster: Roster::default(),
            proofs: BTreeMap::new(),
            checked: BTreeMap::new(),
        }
    }

    /// This node's gossip begins a new life.
    pub(super) fn begin_life(&mut self, life: Generation) {
        self.own.generation = life;
    }

    /// A second has passed.
    pub(super) fn refill(&mut self) {
        self.checked.clear();
    }

    /// Forgets whom chitchat has forgotten.
    pub(super) fn retain(&mut self, now: Instant, is_known: impl Fn(&Incarnation) -> bool) {
        let incarnation = |node: &NodeName, (generation, address)| Incarnation {
            node: node.clone(),
            generation,
            address,
        };
        let is_known = |node: &NodeName, life| is_known(&incarnation(node, life));
        self.roster.retain(now, is_known);
        let roster = &self.roster;
        self.proofs
            .retain(|incarnation, _| knows(roster, incarnation));
    }

    /// What may stay of `message`; nothing when it is of another mesh.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        from: &GossipSender,
        message: Message,
        counters: &Counters,
    ) -> Option<Message> {
        let mut pass = Pass {
            now,
            from,
            counters,
            filter: self,
        };
        match message {
            Message::Syn { mesh, .. } if mesh != pass.filter.mesh.as_str() => {
                counters.reject(Rejection::Message, &from.node);
                None
            }
            Message::Syn { mesh, digest } => Some(Message::Syn {
                digest: pass.digest(digest),
                mesh,
            }),
            Message::SynAck { digest, delta } => {
                // In this order: the delta may prove who the digest speaks of.
                let delta = pass.delta(delta);
                let digest = pass.digest(digest);
                Some(Message::SynAck { digest, delta })
            }
            Message::Ack { delta } => Some(Message::Ack {
                delta: pass.delta(delta),
            }),
        }
    }
}

fn knows(roster: &Roster, incarnation: &Incarnation) -> bool {
    let life = (incarnation.generation, incarnation.address);
    roster.knows(&incarnation.node, life)
}

/// One message on its way through the filter.
struct Pass<'a> {
    now: Instant,
    from: &'a GossipSender,
    counters: &'a Counters,
    filter: &'a mut Filter,
}

impl Pass<'_> {
    fn digest(&mut self, mut digest: Vec<StateEntry>) -> Vec<StateEntry> {
        digest.retain(|entry| {
            entry.incarnation == self.filter.own || self.is_proven(&entry.incarnation)
        });
        digest
    }

    fn delta(&mut self, delta: Vec<NodeDelta>) -> Vec<NodeDelta> {
        let passed = delta.into_iter().filter_map(|node| self.node_delta(node));
        passed.collect()
    }

    /// Whether it is the sender itself.
    fn is_sender(&self, incarnation: &Incarnation) -> bool {
        incarnation.node == self.from.node && incarnation.address == self.from.address
    }

    /// Whether it may be spoken of: it was proven before, or is the sender itself.
    fn is_proven(&mut self, incarnation: &Incarnation) -> bool {
        knows(&self.filter.roster, incarnation)
            || (self.is_sender(incarnation) && self.admit(incarnation))
    }

    fn admit(&mut self, incarnation: &Incarnation) -> bool {
        let life = (incarnation.generation, incarnation.address);
        let admitted = self.filter.roster.admit(self.now, &incarnation.node, life);
        if admitted.is_err() {
            self.counters.reject(Rejection::Crowded, &self.from.node);
        }
        admitted.is_ok()
    }

    fn node_delta(&mut self, node: NodeDelta) -> Option<NodeDelta> {
        let incarnation = node.incarnation;
        if incarnation == self.filter.own {
            self.counters
                .reject(Rejection::ForeignWrite, &self.from.node);
            return None;
        }
        if !self.is_proven(&incarnation) && !self.prove(&incarnation, &node.keys) {
            return None;
        }
        let is_sender = self.is_sender(&incarnation);
        let keys = self.keys(&incarnation, node.keys, is_sender);
        let version = node.version.filter(|_| is_sender);
        if keys.is_empty() && version.is_none() {
            return None;
        }
        let proven_version = self.proof(&incarnation).highest_version();
        let collected_version = if is_sender {
            node.collected_version
        } else {
            node.collected_version.min(proven_version)
        };
        Some(NodeDelta {
            incarnation,
            collected_version,
            after_version: node.after_version,
            keys,
            version,
        })
    }

    fn proof(&mut self, incarnation: &Incarnation) -> &mut Proof {
        let proofs = &mut self.filter.proofs;
        proofs.entry(incarnation.clone()).or_default()
    }

    /// Takes a node that the certificate among `keys` proves.
    fn prove(&mut self, incarnation: &Incarnation, keys: &[KeyValue]) -> bool {
        let Some(key) = keys.iter().find(|key| key.key == CERTIFICATE_KEY) else {
            return false;
        };
        if !self.may_check() {
            return false;
        }
        let mut proof = Proof::default();
        let checked = self
            .filter
            .judge
            .certificate(&mut proof, incarnation, key, false);
        let address = match checked {
            Ok(address) => address,
            Err(reason) => {
                self.counters.reject(reason, &incarnation.node);
                return false;
            }
        };
        let is_there = match address {
            Some(address) => address == incarnation.address,
            None => self.is_known_address(incarnation),
        };
        let is_admitted = is_there && self.admit(incarnation);
        if is_admitted {
            self.filter.proofs.insert(incarnation.clone(), proof);
        }
        is_admitted
    }

    /// Whether the node, or a former life of this one, was proven to be reached there before.
    fn is_known_address(&self, incarnation: &Incarnation) -> bool {
        let Incarnation { node, address, .. } = incarnation;
        let own = &self.filter.own;
        (*node == own.node && *address == own.address)
            || self.filter.roster.knows_address(node, *address)
    }

    /// The keys that their node signed. One for which there is no time ends them: chitchat asks again for what
    /// comes after the last that it got.
    fn keys(
        &mut self,
        incarnation: &Incarnation,
        keys: Vec<KeyValue>,
        is_sender: bool,
    ) -> Vec<KeyValue> {
        let mut kept = Vec::new();
        for key in keys {
            if !self.proof(incarnation).has_seen(&key) && !self.may_check() {
                self.counters.reject(Rejection::Throttled, &self.from.node);
                break;
            }
            match self.check(incarnation, &key, is_sender) {
                Ok(deletion) => kept.push(KeyValue { deletion, ..key }),
                Err(reason) => self.counters.reject(reason, &incarnation.node),
            }
        }
        kept
    }

    fn check(
        &mut self,
        incarnation: &Incarnation,
        key: &KeyValue,
        is_sender: bool,
    ) -> Result<Deletion, Rejection> {
        let proofs = &mut self.filter.proofs;
        let proof = proofs.entry(incarnation.clone()).or_default();
        self.filter.judge.check(proof, incarnation, key, is_sender)
    }

    /// Takes one of the sender's checks in this second.
    fn may_check(&mut self) -> bool {
        let checked = &mut self.filter.checked;
        let count = checked.entry(self.from.node.clone()).or_default();
        *count += 1;
        *count <= CHECKS_PER_SECOND
    }
}
