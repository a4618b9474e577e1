//! What a test can ask the mock: how many requests arrived, how each ended, and when.
//!
//! Invariant: `requests_total = in_flight + completed + cancelled + broken`. Every API request holds one [`Ticket`]
//! from its head to its last byte; dropping the ticket early is how a vanished client is noticed, before the head and
//! in the middle of a stream alike.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use ring::digest::{SHA256, digest};
use serde::{Serialize, Serializer};
use tokio::sync::Notify;

use super::usage::MockUsage;

/// Distinct paths, and distinct models, that are counted by name; the rest are counted as [`OTHER`].
const NAMES_MAX: usize = 256;

/// The name under which requests count once there are [`NAMES_MAX`] others.
const OTHER: &str = "(other)";

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatsSnapshot {
    /// The mock's name.
    pub name: String,
    /// Time since the mock started; the clock of every other time here.
    #[serde(rename = "now_ms", serialize_with = "milliseconds")]
    pub now: Duration,
    /// API requests with a complete head (requests to `/mock/*` are not counted).
    pub requests_total: u64,
    /// Those that have not ended.
    pub in_flight: u64,
    /// Those answered to the last byte, injected errors and clean early ends included.
    pub completed: u64,
    /// Those with a client that disconnected before the end.
    pub cancelled: u64,
    /// Those on a connection that the mock broke on purpose (`refuse`, `cut_after_chunks`, `down`).
    pub broken: u64,
    /// Tokens that the token endpoints issued.
    pub tokens_issued: u64,
    /// What the generated answers are billed for that were handed over to the last byte, usage included.
    pub billed: MockUsage,
    /// Requests by path.
    pub by_path: BTreeMap<String, u64>,
    /// Requests by the model they name.
    pub by_model: BTreeMap<String, u64>,
    /// The last request that arrived whole.
    pub last_request: Option<LastRequest>,
    /// When a client last went away.
    #[serde(rename = "cancelled_at_ms", serialize_with = "optional_milliseconds")]
    pub cancelled_at: Option<Duration>,
    /// The last start or end of a request.
    pub last_event: Option<LastEvent>,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRequest {
    /// Method, such as `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers by lower-case name; a repeated one is joined by `, `. Credentials are replaced by `sha256:` and the
    /// first 16 hex digits of their digest.
    pub headers: BTreeMap<String, String>,
    /// Length of the body.
    pub body_bytes: usize,
    /// SHA-256 of the body in hex.
    pub body_sha256: String,
}

/// Something that happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LastEvent {
    /// What happened.
    pub kind: EventKind,
    /// When, since the mock's start.
    #[serde(rename = "at_ms", serialize_with = "milliseconds")]
    pub at: Duration,
}

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Its head arrived.
    Started,
    /// Its answer was handed over to the last byte.
    Completed,
    /// Its client went away.
    Cancelled,
    /// The mock broke its connection on purpose.
    Broken,
}

/// The counters, shared by all connections.
#[derive(Debug)]
pub(super) struct Stats {
    started: Instant,
    counts: Mutex<MockCounts>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct MockCounts {
    in_flight: u64,
    completed: u64,
    cancelled: u64,
    broken: u64,
    tokens_issued: u64,
    billed: MockUsage,
    by_path: BTreeMap<String, u64>,
    by_model: BTreeMap<String, u64>,
    last_request: Option<Arrived>,
    cancelled_at: Option<Duration>,
    last_event: Option<LastEvent>,
}

/// A request as received; digests are computed on demand.
#[derive(Debug)]
struct Arrived {
    head: http::request::Parts,
    body: Bytes,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            counts: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Counts a request after its head arrived on `connection`.
    pub(super) fn begin(self: &Arc<Self>, path: &str, connection: Arc<Connection>) -> Ticket {
        let mut counts = self.counts();
        counts.in_flight += 1;
        count(&mut counts.by_path, path);
        self.note(&mut counts, EventKind::Started);
        Ticket {
            stats: Arc::clone(self),
            connection,
            usage: MockUsage::default(),
            ended: false,
        }
    }

