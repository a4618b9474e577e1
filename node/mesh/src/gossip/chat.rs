//! One incarnation of chitchat: started, watched, read and written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::Transport;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ListenerHandle,
    NodeState, ProtocolVersion, spawn_chitchat,
};
use grapevine_core::ids::{Generation, MeshName, NodeName};
use tokio::sync::Notify;

use super::authors::KEYS_PER_AUTHOR_MAX;
use super::members::PHI;
use super::own::Sealed;

/// Heartbeats further apart than this many intervals do not count for the mean.
const SAMPLE_INTERVALS_MAX: u32 = 15;

/// Heartbeat intervals whose mean is taken; 8 bytes each, per peer.
const SAMPLES: usize = 100;

/// How long dead nodes, and keys that expire, are remembered.
const GRACE: Duration = Duration::from_secs(600);

/// What chitchat is started with.
#[derive(Clone, Debug)]
pub(super) struct ChatConfig {
    pub(super) mesh: MeshName,
    pub(super) node: NodeName,
    pub(super) advertise: SocketAddr,
    pub(super) interval: Duration,
}

/// A running chitchat; ended when dropped.
pub(super) struct Chat {
    handle: ChitchatHandle,
    _listener: ListenerHandle,
    /// The version of the own state after this node's last write. Any other means that somebody else wrote.
    own_version: u64,
    read: BTreeMap<ChitchatId, Read>,
}

/// How far a node's keys were read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// They were taken up to this version.
    taken: u64,
    /// They were read up to this version, and are not read again.
    seen: u64,
}

/// What changed since the last read.
#[derive(Debug, Default)]
pub(super) struct GossipUpdate {
    /// The incarnations that the failure detector finds alive, without this node's own.
    pub(super) live: Vec<ChitchatId>,
    /// What the incarnations changed.
    pub(super) changes: Vec<GossipChange>,
    /// Whether nobody else wrote into this node's own state.
    pub(super) own_is_intact: bool,
}

/// What one incarnation changed.
#[derive(Debug)]
pub(super) struct GossipChange {
    pub(super) id: ChitchatId,
    /// The version after which these keys changed.
    since: u64,
    /// Keys and values, the oldest change first.
    pub(super) keys: Vec<(String, String)>,
}

impl Chat {
    /// Starts an incarnation with these values; `changed` is notified when a key changes.
    pub(super) async fn start(
        config: &ChatConfig,
        generation: Generation,
        values: Vec<Sealed>,
        transport: &dyn Transport,
        changed: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let values = values.into_iter().map(|sealed| (sealed.key, sealed.value));
        let handle =
            spawn_chitchat(config.chitchat(generation), values.collect(), transport).await?;
        let (listener, own_version) = handle
            .with_chitchat(|chitchat| {
                let changed = Arc::clone(&changed);
                let listener = chitchat.subscribe_event("", move |_| changed.notify_one());
                (listener, chitchat.self_node_state().max_version())
            })
            .await;
        Ok(Self {
            handle,
            _listener: listener,
            own_version,
            read: BTreeMap::new(),
        })
    }

    /// Waits until chitchat has ended by itself, and returns why. Cancel-safe.
    pub(super) async fn ended(&self) -> String {
        match self.handle.termination_watcher().await {
            Ok(()) => "shut down".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Sets own values; false, and nothing is set, when somebody else wrote into the own state.
    pub(super) async fn set(&mut self, values: &[Sealed]) -> bool {
        let expected = self.own_version;
        let version = self
            .handle
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                if state.max_version() != expected {
                    return None;
                }
                for sealed in values {
                    if sealed.is_passing {
                        state.set_with_ttl(&sealed.key, &sealed.value);
                    } else {
                        state.set(&sealed.key, &sealed.value);
                    }
                }
                Some(state.max_version())
            })
            .await;
        self.own_version = version.unwrap_or(expected);
        version.is_some()
    }

    /// Starts a round with one address.
    pub(super) fn gossip(&self, address: SocketAddr) {
        // An ended chitchat is noticed through `ended`.
        let _ = self.handle.gossip(address);
    }

