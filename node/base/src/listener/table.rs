//! The open connections of one listener: how many there are, and which are closed to make room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::connection::{CloseReason, to_shed};
use tracing::warn;

use super::Activity;
use super::activity::ShutdownReason;
use super::burst::Burst;
use crate::clock::Clock;
use crate::listener::metrics::ListenerMetrics;

/// The share of connections that is shed at once: one scan of the table makes room for many new ones.
const SHED_PART: usize = 16;

/// The most connections that are shed at once.
const SHED_MAX: usize = 256;

/// Connections admitted beyond the limit while those that were shed still close.
const SPARE_MAX: usize = 32;

/// When no connection could be shed, the table is not scanned again within this time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// All connections of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionTable(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    clock: Clock,
    open: Mutex<Open>,
    metrics: ListenerMetrics,
    pressure: Burst,
}

#[derive(Debug, Default)]
struct Open {
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
    /// Those of `connections` that were shed to make room.
    leaving: usize,
    /// Until when the table is not scanned.
    none_until: Instant,
}

#[derive(Debug)]
struct Connection {
    activity: Arc<Activity>,
    /// The thread that serves it.
    group: usize,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for another connection")]
pub struct Full;

/// The slot of one connection, until this is dropped.
#[derive(Debug)]
pub struct ConnectionEntry {
    table: ConnectionTable,
    id: u64,
    activity: Arc<Activity>,
    is_crowded: bool,
}

impl ConnectionTable {
    /// A listener with room for `max` connections.
    pub fn new(max: usize, metrics: ListenerMetrics) -> Self {
        Self(Arc::new(Shared {
            max,
            clock: Clock::start(),
            open: Mutex::default(),
            metrics,
            pressure: Burst::default(),
        }))
    }

    /// A slot for a connection that was just accepted, served by the thread `group`. Where none is free, those
    /// with least to lose are shed; see [`ConnectionEntry::is_crowded`].
    ///
    /// # Errors
    /// When none can be shed.
    pub fn admit(&self, group: usize) -> Result<ConnectionEntry, Full> {
        let shared = &*self.0;
        let mut open = self.open();
        let is_crowded = open.connections.len() - open.leaving >= shared.max;
        if is_crowded {
            self.under_pressure();
            if self.shed(&mut open) == 0 {
                shared.metrics.closed(CloseReason::Full);
                return Err(Full);
            }
        }
        let spare = (shared.max / 4 + 1).min(SPARE_MAX);
        if open.connections.len() >= shared.max + spare {
            shared.metrics.closed(CloseReason::Full);
            return Err(Full);
        }
        let activity = Arc::new(Activity::new(shared.clock));
        let connection = Connection {
            activity: Arc::clone(&activity),
            group,
        };
        let id = open.next_id;
        open.next_id += 1;
        open.connections.insert(id, connection);
        shared.metrics.set_open(open.connections.len());
        Ok(ConnectionEntry {
            table: self.clone(),
            id,
            activity,
            is_crowded,
        })
    }

    /// Sheds some connections, since descriptors have run out.
    pub fn make_room(&self) {
        self.under_pressure();
        self.shed(&mut self.open());
    }

    /// Asks all connections of the thread `group` to end when their requests have.
    pub fn drain(&self, group: usize) {
        for connection in self.open().connections.values() {
            if connection.group == group {
                connection.activity.shut_down(ShutdownReason::Drain);
            }
        }
    }

    /// Its counts.
    pub fn metrics(&self) -> &ListenerMetrics {
        &self.0.metrics
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sheds those with least to lose; returns how many.
    fn shed(&self, open: &mut Open) -> usize {
        let now = self.0.clock.now();
        if now < open.none_until {
            return 0;
        }
        let staying = open
            .connections
            .iter()
            .filter(|(_, it)| it.activity.shutdown_reason().is_none());
        let states = staying.map(|(id, it)| (*id, it.activity.state()));
        let wanted = (self.0.max / SHED_PART).clamp(1, SHED_MAX);
        let shed = to_shed(now, states, wanted);
        if shed.is_empty() {
            open.none_until = now + LOOK_AGAIN;
        }
        for connection in shed.iter().filter_map(|id| open.connections.get(id)) {
            connection.activity.shut_down(ShutdownReason::Shed);
        }
        open.leaving += shed.len();
        shed.len()
    }

    fn under_pressure(&self) {
        let metrics = self.0.metrics.clone();
        let (listener, limit) = (metrics.listener().as_str(), self.0.max);
        let counts = |metrics: &ListenerMetrics| {
            [CloseReason::Shed, CloseReason::Full].map(|reason| metrics.closed_so_far(reason))
        };
        let before = counts(&metrics);
        let begin = || {
            warn!(
                listener,
                limit, "no room for more connections: idle ones are closed, then new ones refused"
            );
        };
        let end = move |_| {
            let [shed, full] = counts(&metrics);
            let (closed, refused) = (shed - before[0], full - before[1]);
            warn!(
                listener,
                limit, closed, refused, "there is room for connections again"
            );
        };
        self.0.pressure.hit(begin, end);
    }
}

impl ConnectionEntry {
    /// What the connection does.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Whether others were shed for it. The acceptor then lets their tasks run before it accepts more: they close
    /// themselves.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Counts why this side closes the connection.
    pub fn closed(&self, reason: CloseReason) {
        self.table.0.metrics.closed(reason);
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        let mut open = self.table.open();
        open.connections.remove(&self.id);
        if self.activity.shutdown_reason() == Some(ShutdownReason::Shed) {
            open.leaving = open.leaving.saturating_sub(1);
        }
        self.table.0.metrics.set_open(open.connections.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::metrics::{ConnectionMetrics, Listener};

    fn table(max: usize) -> ConnectionTable {
        ConnectionTable::new(max, ConnectionMetrics::default().of(Listener::Public, max))
    }

    #[tokio::test]
    async fn silent_connection_makes_room_for_a_new_one() {
        let table = table(2);
        let (first, second) = (table.admit(0), table.admit(0));
        let (first, second) = (first.expect("room"), second.expect("room"));
        let _third = table.admit(0).expect("the first is shed");
        assert_eq!(
            first.activity().shutdown_reason(),
            Some(ShutdownReason::Shed)
        );
        assert_eq!(second.activity().shutdown_reason(), None);
        assert_eq!(
            first.activity().shutdown_requested().await,
            ShutdownReason::Shed
        );
    }

    #[tokio::test]
    async fn busy_connections_stay_and_the_newest_is_refused() {
        let table = table(2);
        let entries = [(); 2].map(|()| table.admit(0).expect("room"));
        let open = entries.each_ref().map(|entry| entry.activity().enter());
        assert_eq!(table.admit(0).err(), Some(Full));
        assert_eq!(table.metrics().closed_so_far(CloseReason::Full), 1);
        drop((open, entries));
        assert!(table.admit(0).is_ok(), "slots are released");
    }

    #[tokio::test]
    async fn connections_that_do_not_go_are_not_replaced_without_end() {
        let table = table(8);
        let admitted: Vec<_> = (0..100).map_while(|_| table.admit(0).ok()).collect();
        assert_eq!(admitted.len(), 8 + 3);
    }

    #[tokio::test]
    async fn thread_ends_its_own_connections_alone() {
        let table = table(8);
        let (own, other) = (table.admit(0).expect("room"), table.admit(1).expect("room"));
        table.drain(0);
        assert_eq!(
            own.activity().shutdown_reason(),
            Some(ShutdownReason::Drain)
        );
        assert_eq!(other.activity().shutdown_reason(), None);
    }
}