    /// Keeps a request that arrived whole, as the last one.
    pub(super) fn arrived(&self, head: http::request::Parts, body: Bytes, model: Option<&str>) {
        let mut counts = self.counts();
        if let Some(model) = model {
            count(&mut counts.by_model, model);
        }
        let before = counts.last_request.replace(Arrived { head, body });
        drop(counts);
        drop(before);
    }

    /// Counts a token that was issued.
    pub(super) fn token_issued(&self) {
        self.counts().tokens_issued += 1;
        self.changed.notify_waiters();
    }

    /// Requests that have not ended.
    pub(super) fn in_flight(&self) -> u64 {
        self.counts().in_flight
    }

    /// Forgets all but the requests in flight.
    pub(super) fn reset(&self) {
        let mut counts = self.counts();
        *counts = MockCounts {
            in_flight: counts.in_flight,
            ..MockCounts::default()
        };
        drop(counts);
        self.changed.notify_waiters();
    }

    pub(super) fn snapshot(&self, name: &str) -> StatsSnapshot {
        let now = self.started.elapsed();
        let counts = self.counts();
        StatsSnapshot {
            name: name.to_owned(),
            now,
            requests_total: counts.in_flight + counts.completed + counts.cancelled + counts.broken,
            in_flight: counts.in_flight,
            completed: counts.completed,
            cancelled: counts.cancelled,
            broken: counts.broken,
            tokens_issued: counts.tokens_issued,
            billed: counts.billed,
            by_path: counts.by_path.clone(),
            by_model: counts.by_model.clone(),
            last_request: counts.last_request.as_ref().map(describe),
            cancelled_at: counts.cancelled_at,
            last_event: counts.last_event,
        }
    }

    /// Waits until the counters satisfy `condition`, and returns them.
    pub(super) async fn when(
        &self,
        name: &str,
        mut condition: impl FnMut(&StatsSnapshot) -> bool,
    ) -> StatsSnapshot {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the check, so that no change falls between the check and the wait.
            changed.as_mut().enable();
            let snapshot = self.snapshot(name);
            if condition(&snapshot) {
                return snapshot;
            }
            changed.await;
        }
    }

    fn bill(&self, usage: MockUsage) {
        self.counts().billed += usage;
    }

    fn end(&self, kind: EventKind) {
        let mut counts = self.counts();
        counts.in_flight -= 1;
        match kind {
            EventKind::Cancelled => {
                counts.cancelled += 1;
                counts.cancelled_at = Some(self.started.elapsed());
            }
            EventKind::Broken => counts.broken += 1,
            EventKind::Completed | EventKind::Started => counts.completed += 1,
        }
        self.note(&mut counts, kind);
    }

    fn note(&self, counts: &mut MockCounts, kind: EventKind) {
        counts.last_event = Some(LastEvent {
            kind,
            at: self.started.elapsed(),
        });
        self.changed.notify_waiters();
    }

    /// A panic elsewhere leaves counters that are at worst one off: good enough to go on.
    fn counts(&self) -> MutexGuard<'_, MockCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state that a connection's task and its requests share.
#[derive(Debug, Default)]
pub(super) struct Connection {
    control: AtomicBool,
    broken: AtomicBool,
}

impl Connection {
    /// Records whether the current request is one to `/mock/*`, which `down` spares.
    pub(super) fn set_control(&self, control: bool) {
        self.control.store(control, Ordering::Relaxed);
    }

    pub(super) fn is_control(&self) -> bool {
        self.control.load(Ordering::Relaxed)
    }

    /// The mock is about to drop this connection: its requests are broken, not cancelled.
    pub(super) fn set_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// One API request in flight.
#[derive(Debug)]
pub(super) struct Ticket {
    stats: Arc<Stats>,
    connection: Arc<Connection>,
    usage: MockUsage,
    ended: bool,
}

impl Ticket {
    /// Its answer reports this usage at its end.
    pub(super) const fn bill(&mut self, usage: MockUsage) {
        self.usage = usage;
    }

    /// The answer was handed over to its last byte.
    pub(super) fn complete(mut self) {
        self.ended = true;
        self.stats.bill(self.usage);
        self.stats.end(EventKind::Completed);
    }

