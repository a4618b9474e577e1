//! One life of chitchat: started, watched, read and written.

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

/// Heartbeats further apart than this many intervals say nothing about the mean.
const SAMPLE_INTERVALS_MAX: u32 = 15;

/// Heartbeat intervals whose mean is taken; 8 bytes each, per peer.
const SAMPLES: usize = 100;

/// How long the dead, and keys that are to pass, are remembered.
const GRACE: Duration = Duration::from_secs(600);

/// What a life of chitchat is started with.
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
    /// The version of the own state after our last write. Another one means that somebody else wrote.
    own_version: u64,
    read: BTreeMap<ChitchatId, Read>,
}

/// How far a node's keys were read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// Up to this version they were taken.
    taken: u64,
    /// Up to this version they were looked at, and are not looked at again.
    seen: u64,
}

/// What is new since the last look.
#[derive(Debug, Default)]
pub(super) struct GossipUpdate {
    /// The lives that the failure detector holds for alive, this one left out.
    pub(super) live: Vec<ChitchatId>,
    /// What lives changed.
    pub(super) changes: Vec<GossipChange>,
    /// Whether nobody else wrote into this node's own state.
    pub(super) own_is_intact: bool,
}

/// What one life changed.
#[derive(Debug)]
pub(super) struct GossipChange {
    pub(super) id: ChitchatId,
    /// The version after which these keys were changed.
    since: u64,
    /// Keys and values, the oldest change first.
    pub(super) keys: Vec<(String, String)>,
}

impl Chat {
    /// Starts a life with these values; `changed` is notified when a key changes.
    pub(super) async fn start(
        config: &ChatConfig,
        life: Generation,
        values: Vec<Sealed>,
        transport: &dyn Transport,
        changed: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let values = values.into_iter().map(|sealed| (sealed.key, sealed.value));
        let handle = spawn_chitchat(config.chitchat(life), values.collect(), transport).await?;
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

    /// Waits until chitchat has ended by itself, and says why. Cancel-safe.
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

    /// What is new. Costs a comparison per known life, and copies the changed values.
    pub(super) async fn news(&mut self) -> GossipUpdate {
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

    /// Gives these keys again, once one more of this life has changed.
    pub(super) fn put_back(&mut self, change: &GossipChange) {
        if let Some(read) = self.read.get_mut(&change.id) {
            read.taken = change.since;
        }
    }

    /// Whom newcomers are told of, each with the latest life: all but those dead for half the grace.
    pub(super) async fn told_to_newcomers(&self) -> BTreeMap<String, Generation> {
        let lives = |chitchat: &mut Chitchat| {
            let untold: BTreeSet<_> = chitchat.scheduled_for_deletion_nodes().collect();
            let told = chitchat.node_states().keys();
            let told = told.filter(|id| !untold.contains(id));
            // In the order of lives, so that the latest stays.
            told.map(|id| (id.generation_id, id.node_id.to_string()))
                .collect::<BTreeSet<_>>()
        };
        let lives = self.handle.with_chitchat(lives).await.into_iter();
        lives.map(|(life, node)| (node, Generation(life))).collect()
    }

    /// All that chitchat knows, the dead included.
    pub(super) async fn known(&self) -> BTreeSet<ChitchatId> {
        let known = |chitchat: &mut Chitchat| chitchat.node_states().keys().cloned().collect();
        self.handle.with_chitchat(known).await
    }

    /// Names of all that chitchat knows, the dead included.
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
    fn chitchat(&self, life: Generation) -> ChitchatConfig {
        ChitchatConfig {
            chitchat_id: ChitchatId::new(self.node.as_str(), life.0, self.advertise),
            cluster_id: self.mesh.to_string(),
            gossip_interval: self.interval,
            listen_addr: self.advertise,
            // Ours come later than at the start: see `seeds`.
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

/// The keys of other lives, former ones of this node among them, that changed since they were read, which counts as read now.
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

/// Keys above a version, the oldest first. A node that floods its state is heard on its first keys.
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
