//! Waits that arm no timer for what is over within a tick.
//!
//! A request waits for several things that nearly never come late, and most of its waits are over within
//! milliseconds. A timer for each costs a place in the runtime's wheel, and often a wake of the runtime itself, which
//! sleeps until a later one. So a wait first enters a list of its thread, which one task looks through at each tick;
//! only what it still finds there arms a timer.
//!
//! Invariant: a wait ends at its moment, or at most one [`TICK`] later; never earlier.
//!
//! Bound: one entry for each wait in flight on the thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep};

/// How long a wait goes without a timer. Two hundred wakes a second of a busy thread, none of an idle one.
pub const TICK: Duration = Duration::from_millis(5);

/// Ticks without a new wait after which the thread's task ends.
const IDLE_TICKS: u32 = 20;

thread_local! {
    static WAITS: RefCell<Waits> = const { RefCell::new(Waits::new()) };
}

/// The waits of one thread that have no timer.
struct Waits {
    entries: Vec<Option<Waker>>,
    /// Counts the ticks; entries are of the current one.
    tick: u64,
    /// Whether the task runs that looks through them.
    is_ticking: bool,
    idle_ticks: u32,
}

impl Waits {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            tick: 0,
            is_ticking: false,
            idle_ticks: 0,
        }
    }

    fn enter(&mut self, waker: &Waker) -> Entry {
        self.idle_ticks = 0;
        self.entries.push(Some(waker.clone()));
        Entry {
            tick: self.tick,
            index: self.entries.len() - 1,
        }
    }

    /// Puts `waker`, or none, in the place of `entry`, and returns what was there: it is dropped where nothing of this
    /// is borrowed. `None` where the place is of an earlier tick.
    fn replace(&mut self, entry: Entry, waker: Option<Waker>) -> Option<Option<Waker>> {
        let slot = match entry.tick == self.tick {
            true => self.entries.get_mut(entry.index)?,
            false => return None,
        };
        let before = std::mem::replace(slot, waker);
        while let Some(None) = self.entries.last() {
            self.entries.pop();
        }
        Some(before)
    }
}

/// A place in the list.
#[derive(Clone, Copy)]
struct Entry {
    tick: u64,
    index: usize,
}

/// Ends the ticking with the task, however that ends, before it began too: the next wait starts another.
struct Ticking;

impl Drop for Ticking {
    fn drop(&mut self) {
        let _ = WAITS.try_with(|waits| {
            let mut waits = waits.borrow_mut();
            waits.is_ticking = false;
            waits.tick += 1;
            std::mem::take(&mut waits.entries)
        });
    }
}

/// Looks through the list at each tick, until nothing waits.
async fn tick(_ticking: Ticking) {
    loop {
        tokio::time::sleep(TICK).await;
        let woken = WAITS.with_borrow_mut(|waits| {
            waits.tick += 1;
            waits.idle_ticks += 1;
            match waits.idle_ticks > IDLE_TICKS {
                true => None,
                false => Some(std::mem::take(&mut waits.entries)),
            }
        });
        let Some(woken) = woken else { return };
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Starts the task where none runs; false on a runtime whose tasks change threads.
fn starts_ticking() -> bool {
    if WAITS.with_borrow(|waits| waits.is_ticking) {
        return true;
    }
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread => {
            WAITS.with_borrow_mut(|waits| waits.is_ticking = true);
            runtime.spawn(tick(Ticking));
            true
        }
        _ => false,
    }
}

/// A wait until a moment.
pub struct CoarseSleep {
    until: Instant,
    state: State,
}

enum State {
    Begun,
    Listed(Entry),
    Armed(Pin<Box<Sleep>>),
}

/// Waits until the moment, or up to a [`TICK`] longer.
pub const fn sleep_until(until: Instant) -> CoarseSleep {
    CoarseSleep {
        until,
        state: State::Begun,
    }
}

impl CoarseSleep {
    /// Whether its place in the list still stands; keeps the waker there as `context` has it.
    fn is_listed(entry: Entry, context: &Context<'_>) -> bool {
        let waker = Some(context.waker().clone());
        WAITS
            .with_borrow_mut(|waits| waits.replace(entry, waker))
            .is_some()
    }
}

impl Future for CoarseSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Begun if starts_ticking() => {
                let entry = WAITS.with_borrow_mut(|waits| waits.enter(context.waker()));
                self.state = State::Listed(entry);
                return Poll::Pending;
            }
            State::Listed(entry) if Self::is_listed(*entry, context) => return Poll::Pending,
            State::Armed(timer) => return timer.as_mut().poll(context),
            State::Begun | State::Listed(_) => {}
        }
        let mut timer = Box::pin(tokio::time::sleep_until(self.until));
        let polled = timer.as_mut().poll(context);
        self.state = State::Armed(timer);
        polled
    }
}

