//! Connections that are kept for further requests, for each origin (scheme, host and port).
//!
//! Of idle HTTP/1.1 connections the one used last is taken first: it is the least likely to have been closed, and the
//! others grow old and are closed, so that there are as many as the load needs. An HTTP/2 connection is shared by
//! all requests of its origin.
//!
//! A connection comes back when the body of its answer has ended; a body that is dropped before closes it.
//!
//! Bound: [`IDLE_MAX`] idle connections for each origin, none for longer than [`IDLE_FOR`] and half of it. Origins
//! without a connection are forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::guard::Reading;
use super::payload::Payload;

/// A connection that was idle for this long is closed.
const IDLE_FOR: Duration = Duration::from_secs(60);

/// Idle connections kept for each origin.
const IDLE_MAX: usize = 256;

/// Sends requests on one connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<Payload>),
    Http2(http2::SendRequest<Payload>),
}

/// A connection that is used by one request, or of HTTP/2 shared by it.
pub(super) struct Lease {
    pub(super) sender: Sender,
    pub(super) reading: Reading,
    /// Whether it worked for an earlier request.
    pub(super) is_reused: bool,
    origin: Arc<str>,
    pool: Pool,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lease")
            .field("origin", &self.origin)
            .field("is_reused", &self.is_reused)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// A new connection.
    pub(super) const fn new(
        sender: Sender,
        reading: Reading,
        origin: Arc<str>,
        pool: Pool,
    ) -> Self {
        Self {
            sender,
            reading,
            is_reused: false,
            origin,
            pool,
        }
    }

    pub(super) const fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Keeps the connection for another request, as soon as it takes one: the upstream has answered this one.
    pub(super) fn give_back(self) {
        let Sender::Http1(mut sender) = self.sender else {
            return;
        };
        let (pool, origin, reading) = (self.pool, self.origin, self.reading);
        if sender.is_ready() {
            pool.keep(origin, sender, reading);
        } else if !sender.is_closed() {
            // The rest of the request is still being sent, or the connection's own task has not run yet.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.keep(origin, sender, reading);
                }
            });
        }
    }
}

/// The connections of one runtime. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    origins: BTreeMap<Arc<str>, Kept>,
    /// Whether a task closes what has grown old.
    is_swept: bool,
}

/// The connections to one origin.
#[derive(Default)]
struct Kept {
    /// The one used last at the end.
    idle: VecDeque<Idle>,
    shared: Option<Shared>,
}

struct Idle {
    sender: http1::SendRequest<Payload>,
    reading: Reading,
    since: Instant,
}

struct Shared {
    sender: http2::SendRequest<Payload>,
    reading: Reading,
    used_at: Instant,
}

impl Pool {
    /// A connection to `origin` that was used before; `None` where there is none.
    pub(super) fn take(&self, origin: &Arc<str>) -> Option<Lease> {
        let (sender, reading) = self.lock().origins.get_mut(origin)?.take()?;
        Some(Lease {
            is_reused: true,
            ..Lease::new(sender, reading, Arc::clone(origin), self.clone())
        })
    }

    /// Shares a new HTTP/2 connection, in place of the one before.
    pub(super) fn share(
        &self,
        origin: Arc<str>,
        sender: http2::SendRequest<Payload>,
        reading: Reading,
    ) {
        let shared = Shared {
            sender,
            reading,
            used_at: Instant::now(),
        };
        self.change(origin, |kept| kept.shared = Some(shared));
    }

    fn keep(&self, origin: Arc<str>, sender: http1::SendRequest<Payload>, reading: Reading) {
        let idle = Idle {
            sender,
            reading,
            since: Instant::now(),
        };
        self.change(origin, |kept| {
            if kept.idle.len() == IDLE_MAX {
                kept.idle.pop_front();
            }
            kept.idle.push_back(idle);
        });
    }

