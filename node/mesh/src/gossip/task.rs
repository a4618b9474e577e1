//! The one task of gossip: it sends what the engine publishes and takes what peers publish, checked.
//!
//! It waits for nobody: events for the engine queue here while its inbox is full (and nothing more is
//! read from peers meanwhile), so that publications of the engine are always taken and the two can never
//! wait for each other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::driver::Publication;
use grapevine_base::vital::Vital;
use grapevine_core::engine::Event;
use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, MeshName, NodeName, Stamp};
use grapevine_core::links;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::warn;

use super::chat::{Chat, ChatConfig};
use super::codec::{LinkTransport, Pace};
use super::counters::Counters;
use super::filter::Filter;
use super::guard::ChitchatGuard;
use super::members::Members;
use super::own::{Own, Sealed};
use super::quarantined::Quarantined;
use super::receiver::GossipReceiver;
use super::seeds::{Seeds, Tried};
use crate::identity::Verifier;
use crate::signer::Signer;
use crate::wire::{GossipOutput, Incoming};

mod incarnations;
mod look;

use incarnations::RESTART_DELAY;

/// The most addresses that a new chitchat tries at once; more would be a burst.
const CONTACTS_MAX: usize = 16;

/// A chitchat that ran this long is stable: the next restart waits for the first pause again.
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// The usual gossip interval.
pub const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);

/// Who gossips, and how.
#[derive(Clone, Debug)]
pub struct GossipConfig {
    /// The mesh; chitchat takes no message of another.
    pub mesh: MeshName,
    /// This node.
    pub node: NodeName,
    /// Its incarnation, as in its stamps.
    pub generation: Generation,
    /// The address under which peers reach it.
    pub advertise: SocketAddr,
    /// Addresses or DNS names, each with a port; at most 64.
    pub seeds: Vec<String>,
    /// Time between rounds; [`GOSSIP_INTERVAL`] unless there is a reason for another.
    pub interval: Duration,
    /// Where the end of its task is reported.
    pub vital: Vital,
}

/// Running gossip; ended when dropped. Peers then detect its silence.
#[derive(Debug)]
pub struct Gossip {
    counters: Arc<Counters>,
    quarantined: Arc<Quarantined>,
    task: JoinHandle<()>,
}

