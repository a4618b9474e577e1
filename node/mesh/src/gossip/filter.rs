//! The part of a peer's gossip that chitchat receives: what the authors have signed.
//!
//! Chitchat trusts every relay. So each message is decoded before it, and encoded again from what may stay:
//!
//! - A node counts once it is *proven*: it is the sender itself, by its connection's certificate, or the
//!   message contains its certificate with its signature over this incarnation of its gossip and its address.
//! - A value counts when its node's certificate signed it for this very key, incarnation and version. A relay
//!   can omit a value, and nothing else.
//! - What no author signs is bounded: a highest version without a value is taken from the node itself alone,
//!   and no collected version exceeds the values that were proven.
//! - Only this node publishes about this node.
//!
//! What a relay can still do: omit what it was asked to relay, and claim heartbeats, which nobody signs. The
//! other peers repair the first. By the second a dead node can appear alive, until the liar is gone, or a
//! live one dead: where there is a link to it, the link decides who is alive.
//!
//! Costs one signature check (60 us) per value that is new here; a sender gets a limited number per second.

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

/// Values of one sender that are checked per second: what a newcomer to a mesh of a hundred nodes needs, at
/// 3 % of a core.
const CHECKS_PER_SECOND: u32 = 500;

/// Decides what may stay of the messages of peers.
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

    /// This node's gossip begins a new incarnation.
    pub(super) fn begin_incarnation(&mut self, generation: Generation) {
        self.own.generation = generation;
    }

    /// A second has passed.
    pub(super) fn refill(&mut self) {
        self.checked.clear();
    }

    /// Forgets the nodes that chitchat has forgotten.
    pub(super) fn retain(&mut self, now: Instant, is_known: impl Fn(&Incarnation) -> bool) {
        let incarnation = |node: &NodeName, (generation, address)| Incarnation {
            node: node.clone(),
            generation,
            address,
        };
        let is_known = |node: &NodeName, known| is_known(&incarnation(node, known));
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
                // In this order: the delta may prove nodes that the digest contains.
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
    let Incarnation {
        node,
        generation,
        address,
    } = incarnation;
    roster.knows(node, (*generation, *address))
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

    /// Whether it may stay in a message: it was proven before, or is the sender itself.
    fn is_proven(&mut self, incarnation: &Incarnation) -> bool {
        knows(&self.filter.roster, incarnation)
            || (self.is_sender(incarnation) && self.admit(incarnation))
    }

    fn admit(&mut self, incarnation: &Incarnation) -> bool {
        let key = (incarnation.generation, incarnation.address);
        let admitted = self.filter.roster.admit(self.now, &incarnation.node, key);
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
        let is_reached_there = match address {
            Some(address) => address == incarnation.address,
            None => self.is_known_address(incarnation),
        };
        let is_admitted = is_reached_there && self.admit(incarnation);
        if is_admitted {
            self.filter.proofs.insert(incarnation.clone(), proof);
        }
        is_admitted
    }

    /// Whether this address was proven for the node before, or is this node's own.
    fn is_known_address(&self, incarnation: &Incarnation) -> bool {
        let Incarnation { node, address, .. } = incarnation;
        let own = &self.filter.own;
        (*node == own.node && *address == own.address)
            || self.filter.roster.knows_address(node, *address)
    }

    /// The keys that their node signed, up to the first for which the sender has no check left: chitchat asks
    /// again for what comes after the last that it received.
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
