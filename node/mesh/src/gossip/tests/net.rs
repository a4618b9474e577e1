//! A network in memory: messages by address, rumors to all; and nodes on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::authority::{self, Authority, Issued, NODE_VALID};
use grapevine_base::driver::Publication;
use grapevine_core::engine::{Event, Via};
use grapevine_core::fact::{Fact, FactKey, Phase};
use grapevine_core::ids::{Generation, MeshName, NodeName, Stamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::super::filter::Filter;
use super::super::guard::ChitchatGuard;
use super::super::{Gossip, GossipConfig};
use crate::credentials::Credentials;
use crate::identity::Verifier;
use crate::signer::Signer;
use crate::wire::{GossipOutput, GossipSender, Incoming};

/// Far above what any step takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most gossip messages that are kept for tests to read.
const CAUGHT_MAX: usize = 64;

pub(in super::super) fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

pub(in super::super) fn mesh() -> MeshName {
    MeshName::new("m1").expect("a valid name")
}

/// The address that the node of this number advertises.
pub(in super::super) fn address(number: u16) -> SocketAddr {
    ([127, 0, 0, 1], 7_000 + number).into()
}

/// Joins nodes by their addresses.
#[derive(Default)]
pub(in super::super) struct Net {
    mailboxes: Mutex<BTreeMap<SocketAddr, Mailbox>>,
    pub(in super::super) caught: Mutex<VecDeque<Bytes>>,
    pub(in super::super) loses_gossip: AtomicBool,
    pub(in super::super) cut_off: Mutex<BTreeSet<SocketAddr>>,
    /// The nodes that speak on links; this net has none.
    pub(in super::super) speaking: Mutex<BTreeSet<NodeName>>,
}

struct Mailbox {
    node: NodeName,
    gossip: mpsc::Sender<(GossipSender, Bytes)>,
    rumors: mpsc::Sender<(NodeName, Bytes)>,
}

/// One node's access to the net.
#[derive(Clone)]
pub(in super::super) struct Port {
    pub(in super::super) net: Arc<Net>,
    pub(in super::super) address: SocketAddr,
    pub(in super::super) node: NodeName,
}

impl Net {
    pub(in super::super) fn attach(
        self: &Arc<Self>,
        node: &NodeName,
        at: SocketAddr,
    ) -> (Port, Incoming) {
        let (gossip_in, gossip) = mpsc::channel(256);
        let (rumors_in, rumors) = mpsc::channel(256);
        let mailbox = Mailbox {
            node: node.clone(),
            gossip: gossip_in,
            rumors: rumors_in,
        };
        self.mailboxes
            .lock()
            .expect("not poisoned")
            .insert(at, mailbox);
        let port = Port {
            net: Arc::clone(self),
            address: at,
            node: node.clone(),
        };
        (port, Incoming { gossip, rumors })
    }

    /// Access to the net for a node that gets no answers.
    pub(in super::super) fn stranger(self: &Arc<Self>, node: &NodeName, at: SocketAddr) -> Port {
        Port {
            net: Arc::clone(self),
            address: at,
            node: node.clone(),
        }
    }

    fn is_cut(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let cut_off = self.cut_off.lock().expect("not poisoned");
        cut_off.contains(&from) || cut_off.contains(&to)
    }
}

impl GossipOutput for Port {
    fn speaking(&self) -> Vec<NodeName> {
        let speaking = self.net.speaking.lock().expect("not poisoned");
        speaking.iter().cloned().collect()
    }

    fn gossip(&self, to: SocketAddr, message: Bytes) {
        if self.net.loses_gossip.load(Ordering::Relaxed) || self.net.is_cut(self.address, to) {
            return;
        }
        let mut caught = self.net.caught.lock().expect("not poisoned");
        caught.push_back(message.clone());
        if caught.len() > CAUGHT_MAX {
            caught.pop_front();
        }
        if let Some(mailbox) = self.net.mailboxes.lock().expect("not poisoned").get(&to) {
            // A full or closed mailbox loses it, as a network would.
            let from = GossipSender {
                node: self.node.clone(),
                address: self.address,
            };
            let _ = mailbox.gossip.try_send((from, message));
        }
    }

    fn rumor(&self, rumor: Bytes, except: Option<&NodeName>) {
        for (to, mailbox) in self.net.mailboxes.lock().expect("not poisoned").iter() {
            let is_wanted = *to != self.address && Some(&mailbox.node) != except;
            if is_wanted && !self.net.is_cut(self.address, *to) {
                let _ = mailbox.rumors.try_send((self.node.clone(), rumor.clone()));
            }
        }
    }
}

/// A mesh CA.
pub(in super::super) struct World {
    pub(in super::super) net: Arc<Net>,
    ca: Issued,
    authority: Authority,
}

impl World {
    pub(in super::super) fn new() -> Self {
        let ca = authority::create(&mesh()).expect("a CA");
        let authority = Authority::from_pem(&ca.certificate, &ca.key).expect("a CA");
        Self {
            net: Arc::default(),
            ca,
            authority,
        }
    }

    pub(in super::super) fn identity(&self, name: &NodeName) -> (Signer, Verifier) {
        let credentials = self.credentials(name);
        let verifier = Verifier::new(mesh(), credentials.authorities()).expect("a CA");
        (Signer::new(&credentials).expect("an Ed25519 key"), verifier)
    }

    /// The guard of the chitchat of the node of this name at the address of this number.
    pub(in super::super) fn guard(&self, name: &NodeName, number: u16) -> ChitchatGuard {
        let (_, verifier) = self.identity(name);
        let filter = Filter::new(mesh(), name.clone(), address(number), verifier);
        ChitchatGuard::new(filter, Arc::default(), Arc::default())
    }

    /// A new certificate and key.
    pub(in super::super) fn credentials(&self, name: &NodeName) -> Credentials {
        let issued = self
            .authority
            .issue(name, &[], NODE_VALID)
            .expect("a certificate");
        Credentials::from_pem(
            mesh(),
            self.ca.certificate.as_bytes(),
            issued.certificate.as_bytes(),
            issued.key.as_bytes(),
        )
        .expect("credentials")
    }

    /// Starts the node of this number with the first as its seed.
    pub(in super::super) fn start(&self, number: u16, generation: u64) -> Node {
        self.start_with(number, generation, vec![address(1).to_string()], 1_024)
    }

    pub(in super::super) fn start_with(
        &self,
        number: u16,
        generation: u64,
        seeds: Vec<String>,
        events_max: usize,
    ) -> Node {
        let name = node(&format!("n{number}"));
        self.start_named(name, number, generation, seeds, events_max)
    }

    /// Starts a process of this name at the address of this number.
    pub(in super::super) fn start_as(&self, name: &NodeName, number: u16, generation: u64) -> Node {
        let seeds = vec![address(1).to_string()];
        self.start_named(name.clone(), number, generation, seeds, 1_024)
    }

    fn start_named(
        &self,
        name: NodeName,
        number: u16,
        generation: u64,
        seeds: Vec<String>,
        events_max: usize,
    ) -> Node {
        let (port, incoming) = self.net.attach(&name, address(number));
        let (signer, verifier) = self.identity(&name);
        let (publications, publications_out) = mpsc::channel(64);
        let (events_in, events) = mpsc::channel(events_max);
        let config = GossipConfig {
            mesh: mesh(),
            node: name.clone(),
            generation: Generation(generation),
            advertise: address(number),
            seeds,
            interval: super::super::task::GOSSIP_INTERVAL,
            vital: grapevine_base::vital::Vital::default(),
        };
        let gossip = Gossip::start(
            config,
            events_in,
            publications_out,
            port,
            incoming,
            signer.clone(),
            verifier,
        );
        Node {
            name,
            signer,
            gossip,
            events,
            publications,
            generation: Generation(generation),
            version: 0,
            former: None,
            members: BTreeSet::new(),
            members_least: usize::MAX,
            received: Vec::new(),
        }
    }

    /// Starts nodes 1 to `count` and waits until all see all.
    pub(in super::super) async fn start_all(&self, count: u16) -> Vec<Node> {
        let mut nodes: Vec<_> = (1..=count).map(|number| self.start(number, 1)).collect();
        for node in &mut nodes {
            node.until_members(usize::from(count) - 1).await;
        }
        nodes
    }
}

/// A fact as it was received.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct ReceivedFact {
    pub(in super::super) node: NodeName,
    pub(in super::super) stamp: Stamp,
    pub(in super::super) fact: Fact,
    pub(in super::super) via: Via,
}