    fn change(&self, origin: Arc<str>, change: impl FnOnce(&mut Kept)) {
        let mut state = self.lock();
        change(state.origins.entry(origin).or_default());
        if !std::mem::replace(&mut state.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self) -> Option<(Sender, Reading)> {
        if let Some(shared) = &mut self.shared {
            if !shared.sender.is_closed() {
                shared.used_at = Instant::now();
                let sender = Sender::Http2(shared.sender.clone());
                return Some((sender, shared.reading.clone()));
            }
            self.shared = None;
        }
        while let Some(idle) = self.idle.pop_back() {
            if idle.sender.is_ready() {
                return Some((Sender::Http1(idle.sender), idle.reading));
            }
        }
        None
    }

    /// Closes what was not used since `then`.
    fn forget(&mut self, then: Instant) {
        while self.idle.front().is_some_and(|idle| idle.since < then) {
            self.idle.pop_front();
        }
        self.idle.retain(|idle| !idle.sender.is_closed());
        self.shared
            .take_if(|shared| shared.used_at < then || shared.sender.is_closed());
    }

    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_none()
    }
}

/// Closes what has grown old, until nothing is left.
async fn sweep(pool: Weak<Mutex<State>>) {
    loop {
        tokio::time::sleep(IDLE_FOR / 2).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut state = pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(then) = Instant::now().checked_sub(IDLE_FOR) {
            state
                .origins
                .values_mut()
                .for_each(|kept| kept.forget(then));
        }
        state.origins.retain(|_, kept| !kept.is_empty());
        if state.origins.is_empty() {
            state.is_swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;

    const ORIGIN: &str = "http://upstream";

    /// A connection of `pool` that takes requests, and its other end.
    async fn opened(pool: &Pool) -> (Lease, DuplexStream) {
        let (near, far) = tokio::io::duplex(1_024);
        let opened = http1::handshake(TokioIo::new(near)).await;
        let (mut sender, connection) = opened.expect("a connection");
        tokio::spawn(connection);
        sender.ready().await.expect("an open connection");
        let sender = Sender::Http1(sender);
        let lease = Lease::new(sender, Reading::default(), ORIGIN.into(), pool.clone());
        (lease, far)
    }

    /// Waits until the other side has closed.
    async fn closed(mut far: DuplexStream) {
        let read = far.read(&mut [0]).await;
        assert_eq!(read.expect("an end"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_nobody_uses_is_closed_and_its_origin_forgotten() {
        let pool = Pool::default();
        for _ in 0..2 {
            let (lease, far) = opened(&pool).await;
            lease.give_back();
            let began = Instant::now();
            closed(far).await;
            assert!((IDLE_FOR..=IDLE_FOR * 2).contains(&began.elapsed()));
            assert!(pool.lock().origins.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_in_use_and_one_used_again_stay_open() {
        let pool = Pool::default();
        let (lease, _far) = opened(&pool).await;
        lease.give_back();
        for _ in 0..10 {
            let lease = pool.take(&ORIGIN.into()).expect("the connection");
            assert!(lease.is_reused && pool.take(&ORIGIN.into()).is_none());
            tokio::time::sleep(IDLE_FOR - Duration::from_secs(1)).await;
            lease.give_back();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_used_last_is_taken_first_and_one_too_many_closes_the_oldest() {
        let pool = Pool::default();
        let (lease, oldest) = opened(&pool).await;
        lease.give_back();
        let mut others = Vec::new();
        for _ in 0..IDLE_MAX {
            let (lease, far) = opened(&pool).await;
            others.push((lease.reading.clone(), far));
            lease.give_back();
        }
        closed(oldest).await;
        let taken = pool.take(&ORIGIN.into()).expect("a connection").reading;
        let (last, _) = others.last().expect("many");
        assert!(taken.is_same(last));
        assert_eq!(pool.lock().origins[ORIGIN].idle.len(), IDLE_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_the_upstream_closed_is_not_used() {
        let pool = Pool::default();
        let (lease, far) = opened(&pool).await;
        lease.give_back();
        drop(far);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(pool.take(&ORIGIN.into()).is_none());
    }
}
