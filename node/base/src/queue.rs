//! Requests that wait for a slot at a node that has as many in flight as it may: the shell of core's [`FairQueue`].
//!
//! Below that limit nobody waits, and a request reads one number more. One task owns the queue, as the driver owns the
//! engine: it hands each slot that becomes free to the request whose turn it is, by the weights of keys, and refuses those
//! that waited for too long. It looks for free slots [`LOOK_INTERVAL`] while somebody waits, so that requests that end
//! wake nobody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::fair::{FairQueue, QueueFull, QueuePlace, QueueRule, QueueTicket};
use grapevine_core::limit::{RequestGuard, RetryBudget};
use grapevine_core::units::Weight;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::bodies::network;
use crate::clock::Clock;

/// How often the task looks for a slot that became free, while requests wait: one is empty for half of that.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How often it looks for clients that went away.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Entries that the task has not seen yet, beyond those that may wait: it is for the queue to say who may.
const ENTRIES_SPARE: usize = 64;

/// Of the requests that may wait, one in so many may be of one key.
const KEYS_MIN: usize = 4;

/// When a refused client tries again: as soon as all that wait now are served, within these bounds.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Whose requests wait in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueKey {
    /// A key's, by its name.
    Key(Arc<str>),
    /// Those of a client without a key, by its network.
    Network(IpAddr),
}

impl QueueKey {
    /// Of a client at `address`, without a key.
    pub fn at(address: IpAddr) -> Self {
        Self::Network(network(address))
    }
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRefusal {
    /// Too many wait, of all keys.
    Full,
    /// Too many of its key wait.
    KeyFull,
    /// It waited for too long.
    TooLate,
}

impl QueueRefusal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::KeyFull, Self::TooLate];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::KeyFull => "key_full",
            Self::TooLate => "too_late",
        }
    }
}

/// A request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRefused {
    /// Why.
    pub by: QueueRefusal,
    /// When there may be room.
    pub retry_after: Duration,
}

/// A slot, or none.
type Turn = Result<RequestGuard, QueueRefused>;

/// A request that begins to wait.
#[derive(Debug)]
pub struct QueueEntry {
    key: QueueKey,
    weight: Weight,
    deadline: Instant,
    turn: oneshot::Sender<Turn>,
}

/// The request threads' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueueHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Requests that wait, or are about to.
    waiting: AtomicU32,
    /// `None` where nobody may wait.
    entries: Option<mpsc::Sender<QueueEntry>>,
    served: AtomicU64,
    refused: [AtomicU64; QueueRefusal::ALL.len()],
}

/// Counts a request that waits; ends when dropped.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl QueueHandle {
    /// The handle of a node where nobody may wait.
    pub fn off() -> Self {
        Self(Arc::default())
    }

    /// Where up to `waiting_max` may wait: the handle, and the task's end.
    pub fn new(waiting_max: usize) -> (Self, mpsc::Receiver<QueueEntry>) {
        let (entries, input) = mpsc::channel(waiting_max + ENTRIES_SPARE);
        let shared = Shared {
            entries: Some(entries),
            ..Shared::default()
        };
        (Self(Arc::new(shared)), input)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> u32 {
        self.0.waiting.load(Relaxed)
    }

    /// Requests that were served after they had waited.
    pub fn served(&self) -> u64 {
        self.0.served.load(Relaxed)
    }

    /// Requests that were refused.
    pub fn refused(&self, by: QueueRefusal) -> u64 {
        self.0.refused[by as usize].load(Relaxed)
    }

    /// Waits for a slot, until `deadline` at most.
    ///
    /// # Errors
    /// Where there is none in time, or no room to wait.
    pub async fn wait(&self, key: QueueKey, weight: Weight, deadline: Instant) -> Turn {
        let shared = &*self.0;
        shared.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(shared);
        let (turn, served) = oneshot::channel();
        let entry = QueueEntry {
            key,
            weight,
            deadline,
            turn,
        };
        let sent = shared.entries.as_ref().map(|it| it.try_send(entry));
        let turn = match sent {
            Some(Ok(())) => served.await.ok(),
            _ => None,
        };
        let turn = turn.unwrap_or(Err(QueueRefused {
            by: QueueRefusal::Full,
            retry_after: RETRY_AFTER_MIN,
        }));
        let count = match &turn {
            Ok(_) => &shared.served,
            Err(refused) => &shared.refused[refused.by as usize],
        };
        count.fetch_add(1, Relaxed);
        turn
    }
}

/// The task that owns the queue; to be run once.
pub struct QueueTask<F> {
    entries: mpsc::Receiver<QueueEntry>,
    clock: Clock,
    budget: RetryBudget,
    /// The most requests in flight.
    in_flight_max: F,
    queue: FairQueue<QueueKey>,
    turns: HashMap<QueueTicket, oneshot::Sender<Turn>>,
}

impl<F: Fn() -> u32> QueueTask<F> {
    /// Serves `entries`, of which up to `waiting_max` may wait, from the slots that `budget` counts.
    pub fn new(
        entries: mpsc::Receiver<QueueEntry>,
        waiting_max: usize,
        (clock, budget): (Clock, RetryBudget),
        in_flight_max: F,
    ) -> Self {
        let rule = QueueRule {
            waiting_max,
            waiting_of_key_max: waiting_max.div_ceil(KEYS_MIN),
            ..QueueRule::default()
        };
        Self {
            entries,
            clock,
            budget,
            in_flight_max,
            queue: FairQueue::new(rule),
            turns: HashMap::new(),
        }
    }

