//! What all tasks of the mesh share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_core::fact::{Load, UpstreamFact};
use grapevine_core::forwarding::Forwarding;
use grapevine_core::ids::{MeshName, NodeName, UpstreamName};
use grapevine_core::residency::Residency;
use grapevine_core::view::View;
use quinn::Endpoint;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::admission::Underway;
use super::identity::Verifier;
use super::links::{Link, Links};
use super::wire::Sender;
use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::Desk;
use grapevine_base::exchange::ServeInside;
use grapevine_observe::metrics::Metrics;

/// What all tasks of the mesh share. `L` answers forwarded requests.
pub(super) struct Hub<L> {
    pub(super) mesh: MeshName,
    pub(super) me: NodeName,
    pub(super) desk: Desk,
    pub(super) local: L,
    /// Answers peers' calls to the inside of this node.
    pub(super) inside: Arc<dyn ServeInside>,
    pub(super) endpoint: Endpoint,
    pub(super) client: ArcSwap<quinn::ClientConfig>,
    pub(super) verifier: Verifier,
    /// This node's greeting, as a frame.
    pub(super) greeting: Bytes,
    /// Addresses at which this node reaches itself.
    pub(super) own_addresses: Vec<SocketAddr>,
    pub(super) links: Links,
    pub(super) serials: AtomicU64,
    pub(super) gossip: mpsc::Sender<(Sender, Bytes)>,
    pub(super) rumors: mpsc::Sender<(NodeName, Bytes)>,
    pub(super) letters: Letters,
    pub(super) underway: Underway,
    /// What bodies may take of memory: requests of peers, and answers to calls of this node's own.
    pub(super) bodies: BodyBudget,
    pub(super) complaints: Complaints,
    pub(super) rules: Rules,
}

/// Swaps what a reload changes, whatever answers calls.
pub(super) trait Swap: Send + Sync + std::fmt::Debug {
    fn swap(&self, config: quinn::ClientConfig);

    fn swap_rules(&self, rules: ServingRules);
}

impl<L: Send + Sync> Swap for Hub<L> {
    fn swap(&self, config: quinn::ClientConfig) {
        self.client.store(Arc::new(config));
    }

    fn swap_rules(&self, rules: ServingRules) {
        self.rules.serving.store(Arc::new(rules));
    }
}

impl<L> std::fmt::Debug for Hub<L> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// This node's own rules for the requests that it serves to peers: it asks them whatever the peer has asked.
#[derive(Clone, Debug, Default)]
pub struct ServingRules {
    /// Which requests may be answered in this node's region.
    pub residency: Residency,
    /// What may be asked of upstreams.
    pub forwarding: Forwarding,
}

/// The rules in force, and what is told of refused requests.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) serving: ArcSwap<ServingRules>,
    metrics: Metrics,
    complaints: Complaints,
}

/// Gossip for addresses without a link, until one is there.
#[derive(Clone, Debug)]
pub(super) struct Letters {
    waiting: Arc<Mutex<BTreeMap<SocketAddr, Bytes>>>,
    strangers: mpsc::Sender<SocketAddr>,
}

/// Addresses for which gossip waits at most.
const LETTERS_MAX: usize = 256;

/// Keeps a peer that is refused again and again from filling the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<BTreeMap<IpAddr, Instant>>);

/// One address is complained about this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Addresses remembered as complained about; beyond it, new ones wait until old ones expire.
const COMPLAINTS_MAX: usize = 64;

impl Letters {
    /// None waiting; addresses to be dialled go to `strangers`.
    pub(super) fn new(strangers: mpsc::Sender<SocketAddr>) -> Self {
        Self {
            waiting: Arc::default(),
            strangers,
        }
    }

    /// Keeps `message` for `address`, instead of an older one, and asks for a dial.
    pub(super) fn keep(&self, address: SocketAddr, message: Bytes) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= LETTERS_MAX && !waiting.contains_key(&address) {
            // Gossip will come again, and the oldest wait for peers that are not there.
            waiting.clear();
        }
        waiting.insert(address, message);
        drop(waiting);
        // A full queue means that enough dials are asked for.
        let _ = self.strangers.try_send(address);
    }

    /// Takes what waits for `address`.
    pub(super) fn take(&self, address: SocketAddr) -> Option<Bytes> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&address)
    }
}

impl Rules {
    pub(super) fn new(rules: ServingRules, metrics: Metrics) -> Self {
        Self {
            serving: ArcSwap::from_pointee(rules),
            metrics,
            complaints: Complaints::default(),
        }
    }

    /// A request of the peer at the end of `link` may not be answered here. Its own rules should have
    /// told it so: an operator should compare the two.
    pub(super) fn refused(&self, link: &Link, detail: &str) {
        self.metrics.residency_refused_to_peer();
        let address = link.connection.remote_address().ip();
        if self.complaints.may(address, Instant::now()) {
            warn!(
                peer.name = %link.peer,
                detail,
                "a peer's request may not be answered here; compare the residency rules of both nodes"
            );
        }
    }
}

impl Complaints {
    /// Whether to complain about `address` at `now`.
    pub(super) fn may(&self, address: IpAddr, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < COMPLAINT_INTERVAL);
        if told.len() >= COMPLAINTS_MAX || told.contains_key(&address) {
            return false;
        }
        told.insert(address, now);
        true
    }
}

/// The load of an own upstream, as told with every answer; zero when there is no such upstream.
pub(super) fn own_load(view: &View, upstream: &UpstreamName) -> Option<Load> {
    let own = view.own.get(upstream)?;
    let told = own_fact(view, upstream);
    Some(Load {
        upstream: upstream.clone(),
        in_flight: own.in_flight.count(),
        ttft: told.and_then(|fact| fact.ttft).unwrap_or_default(),
    })
}

/// What this node says of an own upstream.
pub(super) fn own_fact<'a>(view: &'a View, upstream: &UpstreamName) -> Option<&'a UpstreamFact> {
    let told = &view.nodes.first()?.upstreams;
    let mut facts = told.iter().map(|status| &*status.fact);
    facts.find(|fact| fact.name == *upstream)
}

/// The loads of all own upstreams, as told with every echo.
pub(super) fn own_loads(view: &View) -> Vec<Load> {
    let names = view.own.keys();
    names.filter_map(|name| own_load(view, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_complained_about_once_a_minute() {
        let complaints = Complaints::default();
        let address = IpAddr::from([203, 0, 113, 5]);
        let now = Instant::now();
        assert!(complaints.may(address, now));
        assert!(!complaints.may(address, now));
        assert!(complaints.may(IpAddr::from([203, 0, 113, 6]), now));
        assert!(complaints.may(address, now + COMPLAINT_INTERVAL));
    }

    #[test]
    fn newest_letter_replaces_an_older_one() {
        let (strangers, mut dialler) = mpsc::channel(1);
        let letters = Letters::new(strangers);
        let address = SocketAddr::from(([127, 0, 0, 1], 7_171));
        letters.keep(address, Bytes::from_static(b"old"));
        letters.keep(address, Bytes::from_static(b"new"));
        assert_eq!(letters.take(address), Some(Bytes::from_static(b"new")));
        assert_eq!(letters.take(address), None);
        assert_eq!(dialler.try_recv(), Ok(address));
    }
}
