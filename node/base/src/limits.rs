//! The limits of keys as request threads see them: a table of purses that is read without a lock.
//!
//! One task owns core's `Escrow`, as the driver owns the engine. It is asked for what a thread does not find in the
//! table, and told of purses that are empty; it publishes a new table when a key is met for the first time or its
//! limits have changed, and wakes requests that wait when rights may have come.

mod holder;
mod shown;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::Instant;
use grapevine_core::escrow::ASK_WAIT;
use grapevine_core::escrow::purse::{LimitFigures, Purse, PurseEmpty, Reservation};
use grapevine_core::escrow::spec::{LimitId, LimitSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout_at;

use crate::clock::Clock;

pub use holder::{HolderLimits, KeySpecs, LimitHolder, LimitKind};
pub use shown::{BUDGETS_MAX, LIMITED_MAX, LimitRefusals, LimitStanding, LimitsOverview, overview};

/// Orders that wait for the task; a request that finds it full is refused like one whose purse is empty.
const ORDERS_MAX: usize = 4_096;

/// How long a request waits for the task to open its key's limits.
const OPEN_WAIT: Duration = Duration::from_secs(2);

/// An open limit.
#[derive(Clone, Debug)]
pub struct OpenLimit {
    /// What it counts.
    pub kind: LimitKind,
    /// Its name.
    pub id: LimitId,
    /// What of it this node may admit.
    pub purse: Arc<Purse>,
    /// A purse is filled a moment after it was opened.
    pub opened_at: Instant,
    /// The requests that were refused at it.
    pub refusals: Arc<LimitRefusals>,
}

/// The open limits of one key.
#[derive(Debug)]
pub struct KeyPurses {
    /// As they were opened.
    pub specs: KeySpecs,
    limits: [Option<OpenLimit>; LimitKind::ALL.len()],
    /// In nanoseconds since the start of the process.
    used_at: AtomicU64,
}

impl KeyPurses {
    /// Opened at `now`.
    pub fn new(
        now: Instant,
        specs: KeySpecs,
        limits: [Option<OpenLimit>; LimitKind::ALL.len()],
    ) -> Self {
        let purses = Self {
            specs,
            limits,
            used_at: AtomicU64::new(0),
        };
        purses.use_at(now);
        purses
    }

    /// The limit of `kind`, where the key has one.
    pub fn limit(&self, kind: LimitKind) -> Option<&OpenLimit> {
        self.limits[kind as usize].as_ref()
    }

    /// All of them.
    pub fn open(&self) -> impl Iterator<Item = (&OpenLimit, LimitSpec)> {
        let open = self.limits.iter().zip(self.specs);
        open.filter_map(|(limit, spec)| limit.as_ref().zip(spec))
    }

    /// What the client is told of its limit of `kind`.
    pub fn figures(&self, now: Instant, kind: LimitKind) -> Option<LimitFigures> {
        self.limit(kind).map(|limit| limit.purse.figures(now))
    }

    /// When a request last used them.
    pub fn used_at(&self) -> Instant {
        Instant::from_start(Duration::from_nanos(self.used_at.load(Relaxed)))
    }

    fn use_at(&self, now: Instant) {
        let nanos = u64::try_from(now.since_start().as_nanos()).unwrap_or(u64::MAX);
        self.used_at.store(nanos, Relaxed);
    }
}

/// The open limits of all keys that were met lately.
pub type LimitTable = HashMap<LimitHolder, Arc<KeyPurses>>;

/// What a request thread asks of the task.
#[derive(Debug)]
pub enum LimitOrder {
    /// To open a key's limits, or to change them.
    Open {
        /// Whose.
        holder: LimitHolder,
        /// Which.
        specs: KeySpecs,
        /// Answered once they are in the table; dropped where they cannot be opened.
        done: oneshot::Sender<Arc<KeyPurses>>,
    },
    /// To borrow: a purse is empty, and a request waits.
    Empty(LimitId),
    /// To admit nothing more, and to write down what is free. Answered once that is on the disk.
    Stop(oneshot::Sender<()>),
}

/// Limits cannot be applied here, and so no request of a key with limits is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsOutOfUse {
    /// The node is not one of those that hold rights.
    #[error("this node holds no rights of limits: limits.nodes does not list it")]
    NotListed,
    /// The task has too much to do, or too many keys have limits.
    #[error("this node cannot open the limits of the key now")]
    Busy,
}

/// What keeps a node from spending rights as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitFault {
    /// The store is older than what peers have witnessed.
    StoreIsOld,
    /// Most peers have another time.
    ClockDiffers,
    /// The store could not be written.
    Unsaved,
}

