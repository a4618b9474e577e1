//! The open connections of one listener: how many there are, and who makes room for whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::connection::{CloseReason, to_shed};
use tracing::warn;

use super::Activity;
use super::activity::Farewell;
use super::burst::Burst;
use crate::clock::Clock;
use crate::listener::metrics::ListenerMetrics;

/// Connections that are told to go at once, as a part of all: one look over all of them serves for many
/// that come.
const SHED_PART: usize = 16;

/// The most of them.
const SHED_MAX: usize = 256;

/// Connections beyond the limit while others that were told to go do so.
const SPARE_MAX: usize = 32;

/// Where nobody could be told to go, nobody is looked for again within this.
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
    /// Those of `connections` that were told to make room.
    leaving: usize,
    /// Until when nobody is looked for.
    nobody_until: Instant,
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

/// The place of one connection, until this is dropped.
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

    /// A place for a connection that has just come, served by the thread `group`. Where there is none,
    /// those with least to lose are told to go; see [`ConnectionEntry::is_crowded`].
    ///
    /// # Errors
    /// When nobody can be told to.
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

    /// Tells some connections to go, since descriptors have run out.
    pub fn make_room(&self) {
        self.under_pressure();
        self.shed(&mut self.open());
    }

    /// Tells all connections of the thread `group` to end when their requests have.
    pub fn drain(&self, group: usize) {
        for connection in self.open().connections.values() {
            if connection.group == group {
                connection.activity.tell(Farewell::Drain);
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

    /// Tells those with least to lose to go; how many.
    fn shed(&self, open: &mut Open) -> usize {
        let now = self.0.clock.now();
        if now < open.nobody_until {
            return 0;
        }
        let staying = open
            .connections
            .iter()
            .filter(|(_, it)| it.activity.farewell().is_none());
        let standings = staying.map(|(id, it)| (*id, it.activity.standing()));
        let wanted = (self.0.max / SHED_PART).clamp(1, SHED_MAX);
        let shed = to_shed(now, standings, wanted);
        if shed.is_empty() {
            open.nobody_until = now + LOOK_AGAIN;
        }
        for connection in shed.iter().filter_map(|id| open.connections.get(id)) {
            connection.activity.tell(Farewell::Shed);
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

    /// Whether others were told to go for it. Who accepts connections lets their tasks run then, before it
    /// accepts more: they go by themselves.
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
        if self.activity.farewell() == Some(Farewell::Shed) {
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
        let _third = table.admit(0).expect("the first is told to go");
        assert_eq!(first.activity().farewell(), Some(Farewell::Shed));
        assert_eq!(second.activity().farewell(), None);
        assert_eq!(first.activity().told().await, Farewell::Shed);
    }

    #[tokio::test]
    async fn busy_connections_stay_and_the_newest_is_refused() {
        let table = table(2);
        let entries = [(); 2].map(|()| table.admit(0).expect("room"));
        let open = entries.each_ref().map(|entry| entry.activity().enter());
        assert_eq!(table.admit(0).err(), Some(Full));
        assert_eq!(table.metrics().closed_so_far(CloseReason::Full), 1);
        drop((open, entries));
        assert!(table.admit(0).is_ok(), "places are given back");
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
        assert_eq!(own.activity().farewell(), Some(Farewell::Drain));
        assert_eq!(other.activity().farewell(), None);
    }
}