impl Drop for CoarseSleep {
    fn drop(&mut self) {
        if let State::Listed(entry) = self.state {
            // A thread that ends has no list any more.
            let _ = WAITS.try_with(|waits| waits.borrow_mut().replace(entry, None));
        }
    }
}

/// The output of `future`, or `None` where it is not ready at the moment `until`, or up to a [`TICK`] later.
///
/// It is to be pinned where it is made: a future that is handed on by value is held twice by the one that waits for it,
/// once as an argument and once in its place, and each of those around it doubles that.
pub async fn timeout_at<F: Future + Unpin>(until: Instant, mut future: F) -> Option<F::Output> {
    let mut timer = sleep_until(until);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(context) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut timer).poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::task::ArcWake;
    use tokio::sync::oneshot;

    use super::*;

    fn entries() -> usize {
        WAITS.with_borrow(|waits| waits.entries.iter().flatten().count())
    }

    #[tokio::test(start_paused = true)]
    async fn wait_ends_at_its_moment_and_never_earlier() {
        for span in [0, 1, 4, 5, 6, 50, 12_345].map(Duration::from_millis) {
            let began = Instant::now();
            sleep_until(began + span).await;
            let took = began.elapsed();
            assert!(took >= span, "{took:?} of {span:?}");
            // Timers count in whole milliseconds.
            assert!(
                took <= span + TICK + Duration::from_millis(2),
                "{took:?} of {span:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_within_a_tick_leaves_no_entry() {
        let until = Instant::now() + Duration::from_secs(1);
        let (sender, receiver) = oneshot::channel();
        let waiting = tokio::spawn(timeout_at(until, receiver));
        tokio::task::yield_now().await;
        assert_eq!(entries(), 1);
        sender.send(7).expect("somebody waits");
        assert_eq!(waiting.await.expect("no panic"), Some(Ok(7)));
        assert_eq!(entries(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn late_future_is_given_up() {
        let until = Instant::now() + Duration::from_secs(1);
        assert_eq!(timeout_at(until, std::future::pending::<()>()).await, None);
        assert!(Instant::now() >= until);
    }

    #[tokio::test(start_paused = true)]
    async fn ticking_ends_when_nothing_waits_and_begins_again() {
        sleep_until(Instant::now() + Duration::from_millis(1)).await;
        tokio::time::sleep(TICK * (IDLE_TICKS + 2)).await;
        assert!(!WAITS.with_borrow(|waits| waits.is_ticking));
        let began = Instant::now();
        sleep_until(began + Duration::from_millis(20)).await;
        assert!(began.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn runtime_that_ends_takes_its_ticking_along() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                sleep_until(Instant::now() + Duration::from_secs(1)).await;
            });
        }
        assert!(!WAITS.with_borrow(|waits| waits.is_ticking));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn runtime_of_several_threads_arms_a_timer_at_once() {
        let began = Instant::now();
        sleep_until(began + Duration::from_millis(2)).await;
        assert!(began.elapsed() >= Duration::from_millis(2));
    }

    struct Counted(AtomicUsize);

    impl ArcWake for Counted {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polled_last_is_woken() {
        let wakers = [0, 1].map(|_| Arc::new(Counted(AtomicUsize::new(0))));
        let mut wait = sleep_until(Instant::now() + Duration::from_secs(1));
        for counted in &wakers {
            let waker = futures_util::task::waker(Arc::clone(counted));
            let polled = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        tokio::time::sleep(TICK * 2).await;
        assert_eq!(
            wakers.map(|counted| counted.0.load(Ordering::Relaxed)),
            [0, 1]
        );
    }
}
