//! Which connections there are to which peer, and which of them is used.
//!
//! Two nodes may dial each other at once, or one may dial the same peer by two names, so a peer can
//! have several connections for a moment. Both ends must choose the same one without communication,
//! and must not each close the other's choice:
//!
//! 1. A later incarnation of the peer ends every connection to an earlier one.
//! 2. A connection that speaks is preferred to a silent one.
//! 3. The one dialled by the smaller name is preferred to the other.
//! 4. Of several by the same dialler, the dialler takes the oldest, and the other side the newest.
//!
//! Invariant: only the dialler of a connection closes it as superfluous, also where it is the only one and idle. So
//! whatever the two ends choose for a moment, the one that remains is one that its dialler wants.
//!
//! The table that requests read is swapped whole; they take no lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use grapevine_core::engine::Event;
use grapevine_core::ids::NodeName;
use grapevine_core::link::LinkState;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::link::{PEERS_MAX, PeerLink};
use super::table::LinkTable;

/// The most connections to one peer; a peer that opens more is at fault.
pub const CONNECTIONS_PER_PEER_MAX: usize = 4;

/// All connections, and the table of those in use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Links {
    me: NodeName,
    table: Arc<ArcSwap<LinkTable>>,
    all: Arc<Mutex<All>>,
    changed: Arc<Notify>,
    /// Counts the tables, for those who wait for a link.
    tables: Arc<watch::Sender<u64>>,
}

/// Every connection, and the channel for changes of the used ones, in their order.
#[derive(Debug)]
struct All {
    by_peer: BTreeMap<NodeName, Vec<Arc<PeerLink>>>,
    events: mpsc::Sender<Event>,
}

/// Events that wait for the engine; the task that forwards them waits only for its inbox.
const EVENTS_MAX: usize = 4 * PEERS_MAX;

/// What a new connection, or the end of one, changed.
#[derive(Debug, Default)]
pub struct LinkChange {
    /// Connections to earlier incarnations: to be closed at once.
    pub dead: Vec<Arc<PeerLink>>,
    /// Connections that this node dialled and does not use: to be closed when nothing runs on them.
    pub superfluous: Vec<Arc<PeerLink>>,
}

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// A later incarnation of the peer is connected.
    #[error("a later life of this peer is connected")]
    Stale,
    /// Too many connections to this peer, or too many peers.
    #[error("too many connections")]
    TooMany,
}

impl Links {
    /// No links yet, for the node `me`; and the events for the engine, in their order.
    pub fn new(me: NodeName) -> (Self, mpsc::Receiver<Event>) {
        let (events, events_out) = mpsc::channel(EVENTS_MAX);
        let all = All {
            by_peer: BTreeMap::new(),
            events,
        };
        let links = Self {
            me,
            table: Arc::default(),
            all: Arc::new(Mutex::new(all)),
            changed: Arc::default(),
            tables: Arc::new(watch::Sender::new(0)),
        };
        (links, events_out)
    }

    /// Waits until the link in use to some peer changes.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The links in use. Hold the guard for a short time.
    pub fn table(&self) -> Guard<Arc<LinkTable>> {
        self.table.load()
    }

    /// The link in use to `peer`.
    pub fn get(&self, peer: &NodeName) -> Option<Arc<PeerLink>> {
        self.table.load().by_name.get(peer).cloned()
    }

