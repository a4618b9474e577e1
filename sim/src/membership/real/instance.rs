//! One instance of chitchat, which is one incarnation of a node, and what it has learned so far.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig,
    NodeState, ProtocolVersion, spawn_chitchat,
};
use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use tokio::sync::mpsc;

use super::super::held::Held;
use super::super::settings::{SEED_PATIENCE, Settings};
use super::super::{Entry, NodeIndex, Observed};
use super::socket::{INBOX_MAX, Port, PortTransport, SentMessage};

/// Chitchat takes no message of another mesh.
const MESH: &str = "simulated";

/// The port of a node's address.
const PORT: u16 = 7_171;

/// A running chitchat; ended when dropped.
pub(super) struct Instance {
    handle: ChitchatHandle,
    inbox: mpsc::Sender<(SocketAddr, ChitchatEnvelope)>,
    port: Arc<Port>,
    joined_at: Instant,
    seeds: Vec<NodeIndex>,
    tried: BTreeMap<NodeIndex, Instant>,
    /// How much its socket had done at the last check.
    used: u64,
    /// Up to which version each incarnation of a node was read.
    read: BTreeMap<ChitchatId, u64>,
    /// The latest live incarnation of each node.
    live: BTreeMap<NodeIndex, Generation>,
    held: Held,
}

/// What an instance begins with.
pub(super) struct InstanceSetup<'a> {
    pub(super) node: NodeIndex,
    pub(super) generation: Generation,
    pub(super) seeds: Vec<NodeIndex>,
    pub(super) entries: &'a [Entry],
    pub(super) nodes: usize,
    pub(super) outbox: Arc<Mutex<Vec<SentMessage>>>,
    pub(super) activity: Arc<AtomicU64>,
}

/// The address of a node: one of many that look drawn, since digests are compressed.
pub(super) fn address(node: NodeIndex) -> SocketAddr {
    // An odd factor makes different numbers of different ones.
    let bits = node.0.wrapping_mul(0x9e37_79b1) ^ 0x5bd1_e995;
    SocketAddr::from((bits.to_be_bytes(), PORT))
}

fn name(node: NodeIndex) -> String {
    format!("node-{}", node.0)
}

fn node_of(id: &ChitchatId) -> Option<NodeIndex> {
    let number = id.node_id.strip_prefix("node-")?;
    number.parse().ok().map(NodeIndex)
}

impl Instance {
    pub(super) async fn begin(
        now: Instant,
        settings: Settings,
        setup: InstanceSetup<'_>,
    ) -> anyhow::Result<Self> {
        let (inbox, received) = mpsc::channel(INBOX_MAX);
        let port = Arc::new(Port {
            node: setup.node,
            address: address(setup.node),
            settings,
            outbox: setup.outbox,
            activity: setup.activity,
            used: AtomicU64::new(0),
            nodes: AtomicU32::new(1),
        });
        let transport = PortTransport {
            port: Arc::clone(&port),
            inbox: Mutex::new(Some(received)),
        };
        let entries = setup.entries.iter();
        let entries = entries.map(|entry| (entry.key.to_string(), entry.value.to_string()));
        let config = config(&settings, setup.node, setup.generation);
        let handle = spawn_chitchat(config, entries.collect(), &transport).await?;
        Ok(Self {
            handle,
            inbox,
            port,
            joined_at: now,
            seeds: setup.seeds,
            tried: BTreeMap::new(),
            used: 0,
            read: BTreeMap::new(),
            live: BTreeMap::new(),
            held: Held::new(setup.nodes),
        })
    }

    /// Takes a message, unless it was sent to an earlier incarnation.
    pub(super) async fn deliver(
        &self,
        sent_at: Instant,
        from: NodeIndex,
        envelope: ChitchatEnvelope,
    ) {
        if self.joined_at <= sent_at {
            // A chitchat that has ended takes nothing any more.
            let _ = self.inbox.send((address(from), envelope)).await;
        }
    }

    pub(super) async fn set(&self, entry: &Entry) {
        let set = |chitchat: &mut Chitchat| {
            chitchat.self_node_state().set(&entry.key, &entry.value);
        };
        self.handle.with_chitchat(set).await;
    }

