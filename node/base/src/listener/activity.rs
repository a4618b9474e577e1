//! What one connection does, recorded where it happens and read where its end is decided.
//!
//! Counters and moments that are set without a lock: the connection's own task and the tasks of its
//! requests write them, the listener reads them when it needs room.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use grapevine_core::Instant;
use grapevine_core::connection::ConnectionState;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::head_lines::{HeadLines, IntoReply};

/// How requests arrive on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One after another.
    Http1,
    /// Many at once, in frames.
    Http2,
}

/// Why a connection was asked to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The node stops.
    Drain,
    /// Others need its slot.
    Shed,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    is_http2: AtomicBool,
    /// Requests whose head arrived.
    begun: AtomicUsize,
    /// Requests that are answered whole.
    ended: AtomicUsize,
    /// When the head that is arriving began.
    head_since: Moment,
    quiet_since: Moment,
    has_stalled: AtomicBool,
    shutdown: AtomicU8,
    waker: AtomicWaker,
}

/// A moment to the microsecond, or none.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

impl Moment {
    fn set(&self, moment: Instant) {
        let micros = u64::try_from(moment.since_start().as_micros()).unwrap_or(u64::MAX - 1);
        self.0.store(micros + 1, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Instant> {
        let micros = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Instant::from_start(std::time::Duration::from_micros(
            micros,
        )))
    }
}

impl Activity {
    /// A connection that begins now; its first head is awaited from now on.
    pub fn new(clock: Clock) -> Self {
        let activity = Self {
            clock,
            is_http2: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            head_since: Moment::default(),
            quiet_since: Moment::default(),
            has_stalled: AtomicBool::new(false),
            shutdown: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        };
        activity.await_first();
        activity
    }

    /// The first head is awaited from now on: what precedes it is done.
    pub fn await_first(&self) {
        let now = self.clock.now();
        self.head_since.set(now);
        self.quiet_since.set(now);
    }

    /// Core's time now.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock that its moments are of.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn speaks(&self, protocol: Protocol) {
        let is_http2 = protocol == Protocol::Http2;
        self.is_http2.store(is_http2, Ordering::Relaxed);
    }

    /// A request whose head arrived; open until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> OpenGuard {
        let is_first = self.begun.fetch_add(1, Ordering::Relaxed) == 0;
        // In HTTP/2 another head may be arriving: the frames show it.
        if is_first || !self.is_http2.load(Ordering::Relaxed) {
            self.head_since.clear();
        }
        OpenGuard(Arc::clone(self))
    }

    /// Bytes arrived; `head_in_parts` is whether a head is arriving with them, where the protocol shows it.
    pub(super) fn received(&self, head_in_parts: Option<bool>) {
        let is_first = self.begun.load(Ordering::Relaxed) == 0;
        match head_in_parts {
            // The first head is awaited from the start.
            _ if is_first => {}
            Some(false) => self.head_since.clear(),
            None if self.in_flight() => {}
            Some(true) | None => {
                if self.head_since.get().is_none() {
                    self.head_since.set(self.clock.now());
                }
            }
        }
    }

    /// The client read a part of an answer.
    pub(super) fn answered(&self) {
        if !self.in_flight() {
            self.quiet_since.set(self.clock.now());
        }
    }

    /// The client read none of an answer for too long.
    pub(super) fn stalled(&self) {
        self.has_stalled.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_stalled(&self) -> bool {
        self.has_stalled.load(Ordering::Relaxed)
    }

    fn in_flight(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.ended.load(Ordering::Relaxed)
    }

    /// What it does now.
    pub fn state(&self) -> ConnectionState {
        ConnectionState {
            in_flight: self.in_flight(),
            head_since: self.head_since.get(),
            quiet_since: self.quiet_since.get().unwrap_or_default(),
        }
    }

    /// Asks it to shut down.
    pub(super) fn shut_down(&self, reason: ShutdownReason) {
        let code = match reason {
            ShutdownReason::Drain => 1,
            ShutdownReason::Shed => 2,
        };
        self.shutdown.store(code, Ordering::Release);
        self.waker.wake();
    }

    /// Why it was asked to shut down, if it was.
    pub fn shutdown_reason(&self) -> Option<ShutdownReason> {
        match self.shutdown.load(Ordering::Acquire) {
            0 => None,
            1 => Some(ShutdownReason::Drain),
            _ => Some(ShutdownReason::Shed),
        }
    }

    /// Wakes `context` when it is asked to shut down, or when a request of HTTP/2 ends.
    pub(super) fn register(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    /// Waits until it is asked to shut down; returns why.
    pub async fn shutdown_requested(&self) -> ShutdownReason {
        std::future::poll_fn(|context| {
            self.register(context);
            self.shutdown_reason().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// A request that is open until this is dropped.
#[derive(Debug)]
pub struct OpenGuard(Arc<Activity>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.quiet_since.set(activity.clock.now());
        activity.ended.fetch_add(1, Ordering::Relaxed);
        // In HTTP/1 it is the connection's own task that drops it, and looks afterwards.
        if activity.is_http2.load(Ordering::Relaxed) {
            activity.waker.wake();
        }
    }
}

/// The reply to a request that is open until the reply's body is dropped. The work for it is several kilobytes, and in
/// memory of its own from the start: as a part of another future it would be copied into that once more.
#[derive(Debug)]
pub(super) struct OpenReply<F> {
    reply: Pin<Box<F>>,
    /// `None` once there is a body that holds it.
    open: Option<OpenGuard>,
}

impl<F> OpenReply<F> {
    pub(super) fn new(reply: F, open: OpenGuard) -> Self {
        Self {
            reply: Box::pin(reply),
            open: Some(open),
        }
    }
}

impl<F: Future<Output: IntoReply>> Future for OpenReply<F> {
    type Output = (
        Response<OpenBody<<F::Output as IntoReply>::Body>>,
        HeadLines,
    );

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (reply, lines) = ready!(self.reply.as_mut().poll(context)).into_reply();
        let open = self.open.take().expect("it is polled to its end once");
        let reply = reply.map(|body| OpenBody { body, _open: open });
        Poll::Ready((reply, lines))
    }
}

/// An answer's body that keeps its request open until it is dropped.
#[derive(Debug)]
pub struct OpenBody<B> {
    body: B,
    _open: OpenGuard,
}

impl<B: Body + Unpin> Body for OpenBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        super::streams::body_gave(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