    /// Waits until there is a link to `peer`.
    pub async fn opened(&self, peer: &NodeName) -> Arc<PeerLink> {
        let mut tables = self.tables.subscribe();
        loop {
            if let Some(link) = self.get(peer) {
                return link;
            }
            if tables.changed().await.is_err() {
                // These links own the sender, so this is never reached while they are borrowed.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether this link is the one in use.
    pub fn is_used(&self, link: &PeerLink) -> bool {
        let table = self.table.load();
        let used = table.by_name.get(&link.peer);
        used.is_some_and(|used| used.serial == link.serial)
    }

    /// Adds a new connection and chooses again.
    ///
    /// # Errors
    /// When it is stale or one too many; the connection must be closed.
    pub fn admit(&self, link: Arc<PeerLink>) -> Result<LinkChange, AdmitError> {
        let mut all = self.lock();
        if !all.by_peer.contains_key(&link.peer) && all.by_peer.len() >= PEERS_MAX {
            return Err(AdmitError::TooMany);
        }
        let known = all.by_peer.entry(link.peer.clone()).or_default();
        if known.iter().any(|old| old.generation > link.generation) {
            return Err(AdmitError::Stale);
        }
        let dead = known
            .extract_if(.., |old| old.generation < link.generation)
            .collect();
        if known.len() >= CONNECTIONS_PER_PEER_MAX {
            return Err(AdmitError::TooMany);
        }
        let peer = link.peer.clone();
        known.push(link);
        let mut change = self.choose(&mut all, &peer);
        change.dead = dead;
        Ok(change)
    }

    /// Forgets a connection that has ended and chooses again.
    pub fn remove(&self, link: &PeerLink) -> LinkChange {
        let mut all = self.lock();
        if let Some(known) = all.by_peer.get_mut(&link.peer) {
            known.retain(|other| other.serial != link.serial);
        }
        self.choose(&mut all, &link.peer)
    }

    /// Records whether a link speaks, or when it last did, and chooses again. One that is [`LinkState::Lost`]
    /// is silent until its connection ends.
    pub fn set_state(&self, link: &PeerLink, state: LinkState, spoke_at: Instant) -> LinkChange {
        let mut all = self.lock();
        link.set_silent((state != LinkState::Recovered).then_some(spoke_at));
        let change = self.choose(&mut all, &link.peer);
        // Where several are silent the choice alone may have changed: the state of the used one is reported,
        // whichever spoke.
        if let Some(used) = self.table.load().by_name.get(&link.peer) {
            all.report_state(used);
        }
        change
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Nothing panics while it is held; if it ever did, the map would still be consistent.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the link to `peer`; publishes the table and reports the change, if any.
    fn choose(&self, all: &mut All, peer: &NodeName) -> LinkChange {
        let smaller_here = self.me < *peer;
        let known = all.by_peer.get(peer).map_or(&[][..], Vec::as_slice);
        let best = known
            .iter()
            .max_by_key(|link| link.preference().key(smaller_here))
            .cloned();
        let serial = best.as_ref().map(|best| best.serial);
        let unused = |link: &&Arc<PeerLink>| link.dialled_here && Some(link.serial) != serial;
        let superfluous = known.iter().filter(unused).cloned().collect();
        let table = self.table.load_full();
        let used = table.by_name.get(peer);
        if used.map(|link| link.serial) != serial {
            self.table.store(Arc::new(table.with(peer, best.as_ref())));
            all.report_change(peer, used, best.as_ref());
            self.changed.notify_one();
            self.tables.send_modify(|count| *count += 1);
        }
        if best.is_none() {
            all.by_peer.remove(peer);
        }
        LinkChange {
            dead: Vec::new(),
            superfluous,
        }
    }
}

impl All {
    /// Reports that another link to `peer` is in use: as down and up only where the incarnation changed.
    fn report_change(
        &self,
        peer: &NodeName,
        old: Option<&Arc<PeerLink>>,
        new: Option<&Arc<PeerLink>>,
    ) {
        if old.map(|link| link.generation) != new.map(|link| link.generation) {
            if let Some(old) = old {
                let peer = peer.clone();
                self.report(match old.is_parting() && new.is_none() {
                    true => Event::LinkClosed { peer },
                    false => Event::LinkDown { peer },
                });
            }
            if new.is_some() {
                self.report(Event::LinkUp { peer: peer.clone() });
            }
        } else if let Some(new) = new {
            self.report_state(new);
        }
    }

    fn report_state(&self, used: &PeerLink) {
        let peer = used.peer.clone();
        self.report(match used.is_silent() {
            true => Event::LinkSilent { peer },
            false => Event::LinkRecovered { peer },
        });
    }

    fn report(&self, event: Event) {
        // Full only when the engine has stopped taking events altogether: the node is shutting down.
        let _ = self.events.try_send(event);
    }
}
