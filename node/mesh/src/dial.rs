//! Keeps the connections that this node wants.
//!
//! Wanted are: each seed until some node answers there, without a limit of time; the warm set of the members
//! that gossip knows; and, for a short time, each address that gossip sends to. Each target backs off on
//! its own, and is tried at once when its link goes down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::entropy;
use grapevine_base::exchange::CallLocal;
use grapevine_core::ids::NodeName;
use grapevine_core::links::{ALL_MAX, idle};
use quinn::VarInt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, warn};

use super::hello::GreetError;
use super::hub::Hub;
use super::idle::IdleLinks;
use super::members::Members;
use super::session::EstablishError;
use super::warm;

mod attempt;

use attempt::{DialError, DialLocation, DialPurpose, dial};

/// The first wait after a failed dial; it doubles with each.
const BACK_OFF_MIN: Duration = Duration::from_millis(300);

/// The longest wait between two dials of the same target.
const BACK_OFF_MAX: Duration = Duration::from_secs(4);

/// A seed that cannot be reached is logged after this many dials,
const COMPLAIN_AFTER: u32 = 3;

/// and again after each this many: every few minutes.
const COMPLAIN_EVERY: u32 = 60;

/// The node with the greater name gives the other this much time to dial first.
const COURTESY: Duration = Duration::from_millis(200);

/// The most dials that run at once.
const DIALS_MAX: usize = 32;

/// How long an address that gossip sent to stays a target.
const STRANGER_KEPT: Duration = Duration::from_secs(10);

/// The most such addresses.
const STRANGERS_MAX: usize = 256;

/// The most configured hosts of peers that are remembered.
const HOSTS_MAX: usize = 1_024;

/// What is dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// `host:port`, as configured.
    Seed(String),
    /// A member of the warm set.
    Peer(NodeName),
    /// An address that gossip sends to.
    Stranger(SocketAddr),
}

/// The progress of dialling a target.
#[derive(Debug)]
struct Progress {
    back_off: Duration,
    next_at: Instant,
    is_running: bool,
    failures: u32,
    /// Who answered there last.
    answered: Option<NodeName>,
    /// When it stops being a target; `None` while it is configured or a member.
    until: Option<Instant>,
}

/// How a dial ended.
type Dialled = (Target, Result<NodeName, DialError>);

/// Keeps the wanted connections. Runs until aborted.
pub(super) struct Dialler<L> {
    hub: Arc<Hub<L>>,
    members: watch::Receiver<Members>,
    strangers: mpsc::Receiver<SocketAddr>,
    targets: BTreeMap<Target, Progress>,
    warm: BTreeSet<NodeName>,
    idle: IdleLinks,
    hosts: BTreeMap<NodeName, String>,
    dials: JoinSet<Dialled>,
}