impl LimitFault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::StoreIsOld, Self::ClockDiffers, Self::Unsaved];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StoreIsOld => "store_is_old",
            Self::ClockDiffers => "clock_differs",
            Self::Unsaved => "unsaved",
        }
    }
}

/// What happened since the start.
#[derive(Debug, Default)]
struct LimitCounts {
    refused: [AtomicU64; LimitKind::ALL.len()],
    overrun: [AtomicU64; LimitKind::ALL.len()],
    waited: AtomicU64,
    faults: [AtomicU64; LimitFault::ALL.len()],
}

/// The request threads' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LimitsHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: ArcSwap<LimitTable>,
    /// `None` where the node holds no rights.
    orders: Option<mpsc::Sender<LimitOrder>>,
    moves: watch::Sender<()>,
    counts: LimitCounts,
}

impl LimitsHandle {
    /// The handle, and the task's end of it.
    pub fn new() -> (Self, mpsc::Receiver<LimitOrder>) {
        let (orders, orders_out) = mpsc::channel(ORDERS_MAX);
        (Self::with(Some(orders)), orders_out)
    }

    /// The handle of a node that holds no rights.
    pub fn out_of_use() -> Self {
        Self::with(None)
    }

    fn with(orders: Option<mpsc::Sender<LimitOrder>>) -> Self {
        Self(Arc::new(Shared {
            table: ArcSwap::default(),
            orders,
            moves: watch::Sender::new(()),
            counts: LimitCounts::default(),
        }))
    }

    /// The open limits.
    pub fn table(&self) -> Arc<LimitTable> {
        self.0.table.load_full()
    }

    /// Publishes a new table: the task's alone.
    pub fn publish(&self, table: LimitTable) {
        self.0.table.store(Arc::new(table));
    }

    /// Wakes requests that wait for rights: the task's alone.
    pub fn wake(&self) {
        self.0.moves.send_replace(());
    }

    /// Requests that were refused for want of what `kind` counts.
    pub fn refused(&self, kind: LimitKind) -> u64 {
        self.0.counts.refused[kind as usize].load(Relaxed)
    }

    /// Requests that were admitted after a wait for rights of other nodes.
    pub fn waited(&self) -> u64 {
        self.0.counts.waited.load(Relaxed)
    }

    /// How often `fault` was found.
    pub fn faults(&self, fault: LimitFault) -> u64 {
        self.0.counts.faults[fault as usize].load(Relaxed)
    }

    /// Counts a fault: the task's alone.
    pub fn count_fault(&self, fault: LimitFault) {
        self.0.counts.faults[fault as usize].fetch_add(1, Relaxed);
    }

    /// Has others asked for what a purse lacks, without a wait.
    pub fn ask(&self, limit: LimitId) {
        if let Some(orders) = &self.0.orders {
            // A full queue: the task's tick borrows too.
            let _ = orders.try_send(LimitOrder::Empty(limit));
        }
    }

    /// Ends all admission. Returns when what the next process may use at once is on the disk; it is never there where the
    /// disk cannot be written.
    pub async fn stop(&self) {
        let Some(orders) = &self.0.orders else {
            return;
        };
        let (done, stopped) = oneshot::channel();
        if orders.send(LimitOrder::Stop(done)).await.is_ok() {
            // Dropped where the task ends: nothing more can be done.
            let _ = stopped.await;
        }
    }

    /// Counts a stream that used more than `kind` had, the first time that this shows.
    pub fn count_overrun(&self, kind: LimitKind) {
        self.0.counts.overrun[kind as usize].fetch_add(1, Relaxed);
    }

    /// Streams that used more than `kind` had.
    pub fn overruns(&self, kind: LimitKind) -> u64 {
        self.0.counts.overrun[kind as usize].load(Relaxed)
    }

    /// The purses of a key with these limits. No lock, and no wait unless the key was not met lately.
    ///
    /// # Errors
    /// Where the node cannot apply limits.
    pub async fn purses(
        &self,
        now: Instant,
        holder: &LimitHolder,
        specs: KeySpecs,
    ) -> Result<Arc<KeyPurses>, LimitsOutOfUse> {
        if let Some(known) = self.0.table.load().get(holder)
            && known.specs == specs
        {
            known.use_at(now);
            return Ok(Arc::clone(known));
        }
        let orders = self.0.orders.as_ref().ok_or(LimitsOutOfUse::NotListed)?;
        let (done, opened) = oneshot::channel();
        let order = LimitOrder::Open {
            holder: holder.clone(),
            specs,
            done,
        };
        let sent = orders.try_send(order);
        sent.map_err(|_| LimitsOutOfUse::Busy)?;
        let opened = tokio::time::timeout(OPEN_WAIT, opened).await;
        opened
            .map_err(|_| LimitsOutOfUse::Busy)?
            .map_err(|_| LimitsOutOfUse::Busy)
    }

