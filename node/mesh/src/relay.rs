//! Wakes that cross from one thread to another in batches.
//!
//! A request runs on the thread that accepted it, its link's connection on the one that owns the endpoint: each wakes the
//! other at least once per request and per event of a stream. tokio wakes a runtime by a system call for each task woken,
//! also where it is awake already, and the woken thread then meets the waking one at the connection's lock. So a wake from
//! one runtime to another is laid out first; once what is ready on this thread has run, one task of it passes all of them
//! on, with one wake of each other runtime. There the same task wakes those they are meant for.
//!
//! Invariant: a wake is never lost and never waits for anything but the tasks that are ready on its thread before it, and
//! at most [`LAID_OUT_MAX`] others. Without a runtime of one thread on either side a wake is passed on at once.
//!
//! Bound: each [`Relay`] is laid out, or waits at its own thread, at most once at a time.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::runtime::{Handle, RuntimeFlavor};

/// As many wakes are laid out before they are passed on in the middle of a turn: other threads should not idle for long.
const LAID_OUT_MAX: usize = 32;

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// What a thread's task works on.
struct Turn {
    home: Arc<Home>,
    /// Relays of other threads to be woken.
    laid_out: Vec<Arc<Relayed>>,
}

/// A thread's place for wakes that come from others.
struct Home {
    arrived: mpsc::Sender<Arc<Relayed>>,
    /// Wakes the thread's task.
    task: AtomicWaker,
    /// Whether the task was woken and has not looked since.
    is_called: AtomicBool,
}

impl Home {
    /// Wakes the thread's task, unless that was done already.
    fn call(&self) {
        if !self.is_called.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

/// Where a task is woken, and by whom.
struct Relayed {
    home: Arc<Home>,
    task: AtomicWaker,
    /// Whether a wake is on its way.
    is_on_its_way: AtomicBool,
}

impl Wake for Relayed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_on_its_way.swap(true, Ordering::AcqRel) {
            return;
        }
        // Neither a thread without a runtime of its own nor one that ends has a turn.
        let taken = TURN.try_with(|turn| {
            let mut turn = turn.borrow_mut();
            turn.as_mut().map(|turn| turn.take(self))
        });
        match taken {
            Ok(Some(Taken::Waits)) => {}
            Ok(Some(Taken::IsHere)) => self.arrive(),
            Ok(Some(Taken::Calls(home))) => home.call(),
            Ok(None) | Err(_) => {
                self.pass_on();
                self.home.call();
            }
        }
    }
}

impl Relayed {
    /// Wakes the task on its own thread.
    fn arrive(&self) {
        self.is_on_its_way.swap(false, Ordering::AcqRel);
        self.task.wake();
    }

    /// Lets it wait at its own thread. One whose thread has ended has nobody left to wake.
    fn pass_on(self: &Arc<Self>) {
        let _ = self.home.arrived.send(Arc::clone(self));
    }
}

/// What became of a wake. What is to be done about it is done where the turn is not borrowed.
enum Taken {
    /// It is laid out, and the task of this thread knows.
    Waits,
    /// It is meant for this thread.
    IsHere,
    /// It is laid out, and the task of this thread is to be woken.
    Calls(Arc<Home>),
}

impl Turn {
    fn take(&mut self, relayed: &Arc<Relayed>) -> Taken {
        if Arc::ptr_eq(&self.home, &relayed.home) {
            return Taken::IsHere;
        }
        self.laid_out.push(Arc::clone(relayed));
        if self.laid_out.len() >= LAID_OUT_MAX {
            self.pass_on();
            return Taken::Waits;
        }
        match self.laid_out.len() {
            1 => Taken::Calls(Arc::clone(&self.home)),
            _ => Taken::Waits,
        }
    }

    /// Passes on what is laid out, and wakes each thread once. Those are other threads: nothing here is entered again.
    fn pass_on(&mut self) {
        for relayed in &self.laid_out {
            relayed.pass_on();
        }
        for relayed in self.laid_out.drain(..) {
            relayed.home.call();
        }
    }
}

/// The task of a thread: ends with its runtime.
struct Turning {
    home: Arc<Home>,
    arrived: mpsc::Receiver<Arc<Relayed>>,
}

impl Future for Turning {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.home.task.register(context.waker());
        // Before it looks: what comes after calls again.
        self.home.is_called.swap(false, Ordering::AcqRel);
        TURN.with_borrow_mut(|turn| turn.as_mut().map(Turn::pass_on));
        while let Ok(relayed) = self.arrived.try_recv() {
            relayed.arrive();
        }
        Poll::Pending
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        // A runtime can be dropped on another thread than it ran on.
        let is_own = |turn: &mut Turn| Arc::ptr_eq(&turn.home, &self.home);
        let left = TURN.try_with(|turn| turn.try_borrow_mut().ok()?.take_if(is_own));
        if let Ok(Some(mut turn)) = left {
            // Other threads go on without this one.
            turn.pass_on();
        }
    }
}