    /// Runs until the future is dropped.
    pub async fn run(mut self) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_waiting = !self.queue.is_empty();
            tokio::select! {
                entry = self.entries.recv() => match entry {
                    None => return,
                    Some(entry) => self.enter(entry),
                },
                _ = looks.tick(), if has_waiting => {}
                _ = sweeps.tick(), if has_waiting => self.sweep(),
            }
            self.serve();
        }
    }

    fn enter(&mut self, entry: QueueEntry) {
        let now = self.clock.now();
        let place = QueuePlace::Live(entry.weight);
        match self.queue.enter(now, &entry.key, place, entry.deadline) {
            Ok((ticket, displaced)) => {
                self.turns.insert(ticket, entry.turn);
                self.refuse(now, displaced.into_iter().collect(), QueueRefusal::Full);
            }
            Err(QueueFull { is_key }) => {
                let by = match is_key {
                    true => QueueRefusal::KeyFull,
                    false => QueueRefusal::Full,
                };
                let refused = self.refusal(now, by);
                // A client that has gone needs no answer.
                let _ = entry.turn.send(Err(refused));
            }
        }
    }

    /// Hands out the slots that are free.
    fn serve(&mut self) {
        let now = self.clock.now();
        let late = self.queue.too_late(now);
        self.refuse(now, late, QueueRefusal::TooLate);
        while !self.queue.is_empty() && self.budget.requests() < (self.in_flight_max)() {
            let turn = self.queue.next(now, |_| true);
            self.refuse(now, turn.refuse, QueueRefusal::TooLate);
            let next = turn.serve.and_then(|ticket| self.turns.remove(&ticket));
            if let Some(next) = next {
                // Where the client has gone, the slot is free again.
                let _ = next.send(Ok(self.budget.request()));
            }
        }
        if self.queue.is_empty() {
            self.queue.rest();
        }
    }

    fn refuse(&mut self, now: Instant, tickets: Vec<QueueTicket>, by: QueueRefusal) {
        let refused = self.refusal(now, by);
        for ticket in tickets {
            if let Some(turn) = self.turns.remove(&ticket) {
                let _ = turn.send(Err(refused));
            }
        }
    }

    fn refusal(&self, now: Instant, by: QueueRefusal) -> QueueRefused {
        let drained_in = self.queue.drained_in(now).unwrap_or_default();
        QueueRefused {
            by,
            retry_after: drained_in.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX),
        }
    }

    /// Takes out those whose clients have gone.
    fn sweep(&mut self) {
        let queue = &mut self.queue;
        self.turns.retain(|ticket, turn| {
            if turn.is_closed() {
                queue.leave(*ticket);
            }
            !turn.is_closed()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn key(name: &str) -> QueueKey {
        QueueKey::Key(name.into())
    }

    /// A node with one slot, where two may wait.
    fn node() -> (QueueHandle, RetryBudget, Clock) {
        let (clock, budget) = (Clock::start(), RetryBudget::full());
        let (handle, entries) = QueueHandle::new(2);
        let task = QueueTask::new(entries, 2, (clock, budget.clone()), || 1);
        tokio::spawn(task.run());
        (handle, budget, clock)
    }

    #[tokio::test]
    async fn slot_that_becomes_free_goes_to_the_one_that_waits() {
        let (handle, budget, clock) = node();
        let first = budget.request();
        let deadline = clock.now() + LONG;
        let waiting = tokio::spawn({
            let handle = handle.clone();
            async move { handle.wait(key("app"), Weight::default(), deadline).await }
        });
        while handle.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let slot = waiting.await.expect("no panic").expect("a slot");
        assert_eq!((budget.requests(), handle.waiting()), (1, 0));
        drop(slot);
        assert_eq!((budget.requests(), handle.served()), (0, 1));
    }

    #[tokio::test]
    async fn request_without_room_is_refused_at_once_and_one_that_waited_in_vain_at_its_deadline() {
        let (handle, budget, clock) = node();
        let _first = budget.request();
        let soon = clock.now() + Duration::from_millis(50);
        let wait = |name, deadline| handle.wait(key(name), Weight::default(), deadline);
        let (one, other, full) = tokio::join!(wait("a", soon), wait("a", soon), wait("b", soon));
        let refused = [one, other, full].map(|turn| turn.err().map(|refused| refused.by));
        assert_eq!(
            refused,
            [
                Some(QueueRefusal::TooLate),
                Some(QueueRefusal::KeyFull),
                Some(QueueRefusal::TooLate)
            ]
        );
        assert_eq!(handle.refused(QueueRefusal::TooLate), 2);
    }

    #[tokio::test]
    async fn client_that_goes_away_takes_no_slot() {
        let (handle, budget, clock) = node();
        let first = budget.request();
        let deadline = clock.now() + LONG;
        let gone = handle.wait(key("a"), Weight::default(), deadline);
        assert!(tokio::time::timeout(LOOK_INTERVAL, gone).await.is_err());
        assert_eq!(handle.waiting(), 0);
        drop(first);
        let next = handle.wait(key("b"), Weight::default(), deadline).await;
        assert!(next.is_ok());
        assert_eq!(budget.requests(), 1);
    }

    #[tokio::test]
    async fn nobody_waits_where_the_queue_is_off() {
        let handle = QueueHandle::off();
        let deadline = Instant::START + LONG;
        let turn = handle.wait(key("a"), Weight::default(), deadline).await;
        let refused = turn.err().map(|refused| refused.by);
        assert_eq!(refused, Some(QueueRefusal::Full));
    }
}