/// A running node, seen from where its engine would be.
pub(in super::super) struct Node {
    pub(in super::super) name: NodeName,
    pub(in super::super) signer: Signer,
    pub(in super::super) gossip: Gossip,
    events: mpsc::Receiver<Event>,
    publications: mpsc::Sender<Publication>,
    generation: Generation,
    version: u64,
    /// The earlier incarnation that gossip reported last.
    pub(in super::super) former: Option<Generation>,
    pub(in super::super) members: BTreeSet<NodeName>,
    /// The fewest members reported since a test last set it.
    pub(in super::super) members_least: usize,
    pub(in super::super) received: Vec<ReceivedFact>,
}

impl Node {
    pub(in super::super) async fn publish(&mut self, fact: Fact, urgent: bool) -> Stamp {
        self.version += 1;
        let stamp = Stamp {
            generation: self.generation,
            version: self.version,
        };
        let publication = Publication::Own {
            fact,
            stamp,
            urgent,
        };
        self.publications
            .send(publication)
            .await
            .expect("gossip runs");
        stamp
    }

    pub(in super::super) async fn publish_phase(&mut self, phase: Phase) -> Stamp {
        self.publish(Fact::Phase(phase), false).await
    }

    /// Takes events until `holds`.
    pub(in super::super) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let Ok(event) = timeout_at(deadline, self.events.recv()).await else {
                panic!(
                    "{} waited in vain for {what}: members {:?}, received {:?}, {:?}",
                    self.name,
                    self.members,
                    self.received,
                    self.gossip.counters()
                );
            };
            match event.expect("gossip runs") {
                Event::MembersChanged(members) => {
                    self.members_least = self.members_least.min(members.len());
                    self.members = members;
                }
                Event::FactReceived {
                    node,
                    stamp,
                    fact,
                    via,
                } => self.received.push(ReceivedFact {
                    node,
                    stamp,
                    fact,
                    via,
                }),
                Event::FormerIncarnation { generation } => {
                    self.generation = Generation(generation.0 + 1);
                    self.version = 0;
                    self.former = Some(generation);
                }
                other => panic!("gossip does not report {other:?}"),
            }
        }
    }

    pub(in super::super) async fn until_members(&mut self, count: usize) {
        let what = format!("{count} members");
        self.until(&what, |node| node.members.len() == count).await;
    }

    /// Waits for a phase of `of`.
    pub(in super::super) async fn until_phase(&mut self, of: &NodeName, phase: Phase) {
        let what = format!("{of} to be {phase:?}");
        self.until(&what, |node| node.phase_of(of) == Some(phase))
            .await;
    }

    /// The phase that `of` published last.
    pub(in super::super) fn phase_of(&self, of: &NodeName) -> Option<Phase> {
        self.last(of, &FactKey::Phase)
            .and_then(|received| match received.fact {
                Fact::Phase(phase) => Some(phase),
                _ => None,
            })
    }

    pub(in super::super) fn last(&self, of: &NodeName, key: &FactKey) -> Option<&ReceivedFact> {
        let is_it = |received: &&ReceivedFact| received.node == *of && received.fact.key() == *key;
        self.received.iter().rev().find(is_it)
    }
}