    /// As [`LimitsHandle::take`], of a limit that is no key's, and is not counted here.
    ///
    /// # Errors
    /// Where fewer are there.
    pub async fn take_uncounted(
        &self,
        clock: Clock,
        limit: &OpenLimit,
        units: u64,
        deadline: tokio::time::Instant,
    ) -> Result<Reservation, PurseEmpty> {
        match limit.purse.take(clock.now(), units) {
            Ok(taken) => Ok(taken),
            Err(_) => self.wait_for(clock, limit, units, deadline).await,
        }
    }

    /// Takes `units` of a limit; where other nodes may have what is missing, waits for it until `deadline`, and
    /// [`ASK_WAIT`] at most.
    ///
    /// # Errors
    /// Where fewer are there.
    pub async fn take(
        &self,
        clock: Clock,
        limit: &OpenLimit,
        units: u64,
        deadline: tokio::time::Instant,
    ) -> Result<Reservation, PurseEmpty> {
        if let Ok(taken) = limit.purse.take(clock.now(), units) {
            return Ok(taken);
        }
        let counts = &self.0.counts;
        let taken = self.wait_for(clock, limit, units, deadline).await;
        let count = match &taken {
            Ok(_) => &counts.waited,
            Err(_) => {
                limit.refusals.count(clock.now());
                &counts.refused[limit.kind as usize]
            }
        };
        count.fetch_add(1, Relaxed);
        taken
    }

    async fn wait_for(
        &self,
        clock: Clock,
        limit: &OpenLimit,
        units: u64,
        deadline: tokio::time::Instant,
    ) -> Result<Reservation, PurseEmpty> {
        let mut moves = self.0.moves.subscribe();
        // Once more: what came before this thread listened wakes nobody.
        let mut empty = match limit.purse.take_again(clock.now(), units) {
            Ok(taken) => return Ok(taken),
            Err(empty) => empty,
        };
        let may_wait =
            |empty: PurseEmpty| empty.may_wait || clock.now().since(limit.opened_at) < ASK_WAIT;
        if !may_wait(empty) {
            return Err(empty);
        }
        let deadline = deadline.min(tokio::time::Instant::now() + ASK_WAIT);
        self.ask(limit.id);
        while let Ok(Ok(())) = timeout_at(deadline, moves.changed()).await {
            match limit.purse.take_again(clock.now(), units) {
                Ok(taken) => return Ok(taken),
                Err(again) => empty = again,
            }
            if !may_wait(empty) {
                break;
            }
        }
        Err(empty)
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};

    use super::*;

    const SPEC: LimitSpec = LimitSpec {
        amount: 100,
        window: LimitWindow::Minute,
    };

    #[tokio::test]
    async fn node_without_rights_refuses_keys_with_limits() {
        let handle = LimitsHandle::out_of_use();
        let holder = LimitHolder::Filed("app".into());
        let specs = [Some(SPEC), None, None, None];
        let purses = handle.purses(Instant::START, &holder, specs).await;
        assert_eq!(purses.err(), Some(LimitsOutOfUse::NotListed));
    }

    #[tokio::test]
    async fn key_is_opened_once_and_again_when_its_limits_change() {
        let (handle, mut orders) = LimitsHandle::new();
        let holder = LimitHolder::Filed("app".into());
        let task = {
            let handle = handle.clone();
            tokio::spawn(async move {
                let mut opened = 0;
                while let Some(LimitOrder::Open {
                    holder,
                    specs,
                    done,
                }) = orders.recv().await
                {
                    let purses = KeyPurses::new(Instant::START, specs, [None, None, None, None]);
                    let purses = Arc::new(purses);
                    handle.publish(HashMap::from([(holder, Arc::clone(&purses))]));
                    opened += 1;
                    if done.send(purses).is_err() || specs[1].is_some() {
                        break;
                    }
                }
                opened
            })
        };
        for specs in [
            [Some(SPEC), None, None, None],
            [Some(SPEC), Some(SPEC), None, None],
        ] {
            for _ in 0..3 {
                let purses = handle.purses(Instant::START, &holder, specs).await;
                assert_eq!(purses.expect("open").specs, specs);
            }
        }
        assert_eq!(task.await.expect("no panic"), 2);
    }
}