    /// Gossips with the seeds that are no members, as often as the product does.
    pub(super) fn try_seeds(&mut self, now: Instant) {
        for seed in &self.seeds {
            let tried = self.tried.get(seed);
            let is_recent = tried.is_some_and(|at| now.since(*at) < SEED_PATIENCE);
            if self.live.contains_key(seed)
                || (is_recent && !self.live.is_empty())
                || *seed == self.port.node
            {
                continue;
            }
            self.tried.insert(*seed, now);
            // A chitchat that has ended gossips with nobody.
            let _ = self.handle.gossip(address(*seed));
        }
    }

    /// What is new since the last check.
    pub(super) async fn look(&mut self, now: Instant) -> Vec<Observed> {
        let used = self.port.used.load(Ordering::Relaxed);
        if used == self.used {
            return Vec::new();
        }
        self.used = used;
        let read = &mut self.read;
        let look = |chitchat: &mut Chitchat| (live(chitchat), values(chitchat, read));
        let (live, mut found) = self.handle.with_chitchat(look).await;
        self.judge(now, live, &mut found);
        found
    }

    fn judge(
        &mut self,
        now: Instant,
        live: BTreeMap<NodeIndex, Generation>,
        found: &mut Vec<Observed>,
    ) {
        for (node, generation) in &live {
            if self.held.alive(*node, *generation) {
                let (node, generation) = (*node, *generation);
                found.push(Observed::Up { node, generation });
            }
        }
        for node in self.live.keys().filter(|node| !live.contains_key(node)) {
            self.held.silent(now, *node);
        }
        self.live = live;
        let settings = self.port.settings;
        // In rounds only, as the model does, and the product when no value changes.
        let round = settings.interval.as_nanos();
        if now.since(self.joined_at).as_nanos().is_multiple_of(round) {
            let share = settings.share(self.held.count() + 1);
            let dead = self.held.believe(now, settings.patience(share));
            found.extend(dead.into_iter().map(|node| Observed::Down { node }));
        }
        let nodes = u32::try_from(self.held.count() + 1).unwrap_or(u32::MAX);
        self.port.nodes.store(nodes, Ordering::Relaxed);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

fn config(settings: &Settings, node: NodeIndex, generation: Generation) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(name(node), generation.0, address(node)),
        cluster_id: MESH.to_owned(),
        gossip_interval: settings.interval,
        listen_addr: address(node),
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: settings.phi,
            sampling_window_size: settings.samples.into(),
            max_interval: settings.sample_max,
            initial_interval: settings.interval,
            dead_node_grace_period: settings.grace,
        },
        marked_for_deletion_grace_period: settings.grace,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

/// The latest live incarnation of each other node.
fn live(chitchat: &Chitchat) -> BTreeMap<NodeIndex, Generation> {
    let own = chitchat.self_chitchat_id();
    // In the order of names and generations, so that the latest of each node stays.
    let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
    let others = live.into_iter().filter(|id| id.node_id != own.node_id);
    others
        .filter_map(|id| Some((node_of(id)?, Generation(id.generation_id))))
        .collect()
}

/// What other nodes published since the last read; it counts as read now.
fn values(chitchat: &Chitchat, read: &mut BTreeMap<ChitchatId, u64>) -> Vec<Observed> {
    let own = chitchat.self_chitchat_id();
    let mut found = Vec::new();
    for (id, state) in chitchat.node_states() {
        let Some(author) = node_of(id).filter(|_| id.node_id != own.node_id) else {
            continue;
        };
        let before = read.get(id).copied().unwrap_or_default();
        if state.max_version() == before {
            continue;
        }
        read.insert(id.clone(), state.max_version());
        let generation = Generation(id.generation_id);
        let new_entries = new_entries(state, before).into_iter();
        found.extend(new_entries.map(|entry| Observed::Value {
            author,
            generation,
            entry,
        }));
    }
    found
}

/// The values after a version, the oldest first.
fn new_entries(state: &NodeState, before: u64) -> Vec<Entry> {
    let values = state.key_values_including_deleted();
    let mut new_values: Vec<_> = values.filter(|(_, value)| value.version > before).collect();
    new_values.sort_by_key(|(_, value)| value.version);
    let entry = |(key, value): (&str, &chitchat::VersionedValue)| Entry {
        key: key.into(),
        value: value.value.as_str().into(),
    };
    new_values.into_iter().map(entry).collect()
}
