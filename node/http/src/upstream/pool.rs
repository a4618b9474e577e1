//! Connections that are kept for further requests, for each origin (scheme, host and port).
//!
//! Of idle HTTP/1.1 connections the one used last is taken first: it is the least likely to have been closed, and the
//! others grow old and are closed, so that there are as many as the load needs. An HTTP/2 connection is shared by
//! all requests of its origin.
//!
//! A connection comes back when the body of its answer has ended; a body that is dropped before closes it. Nobody reads
//! an idle one: that the upstream has closed it shows when it is taken, or at the next sweep.
//!
//! Bound: [`IDLE_MAX`] idle connections for each origin, none for longer than [`IDLE_FOR`] and half of it. Origins
//! without a connection are forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::time::Instant;

use super::guard::Reading;
use super::http1::Http1;
use super::payload::Payload;

/// A connection that was idle for this long is closed.
const IDLE_FOR: Duration = Duration::from_secs(60);

/// Idle connections kept for each origin.
const IDLE_MAX: usize = 256;

/// A connection that is used by one request, or of HTTP/2 shared by it.
#[derive(Debug)]
pub(super) enum Connection {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// Sends requests on a shared connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<Payload>,
    pub(super) reading: Reading,
}

/// Where a connection of HTTP/1.1 goes back to.
pub(super) struct Home {
    origin: Arc<str>,
    pool: Pool,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Home").field(&self.origin).finish()
    }
}

impl Home {
    /// Keeps `connection` for another request: the upstream has answered this one.
    pub(super) fn give_back(self, connection: Box<Http1>) {
        self.pool.keep(self.origin, connection);
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
    connection: Box<Http1>,
    since: Instant,
}

struct Shared {
    connection: Http2,
    used_at: Instant,
}

impl Pool {
    /// A connection to `origin` that was used before; `None` where there is none.
    pub(super) fn take(&self, origin: &Arc<str>) -> Option<Connection> {
        self.lock().origins.get_mut(origin)?.take()
    }

    /// Where connections to `origin` go back to.
    pub(super) fn home(&self, origin: &Arc<str>) -> Home {
        Home {
            origin: Arc::clone(origin),
            pool: self.clone(),
        }
    }

    /// Shares a new HTTP/2 connection, in place of the one before.
    pub(super) fn share(&self, origin: Arc<str>, connection: Http2) {
        let shared = Shared {
            connection,
            used_at: Instant::now(),
        };
        self.change(origin, |kept| kept.shared = Some(shared));
    }

    fn keep(&self, origin: Arc<str>, connection: Box<Http1>) {
        let idle = Idle {
            connection,
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
    fn take(&mut self) -> Option<Connection> {
        if let Some(shared) = &mut self.shared {
            if !shared.connection.sender.is_closed() {
                shared.used_at = Instant::now();
                return Some(Connection::Http2(shared.connection.clone()));
            }
            self.shared = None;
        }
        while let Some(mut idle) = self.idle.pop_back() {
            if idle.connection.is_open() {
                return Some(Connection::Http1(idle.connection));
            }
        }
        None
    }

    /// Closes what was not used since `then`, or was closed by the upstream.
    fn forget(&mut self, then: Instant) {
        self.idle
            .retain_mut(|idle| idle.since >= then && idle.connection.is_open());
        self.shared
            .take_if(|shared| shared.used_at < then || shared.connection.sender.is_closed());
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::super::http1::Wire;
    use super::*;

    const ORIGIN: &str = "http://upstream";

    /// A connection, and its other end.
    fn opened() -> (Box<Http1>, DuplexStream) {
        let (near, far) = tokio::io::duplex(1_024);
        (Box::new(Http1::new(Wire::Test(near))), far)
    }

    fn home(pool: &Pool) -> Home {
        pool.home(&ORIGIN.into())
    }

    fn take(pool: &Pool) -> Option<Box<Http1>> {
        match pool.take(&ORIGIN.into())? {
            Connection::Http1(connection) => Some(connection),
            Connection::Http2(_) => unreachable!("none was shared"),
        }
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
            let (connection, far) = opened();
            home(&pool).give_back(connection);
            let began = Instant::now();
            closed(far).await;
            assert!((IDLE_FOR..=IDLE_FOR * 2).contains(&began.elapsed()));
            assert!(pool.lock().origins.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_in_use_and_one_used_again_stay_open() {
        let pool = Pool::default();
        let (connection, _far) = opened();
        home(&pool).give_back(connection);
        for _ in 0..10 {
            let connection = take(&pool).expect("the connection");
            assert!(take(&pool).is_none());
            tokio::time::sleep(IDLE_FOR - Duration::from_secs(1)).await;
            home(&pool).give_back(connection);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_used_last_is_taken_first_and_one_too_many_closes_the_oldest() {
        let pool = Pool::default();
        let (connection, oldest) = opened();
        home(&pool).give_back(connection);
        let mut others = Vec::new();
        for _ in 0..IDLE_MAX {
            let (connection, far) = opened();
            others.push((&raw const *connection, far));
            home(&pool).give_back(connection);
        }
        closed(oldest).await;
        let taken = take(&pool).expect("a connection");
        let (last, _) = others.last().expect("many");
        assert!(std::ptr::eq(&raw const *taken, *last));
        assert_eq!(pool.lock().origins[ORIGIN].idle.len(), IDLE_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_the_upstream_closed_is_not_used_and_not_kept_for_long() {
        let pool = Pool::default();
        let (connection, far) = opened();
        home(&pool).give_back(connection);
        drop(far);
        assert!(take(&pool).is_none());
        let (connection, far) = opened();
        home(&pool).give_back(connection);
        drop(far);
        tokio::time::sleep(IDLE_FOR / 2 + Duration::from_secs(1)).await;
        assert!(pool.lock().origins.is_empty());
    }

    #[tokio::test]
    async fn connection_on_which_something_came_unasked_is_not_used() {
        let pool = Pool::default();
        let (connection, mut far) = opened();
        home(&pool).give_back(connection);
        far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            .await
            .expect("sent");
        assert!(take(&pool).is_none());
    }
}