/// This thread's home; `None` where its tasks may change threads.
fn home() -> Option<Arc<Home>> {
    let known = TURN.with_borrow(|turn| turn.as_ref().map(|turn| Arc::clone(&turn.home)));
    if known.is_some() {
        return known;
    }
    let runtime = Handle::try_current().ok()?;
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        return None;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "it is bounded by the relays of the thread: each waits in it at most once"
    )]
    let (arrived_in, arrived) = mpsc::channel();
    let home = Arc::new(Home {
        arrived: arrived_in,
        task: AtomicWaker::new(),
        is_called: AtomicBool::new(false),
    });
    TURN.set(Some(Turn {
        home: Arc::clone(&home),
        laid_out: Vec::new(),
    }));
    runtime.spawn(Turning {
        home: Arc::clone(&home),
        arrived,
    });
    Some(home)
}

/// The way by which other threads wake a task of this one. Cheap to clone.
#[derive(Clone)]
pub(super) struct Relay {
    relayed: Arc<Relayed>,
    waker: Waker,
}

impl Relay {
    /// For a task of this thread; `None` where tasks may change threads.
    pub(super) fn of_this_thread() -> Option<Self> {
        let relayed = Arc::new(Relayed {
            home: home()?,
            task: AtomicWaker::new(),
            is_on_its_way: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&relayed));
        Some(Self { relayed, waker })
    }

    /// A context whose wakes take this way to the task of `context`.
    pub(super) fn context(&self, context: &Context<'_>) -> Context<'_> {
        self.relayed.task.register(context.waker());
        Context::from_waker(&self.waker)
    }
}

/// Polls `future` so that its wakes take the way of `relay`, where there is one.
pub(super) fn poll_through<F: Future>(
    relay: Option<&Relay>,
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    match relay {
        Some(relay) => future.poll(&mut relay.context(context)),
        None => future.poll(context),
    }
}

/// `future`, to be run by one task, with the wakes of other threads in batches.
pub(super) async fn relayed<F: Future>(future: F) -> F::Output {
    let relay = Relay::of_this_thread();
    let mut future = pin!(future);
    poll_fn(|context| poll_through(relay.as_ref(), future.as_mut(), context)).await
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Relay")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use tokio::runtime::Builder;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Runs `work` on a runtime of one thread of its own.
    fn on_a_thread<T: Send + 'static, F: Future<Output = T>>(
        work: impl FnOnce() -> F + Send + 'static,
    ) -> thread::JoinHandle<T> {
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work())
        })
    }

    #[test]
    fn wakes_of_another_thread_all_arrive() {
        const TASKS: usize = 3 * LAID_OUT_MAX + 1;
        let (senders_in, senders) = std::sync::mpsc::sync_channel(TASKS);
        let waiting = on_a_thread(move || async move {
            let tasks: Vec<_> = (0..TASKS)
                .map(|number| {
                    let (sender, receiver) = oneshot::channel();
                    senders_in.send((number, sender)).expect("the other thread");
                    tokio::spawn(relayed(receiver))
                })
                .collect();
            drop(senders_in);
            let mut received = Vec::new();
            for task in tasks {
                received.push(task.await.expect("no panic").expect("a number"));
            }
            received
        });
        let waking = on_a_thread(move || async move {
            // Its own turn: what it wakes is laid out.
            relayed(tokio::task::yield_now()).await;
            for (number, sender) in senders {
                sender.send(number).expect("a receiver");
            }
            tokio::task::yield_now().await;
        });
        waking.join().expect("no panic");
        let received = waiting.join().expect("no panic");
        assert_eq!(received, (0..TASKS).collect::<Vec<_>>());
    }

    #[test]
    fn wake_of_a_thread_that_ends_in_its_turn_arrives() {
        let (sender, receiver) = oneshot::channel();
        let waiting = on_a_thread(move || relayed(receiver));
        let waking = on_a_thread(move || async move {
            relayed(tokio::task::yield_now()).await;
            sender.send(7).expect("a receiver");
        });
        waking.join().expect("no panic");
        assert_eq!(waiting.join().expect("no panic"), Ok(7));
    }

    #[test]
    fn wake_of_a_thread_without_a_runtime_arrives() {
        let (sender, receiver) = oneshot::channel();
        let waiting = on_a_thread(move || relayed(receiver));
        sender.send(7).expect("a receiver");
        assert_eq!(waiting.join().expect("no panic"), Ok(7));
    }

    #[test]
    fn two_threads_wake_each_other_over_and_over() {
        const ROUNDS: usize = 10_000;
        let (there_in, mut there) = mpsc::channel::<usize>(1);
        let (back_in, mut back) = mpsc::channel::<usize>(1);
        let echo = on_a_thread(move || {
            relayed(async move {
                while let Some(number) = there.recv().await {
                    back_in.send(number).await.expect("the other thread");
                }
            })
        });
        let asking = on_a_thread(move || {
            relayed(async move {
                for number in 0..ROUNDS {
                    there_in.send(number).await.expect("the other thread");
                    assert_eq!(back.recv().await, Some(number));
                }
            })
        });
        asking.join().expect("no panic");
        echo.join().expect("no panic");
    }

    /// Counts its polls, and is ready at the second.
    struct Twice(Arc<AtomicUsize>);

    impl Future for Twice {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if self.0.fetch_add(1, Ordering::Relaxed) > 0 {
                return Poll::Ready(());
            }
            for _ in 0..5 {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn task_of_the_same_thread_is_woken_at_once_and_once() {
        let polls = Arc::new(AtomicUsize::new(0));
        relayed(Twice(Arc::clone(&polls))).await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn tasks_that_change_threads_have_no_relay() {
        assert!(Relay::of_this_thread().is_none());
        assert_eq!(relayed(async { 7 }).await, 7);
    }
}
