//! Runs the requests of an HTTP/2 connection, and gives up on those whose answer the client does not read.
//!
//! A client that grants a stream no window reads nothing of its answer while the connection is fully active:
//! no write waits, and the answer's body, where its upstream's timeouts are checked, is not polled. So each
//! request's task notes whether its body yielded something and has not been polled since.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Activity;

tokio::task_local! {
    /// How often the body of the current request yielded something, and whether it did on the last poll.
    static GIVEN: Cell<(u64, bool)>;
}

/// Notes whether an answer's body yielded something when it was polled.
pub(super) fn body_gave(is_ready: bool) {
    // Outside of such a task there is nothing to note.
    let _ = GIVEN.try_with(|given| {
        let (count, _) = given.get();
        given.set((count + u64::from(is_ready), is_ready));
    });
}

/// The executor of one connection's requests.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) activity: Arc<Activity>,
    /// How long an answer may wait to be read.
    pub(super) stall: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        tokio::spawn(Taken {
            request: Box::pin(request),
            given: (0, false),
            timer: None,
            streams: self.clone(),
        });
    }
}

/// A request that ends when its answer is not read.
struct Taken<F> {
    request: Pin<Box<F>>,
    given: (u64, bool),
    /// Set while the client is waited for, with the count for which it was set.
    timer: Option<(u64, Pin<Box<Sleep>>)>,
    streams: Streams,
}

impl<F: Future<Output = ()>> Future for Taken<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        let (polled, given) = GIVEN.sync_scope(Cell::new(me.given), || {
            (me.request.as_mut().poll(context), GIVEN.with(Cell::get))
        });
        if polled.is_ready() {
            return Poll::Ready(());
        }
        me.given = given;
        let (count, waits_for_client) = given;
        if !waits_for_client {
            me.timer = None;
            return Poll::Pending;
        }
        let due = Instant::now() + me.streams.stall;
        let (set_for, timer) = me
            .timer
            .get_or_insert_with(|| (count, Box::pin(tokio::time::sleep_until(due))));
        if *set_for != count {
            *set_for = count;
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        me.streams.activity.stalled();
        Poll::Ready(())
    }
}