impl Gossip {
    /// Starts to gossip. `events` takes members and verified facts; the engine publishes through
    /// `publications`, and gossip ends when that channel closes.
    pub fn start<O: GossipOutput>(
        config: GossipConfig,
        events: mpsc::Sender<Event>,
        publications: mpsc::Receiver<Publication>,
        outgoing: O,
        incoming: Incoming,
        signer: Signer,
        verifier: Verifier,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let quarantined = Arc::new(Quarantined::default());
        let (mesh, node) = (config.mesh.clone(), config.node.clone());
        let filter = Filter::new(
            mesh.clone(),
            node.clone(),
            config.advertise,
            verifier.clone(),
        );
        let Incoming { gossip, rumors } = incoming;
        let transport = LinkTransport {
            advertise: config.advertise,
            outgoing,
            inbox: Arc::new(Mutex::new(gossip)),
            pace: Arc::default(),
            guard: ChitchatGuard::new(filter, Arc::clone(&quarantined), Arc::clone(&counters)),
        };
        let own = Own::new(
            mesh.clone(),
            node.clone(),
            config.advertise,
            signer,
            config.generation,
        );
        let receiver = GossipReceiver::new(
            mesh,
            node,
            verifier,
            Arc::clone(&counters),
            Arc::clone(&quarantined),
        );
        let task = Task::new(&config, own, receiver, transport, Arc::clone(&counters));
        let mut tick = interval(config.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seeds = Seeds::look_up(&config.seeds);
        let task = task.run(Ends {
            events,
            publications,
            rumors,
            seeds,
            tick,
        });
        let task = tokio::spawn(config.vital.keep("gossip", task));
        Self {
            counters,
            quarantined,
            task,
        }
    }

    /// Counts of refusals, restarts and rumors.
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The peers in quarantine.
    pub const fn quarantined(&self) -> &Arc<Quarantined> {
        &self.quarantined
    }

    /// Both, to be read later.
    pub fn refused(&self) -> (Arc<Counters>, Arc<Quarantined>) {
        (Arc::clone(&self.counters), Arc::clone(&self.quarantined))
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task waits for.
struct Ends {
    events: mpsc::Sender<Event>,
    publications: mpsc::Receiver<Publication>,
    rumors: mpsc::Receiver<(NodeName, Bytes)>,
    seeds: Seeds,
    tick: Interval,
}

struct Task<O> {
    chat_config: ChatConfig,
    chat: Option<Chat>,
    /// When to start chitchat, while it does not run.
    start_at: Instant,
    started_at: Instant,
    restart_delay: Duration,
    /// Some key changed in chitchat.
    changed: Arc<Notify>,
    /// The addresses that the next chitchat tries first.
    contacts: Vec<SocketAddr>,
    tried: Tried,
    /// The addresses of the live members.
    live_addresses: BTreeSet<SocketAddr>,
    own: Own,
    receiver: GossipReceiver,
    members: Members,
    counters: Arc<Counters>,
    pace: Arc<Pace>,
    transport: LinkTransport<O>,
}

impl<O: GossipOutput> Task<O> {
    fn new(
        config: &GossipConfig,
        own: Own,
        receiver: GossipReceiver,
        transport: LinkTransport<O>,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        Self {
            own,
            receiver,
            members: Members::new(now, config.interval),
            chat_config: ChatConfig {
                mesh: config.mesh.clone(),
                node: config.node.clone(),
                advertise: config.advertise,
                interval: config.interval,
            },
            chat: None,
            start_at: now,
            started_at: now,
            restart_delay: RESTART_DELAY,
            changed: Arc::new(Notify::new()),
            contacts: Vec::new(),
            tried: Tried::default(),
            live_addresses: BTreeSet::new(),
            counters,
            pace: Arc::clone(&transport.pace),
            transport,
        }
    }

    async fn run(mut self, mut ends: Ends) {
        let mut ticks = 0_u64;
        loop {
            let has_events = !self.receiver.is_empty();
            let has_room = !self.receiver.is_full();
            tokio::select! {
                publication = ends.publications.recv() => match publication {
                    Some(publication) => self.on_publication(publication).await,
                    None => return,
                },
                permit = ends.events.reserve(), if has_events => match (permit, self.receiver.next()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    (Ok(_), None) => {}
                    (Err(_), _) => return,
                },
                Some((from, rumor)) = ends.rumors.recv(), if has_room => {
                    self.receiver.rumor(from, rumor);
                }
                () = self.changed.notified(), if has_room => self.look().await,
                cause = ended(self.chat.as_ref()) => self.on_end(&cause),
                () = sleep_until(self.start_at), if self.chat.is_none() => self.start().await,
                address = ends.seeds.next() => self.on_seed(address),
                _ = ends.tick.tick() => {
                    ticks += 1;
                    self.on_tick(ticks).await;
                }
            }
        }
    }

    async fn on_tick(&mut self, ticks: u64) {
        let per_second = Duration::from_secs(1).div_duration_f64(self.chat_config.interval);
        if ticks.is_multiple_of(per_second.ceil() as u64) {
            self.receiver.refill();
            self.transport.guard.refill();
            self.forget().await;
        }
        if self.own.certificate_changed() {
            let all = self.own.seal_all();
            self.set(&all).await;
        }
        if !self.receiver.is_full() {
            self.look().await;
        }
    }

    async fn on_publication(&mut self, publication: Publication) {
        match publication {
            Publication::Own {
                fact,
                stamp,
                urgent,
            } => {
                if stamp.generation > self.own.generation() {
                    self.begin_generation(stamp.generation);
                }
                self.publish(&fact, stamp.version, urgent).await;
            }
            Publication::Relay { node, key, stamp } => self.relay(&node, &key, stamp),
        }
    }

    async fn publish(&mut self, fact: &Fact, version: u64, is_urgent: bool) {
        let sealed = self.own.publish(fact, version);
        if matches!(fact, Fact::Upstream(_)) && !self.own.is_published(&fact.key()) {
            Counters::add(&self.counters.upstreams_left_out);
            warn!(key = %sealed.key, "no room in gossip for this upstream; peers will not use it");
        }
        let left_out = self.own.models_left_out() as u64;
        let counter = &self.counters.models_left_out;
        if counter.swap(left_out, Ordering::Relaxed) < left_out {
            warn!(key = %sealed.key, left_out, "no room in gossip for all models; peers will not use them");
        }
        if is_urgent && let Some(rumor) = self.own.rumor(&sealed) {
            self.transport.outgoing.rumor(rumor.into(), None);
            Counters::add(&self.counters.rumors_pushed);
        }
        self.set(&[sealed]).await;
    }

    /// Sets own values, or restarts chitchat where somebody else wrote into this node's state.
    async fn set(&mut self, values: &[Sealed]) {
        let Some(chat) = &mut self.chat else { return };
        if !chat.set(values).await {
            self.on_foreign_write();
        }
    }

    fn relay(&mut self, node: &NodeName, key: &FactKey, stamp: Stamp) {
        if !links::relays(self.members.reported().len()) {
            return;
        }
        if let Some(kept) = self.receiver.relay(node, key, stamp) {
            let rumor = kept.bytes.clone();
            self.transport.outgoing.rumor(rumor, Some(&kept.from));
            Counters::add(&self.counters.rumors_relayed);
        }
    }

    fn on_seed(&mut self, address: SocketAddr) {
        if address == self.chat_config.advertise || self.live_addresses.contains(&address) {
            return;
        }
        let is_alone = self.live_addresses.is_empty();
        if !self.tried.is_due(Instant::now(), address, is_alone) {
            return;
        }
        match &self.chat {
            Some(chat) => chat.gossip(address),
            None if self.contacts.len() < CONTACTS_MAX => self.contacts.push(address),
            None => {}
        }
    }
}

/// Waits until chitchat has ended by itself; forever while it does not run.
async fn ended(chat: Option<&Chat>) -> String {
    match chat {
        Some(chat) => chat.ended().await,
        None => std::future::pending().await,
    }
}