    /// The mock breaks the connection on purpose.
    pub(super) fn break_off(mut self) {
        self.ended = true;
        self.stats.end(EventKind::Broken);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let broken = self.connection.broken.load(Ordering::Relaxed);
        self.stats.end(if broken {
            EventKind::Broken
        } else {
            EventKind::Cancelled
        });
    }
}

fn count(by_name: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = by_name.get_mut(name) {
        *count += 1;
        return;
    }
    let name = if by_name.len() < NAMES_MAX {
        name
    } else {
        OTHER
    };
    *by_name.entry(name.to_owned()).or_default() += 1;
}

fn describe(arrived: &Arrived) -> LastRequest {
    LastRequest {
        method: arrived.head.method.to_string(),
        path: arrived.head.uri.to_string(),
        headers: headers(&arrived.head.headers),
        body_bytes: arrived.body.len(),
        body_sha256: hex(digest(&SHA256, &arrived.body).as_ref()),
    }
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut described: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let secret =
            [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) || name == "x-api-key";
        let text = if secret {
            redacted(value.as_bytes())
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        described
            .entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&text);
            })
            .or_insert(text);
    }
    described
}

/// `sha256:` and the first 16 hex digits: enough to compare, useless to call with.
fn redacted(secret: &[u8]) -> String {
    format!("sha256:{}", hex(&digest(&SHA256, secret).as_ref()[..8]))
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_micros() as f64 / 1_000.0)
}

fn optional_milliseconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(stats: &Arc<Stats>, path: &str) -> Ticket {
        stats.begin(path, Arc::default())
    }

    #[test]
    fn a_dropped_ticket_is_a_cancellation_with_its_time() {
        let stats = Arc::new(Stats::new());
        drop(begin(&stats, "/v1/x"));
        let seen = stats.snapshot("m");
        assert_eq!(
            (seen.requests_total, seen.in_flight, seen.cancelled),
            (1, 0, 1)
        );
        assert!(seen.cancelled_at.is_some_and(|at| at <= seen.now));
        assert_eq!(seen.last_event.map(|e| e.kind), Some(EventKind::Cancelled));
    }

    #[test]
    fn a_ticket_dropped_with_its_broken_connection_is_no_cancellation() {
        let stats = Arc::new(Stats::new());
        let connection = Arc::new(Connection::default());
        let ticket = stats.begin("/v1/x", Arc::clone(&connection));
        connection.set_broken();
        drop(ticket);
        let seen = stats.snapshot("m");
        assert_eq!((seen.cancelled, seen.broken), (0, 1));
    }

    #[test]
    fn a_reset_keeps_what_is_in_flight() {
        let stats = Arc::new(Stats::new());
        begin(&stats, "/v1/x").complete();
        let open = begin(&stats, "/v1/x");
        stats.reset();
        let seen = stats.snapshot("m");
        assert_eq!(
            (seen.requests_total, seen.in_flight, seen.completed),
            (1, 1, 0)
        );
        open.complete();
        assert_eq!(stats.snapshot("m").completed, 1);
    }

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let stats = Arc::new(Stats::new());
        for i in 0..NAMES_MAX + 10 {
            begin(&stats, &format!("/{i}")).complete();
        }
        let seen = stats.snapshot("m");
        assert_eq!(seen.by_path.len(), NAMES_MAX + 1);
        assert_eq!(seen.by_path[OTHER], 10);
    }

    #[test]
    fn credentials_are_kept_as_digests_and_other_headers_verbatim() {
        let (head, ()) = http::Request::post("/v1/x?y=1")
            .header("authorization", "Bearer secret")
            .header("x-api-key", "secret")
            .header("x-other", "a")
            .header("x-other", "b")
            .body(())
            .expect("a valid request")
            .into_parts();
        let stats = Stats::new();
        stats.arrived(head, Bytes::from_static(b"abc"), Some("m"));
        let last = stats.snapshot("m").last_request.expect("a request arrived");
        assert!(!format!("{last:?}").contains("secret"));
        assert!(last.headers["authorization"].starts_with("sha256:"));
        assert_eq!(last.headers["x-other"], "a, b");
        assert_eq!(last.path, "/v1/x?y=1");
        assert_eq!(
            last.body_sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