    /// What changed. Costs a comparison per known incarnation, and copies the changed values.
    pub(super) async fn take_update(&mut self) -> GossipUpdate {
        let read = &mut self.read;
        let own_version = self.own_version;
        self.handle
            .with_chitchat(|chitchat| {
                let own = chitchat.self_chitchat_id().clone();
                if read.len() > chitchat.node_states().len() {
                    read.retain(|id, _| chitchat.node_states().contains_key(id));
                }
                let live = chitchat.live_nodes().filter(|id| **id != own);
                GossipUpdate {
                    live: live.cloned().collect(),
                    changes: changes(chitchat, &own, read),
                    own_is_intact: chitchat.self_node_state().max_version() == own_version,
                }
            })
            .await
    }

    /// Returns these keys again, once another key of this incarnation changes.
    pub(super) fn put_back(&mut self, change: &GossipChange) {
        if let Some(read) = self.read.get_mut(&change.id) {
            read.taken = change.since;
        }
    }

    /// The nodes that newcomers are sent, with their latest incarnations: all but those dead for half the
    /// grace.
    pub(super) async fn sent_to_newcomers(&self) -> BTreeMap<String, Generation> {
        let sent = |chitchat: &mut Chitchat| {
            let withheld: BTreeSet<_> = chitchat.scheduled_for_deletion_nodes().collect();
            let sent = chitchat.node_states().keys();
            let sent = sent.filter(|id| !withheld.contains(id));
            // In the order of generations, so that the latest stays.
            sent.map(|id| (id.generation_id, id.node_id.to_string()))
                .collect::<BTreeSet<_>>()
        };
        let sent = self.handle.with_chitchat(sent).await.into_iter();
        sent.map(|(generation, node)| (node, Generation(generation)))
            .collect()
    }

    /// All nodes that chitchat knows, the dead included.
    pub(super) async fn known(&self) -> BTreeSet<ChitchatId> {
        let known = |chitchat: &mut Chitchat| chitchat.node_states().keys().cloned().collect();
        self.handle.with_chitchat(known).await
    }

    /// Names of all nodes that chitchat knows, the dead included.
    pub(super) async fn names(&self) -> BTreeSet<String> {
        let names = |chitchat: &mut Chitchat| {
            let ids = chitchat.node_states().keys();
            ids.map(|id| id.node_id.to_string()).collect()
        };
        self.handle.with_chitchat(names).await
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl ChatConfig {
    fn chitchat(&self, generation: Generation) -> ChitchatConfig {
        ChitchatConfig {
            chitchat_id: ChitchatId::new(self.node.as_str(), generation.0, self.advertise),
            cluster_id: self.mesh.to_string(),
            gossip_interval: self.interval,
            listen_addr: self.advertise,
            // Our seeds are added after the start: see `seeds`.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: PHI,
                sampling_window_size: SAMPLES,
                max_interval: self.interval * SAMPLE_INTERVALS_MAX,
                initial_interval: self.interval,
                dead_node_grace_period: GRACE,
            },
            marked_for_deletion_grace_period: GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        }
    }
}

/// The keys of other incarnations, this node's earlier ones included, that changed since they were last read.
/// They count as read now.
fn changes(
    chitchat: &Chitchat,
    own: &ChitchatId,
    read: &mut BTreeMap<ChitchatId, Read>,
) -> Vec<GossipChange> {
    let mut changes = Vec::new();
    for (id, state) in chitchat.node_states() {
        if id == own {
            continue;
        }
        let read = read.entry(id.clone()).or_default();
        if state.max_version() == read.seen {
            continue;
        }
        changes.push(GossipChange {
            id: id.clone(),
            since: read.taken,
            keys: changed_keys(state, read.taken),
        });
        read.seen = state.max_version();
        read.taken = state.max_version();
    }
    changes
}

/// Keys above a version, the oldest first. Of a node that floods its state only the first keys are taken.
fn changed_keys(state: &NodeState, taken: u64) -> Vec<(String, String)> {
    let mut keys: Vec<_> = state
        .key_values_including_deleted()
        .filter(|(_, value)| value.version > taken && !value.is_deleted())
        .collect();
    keys.sort_by_key(|(_, value)| value.version);
    keys.into_iter()
        .take(KEYS_PER_AUTHOR_MAX)
        .map(|(key, value)| (key.to_owned(), value.value.clone()))
        .collect()
}