impl<L: CallLocal> Dialler<L> {
    pub(super) fn new(
        hub: Arc<Hub<L>>,
        seeds: Vec<String>,
        members: watch::Receiver<Members>,
        strangers: mpsc::Receiver<SocketAddr>,
    ) -> Self {
        let now = Instant::now();
        let target = |seed| (Target::Seed(seed), Progress::new(now));
        Self {
            hub,
            members,
            strangers,
            targets: seeds.into_iter().map(target).collect(),
            warm: BTreeSet::new(),
            idle: IdleLinks::default(),
            hosts: BTreeMap::new(),
            dials: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        self.follow_members();
        let mut looks = interval(idle::LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake_at = self.dial_due();
            tokio::select! {
                () = sleep_until(wake_at) => {}
                () = self.hub.links.changed() => self.remember_hosts(),
                Ok(()) = self.members.changed() => self.follow_members(),
                _ = looks.tick() => self.close_idle(),
                Some(address) = self.strangers.recv() => self.want_stranger(address),
                Some(ended) = self.dials.join_next() => match ended {
                    Ok((target, result)) => self.ended(&target, result),
                    Err(error) => debug!(%error, "dial was lost"),
                },
            }
        }
    }

    /// Starts every dial that is due; returns when to look again.
    fn dial_due(&mut self) -> Instant {
        let now = Instant::now();
        self.targets
            .retain(|_, progress| progress.until.is_none_or(|until| now < until));
        let mut wake_at = now + BACK_OFF_MAX;
        let mut due = Vec::new();
        for (target, progress) in &mut self.targets {
            if progress.is_running || is_linked(&self.hub, &self.members.borrow(), target, progress)
            {
                continue;
            }
            if progress.next_at > now {
                wake_at = wake_at.min(progress.next_at);
            } else if self.dials.len() + due.len() < DIALS_MAX {
                progress.is_running = true;
                due.push(target.clone());
            }
        }
        for target in due {
            let hub = Arc::clone(&self.hub);
            let locations = self.locations(&target);
            let is_large = self.members.borrow().len() > ALL_MAX;
            let purpose = match target {
                Target::Stranger(_) if is_large => DialPurpose::Exchange,
                _ => DialPurpose::Stay,
            };
            self.dials.spawn(async move {
                let result = dial(&hub, locations, purpose).await;
                (target, result)
            });
        }
        wake_at
    }

    /// Where to dial a target: the address first, then its name, which may have moved.
    fn locations(&self, target: &Target) -> Vec<DialLocation> {
        match target {
            Target::Seed(host) => vec![DialLocation::Host(host.clone())],
            Target::Stranger(address) => vec![DialLocation::Address(*address)],
            Target::Peer(peer) => {
                let address = self.members.borrow().get(peer).copied();
                let host = self.hosts.get(peer).cloned();
                let address = address.map(DialLocation::Address).into_iter();
                address.chain(host.map(DialLocation::Host)).collect()
            }
        }
    }

    fn ended(&mut self, target: &Target, result: Result<NodeName, DialError>) {
        let Some(progress) = self.targets.get_mut(target) else {
            return;
        };
        progress.is_running = false;
        match result {
            Ok(peer) => {
                progress.answered = Some(peer);
                progress.back_off = BACK_OFF_MIN;
                progress.failures = 0;
                progress.next_at = Instant::now() + jittered(BACK_OFF_MIN);
            }
            Err(error) => {
                progress.failures = progress.failures.saturating_add(1);
                complain(target, progress.failures, &error);
                progress.next_at = Instant::now() + jittered(progress.back_off);
                progress.back_off = progress.back_off.saturating_mul(2).min(BACK_OFF_MAX);
            }
        }
    }

    fn follow_members(&mut self) {
        let now = Instant::now();
        let wanted: BTreeSet<NodeName> = {
            let members = self.members.borrow_and_update();
            warm::warm_set(&self.hub.driver.view(), &self.hub.me, &members)
        };
        self.targets.retain(|target, _| match target {
            Target::Peer(peer) => wanted.contains(peer),
            Target::Seed(_) | Target::Stranger(_) => true,
        });
        for peer in &wanted {
            let courtesy = if *peer < self.hub.me {
                COURTESY
            } else {
                Duration::ZERO
            };
            let target = Target::Peer(peer.clone());
            self.targets
                .entry(target)
                .or_insert_with(|| Progress::new(now + courtesy));
        }
        self.warm = wanted;
    }

    /// Closes links that nobody needs. What asked for a dial of them is over.
    fn close_idle(&mut self) {
        let members = self.members.borrow().len();
        for peer in self.idle.close(&self.hub, &self.warm, members) {
            self.targets.retain(|target, progress| {
                let is_stranger = matches!(target, Target::Stranger(_));
                !is_stranger || progress.answered.as_ref() != Some(&peer)
            });
        }
    }

    fn want_stranger(&mut self, address: SocketAddr) {
        if self.hub.own_addresses.contains(&address) {
            return;
        }
        let now = Instant::now();
        let strangers = self.targets.values().filter(|known| known.until.is_some());
        let is_full = strangers.count() >= STRANGERS_MAX;
        let target = Target::Stranger(address);
        match self.targets.get_mut(&target) {
            Some(progress) => progress.until = Some(now + STRANGER_KEPT),
            None if is_full => {}
            None => {
                let progress = Progress {
                    until: Some(now + STRANGER_KEPT),
                    ..Progress::new(now)
                };
                self.targets.insert(target, progress);
            }
        }
    }

    fn remember_hosts(&mut self) {
        let table = self.hub.links.table();
        for link in table.by_name.values() {
            if self.hosts.len() < HOSTS_MAX || self.hosts.contains_key(&link.peer) {
                self.hosts.insert(link.peer.clone(), link.host.clone());
            }
        }
    }
}

impl Progress {
    const fn new(next_at: Instant) -> Self {
        Self {
            back_off: BACK_OFF_MIN,
            next_at,
            is_running: false,
            failures: 0,
            answered: None,
            until: None,
        }
    }
}

/// Warns the operator of a seed that cannot be reached; gossip reports members that cannot.
fn complain(target: &Target, failures: u32, error: &DialError) {
    let is_due = failures % COMPLAIN_EVERY == COMPLAIN_AFTER;
    let leads_here = matches!(
        error,
        DialError::NoAddress | DialError::Establish(EstablishError::Greet(GreetError::Myself))
    );
    match target {
        Target::Seed(seed) if is_due && !leads_here => {
            warn!(seed, failures, %error, "seed cannot be reached; retrying without limit");
        }
        _ => debug!(?target, failures, %error, "dial failed"),
    }
}

/// Whether a target needs no dial: its peer is linked, or the mesh was joined through it.
fn is_linked<L>(hub: &Hub<L>, members: &Members, target: &Target, progress: &Progress) -> bool {
    let table = hub.links.table();
    let answered = progress.answered.as_ref();
    // Through a seed a node joins; in a large mesh it then is a member as others are.
    let is_member = |peer: &NodeName| members.len() > ALL_MAX && members.contains_key(peer);
    match target {
        Target::Seed(_) => {
            answered.is_some_and(|peer| table.by_name.contains_key(peer) || is_member(peer))
        }
        Target::Peer(peer) => table.by_name.contains_key(peer),
        Target::Stranger(address) => {
            table.at(*address).is_some()
                || answered.is_some_and(|peer| table.by_name.contains_key(peer))
        }
    }
}

/// `span` give or take a fifth, so that nodes that lost each other together do not dial together.
fn jittered(span: Duration) -> Duration {
    let [byte] = entropy::bytes();
    span.mul_f64(0.8 + 0.4 * f64::from(byte) / 255.0)
}

/// The code with which an endpoint that shuts down closes its connections.
pub(super) const fn shutdown_code() -> VarInt {
    VarInt::from_u32(grapevine_proto::frame::close::SHUTDOWN)
}
