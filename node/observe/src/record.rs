//! The record of a request, and how it leaves the request path cheaply.
//!
//! Each request thread collects in a buffer of its own and sends it every 20 ms, so that a
//! successful request wakes no other thread and shares no cache line. What the mesh must know at once
//! (a failure, a cooldown) is sent at once. Invariant: no prompt, no key and no query is ever in a record, and
//! nothing in it is a slice of what a connection read: foreign text is an [`Excerpt`] or a bounded name.

mod begun;
mod hedge;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::RequestId;
use grapevine_core::engine::Event;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::{AccountName, ModelName, NodeName, RegionName, UpstreamName};
use grapevine_core::outcome::Outcome;
use grapevine_core::price::{BilledTokens, NanoUsd};
use grapevine_core::request::{EndedAttempt, FallbackStep, RequestReport};
use grapevine_core::residency::ClientOrigin;
use grapevine_core::route::{Choice, Cost};
use grapevine_keys::token::KeyId;
use http::Method;
use tokio::sync::mpsc;

pub use hedge::{HedgeLoser, HedgeRecord};

use super::excerpt::Excerpt;
use super::trace::Trace;

/// How long a success waits in its thread's buffer.
const FLUSH_INTERVAL: Duration = Duration::from_millis(20);

/// What a thread's buffer holds of each kind; beyond it, records and reports are dropped and counted.
const BUFFER_MAX: usize = 8_192;

/// Batches that wait for the collector; beyond it, records are dropped and counted.
pub const BATCHES_MAX: usize = 256;

/// One finished request.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Its name, as in `x-request-id`.
    pub id: RequestId,
    /// When it arrived, as the time since the Unix epoch.
    pub time: Duration,
    /// The client's method, cut by [`super::excerpt::method`].
    pub method: Method,
    /// The client's path, without its query, which may hold anything.
    pub path: Excerpt,
    /// The model asked for, where there was one.
    pub model: Option<ModelName>,
    /// The models that stood in for it, in order; the last of them answered.
    pub fallbacks: Vec<FallbackStep>,
    /// The client's dialect and the upstream's, where the answer was translated, such as `messages>chat`.
    pub dialect: Option<Excerpt>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The status that the client got; 499 when it went away before.
    pub status: u16,
    /// The upstream that served it; `None` where none did.
    pub served: Option<Served>,
    /// The client's assumed location.
    pub client: ClientRecord,
    /// What became of its second attempt beside a late one; `None` where none was due.
    pub hedge: Option<Box<HedgeRecord>>,
    /// The attempts in order.
    pub attempts: Vec<AttemptRecord>,
    /// What the plan had beyond the attempts, in its order.
    pub untried: VecDeque<Choice>,
    /// Time spent in this node: from the body's arrival to the last attempt, and from its first byte on.
    pub overhead: Duration,
    /// From the last attempt's start to the first byte of its answer; zero where none came.
    pub first_byte: Duration,
    /// From the request's arrival to its end.
    pub total: Duration,
    /// Input and output tokens, as the upstream counted them.
    pub tokens: Tokens,
    /// What it cost; `None` where the model has no price, or the upstream reported no tokens.
    pub cost: Option<NanoUsd>,
    /// The name of the client's key, where it had one.
    pub key: Option<Arc<str>>,
    /// The id of that key, where it was issued; known for a refused one too, once its signature was verified.
    pub key_id: Option<KeyId>,
    /// The residency rules that fenced it in, as keys of the configuration; `None` where none did.
    pub residency: Option<Arc<str>>,
    /// Why it failed, where it did; one word.
    pub error: Option<&'static str>,
    /// Who made it.
    pub kind: RequestKind,
    /// Its span; `None` where it is not traced. The attempts' are its children, by their index.
    pub trace: Option<Trace>,
    /// The name that peers know it by; `None` where it went to none.
    pub forwarded_as: Option<RequestId>,
}

/// Who made a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestKind {
    /// A client.
    #[default]
    Client,
    /// A task.
    Task,
}

impl RequestKind {
    /// One word for the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Task => "task",
        }
    }
}

/// A client's assumed location; never its address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientRecord {
    /// Its country or continent.
    pub origin: ClientOrigin,
    /// Its coordinates, or those of the middle of its country.
    pub place: Option<GeoPoint>,
}

/// Which upstream served a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its owner.
    pub node: NodeName,
    /// Its owner's region.
    pub region: RegionName,
    /// Its name at its owner.
    pub upstream: UpstreamName,
    /// The account that it draws on, where that is named.
    pub account: Option<AccountName>,
}

/// One attempt of a request.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The upstream's owner.
    pub node: NodeName,
    /// Its owner's region.
    pub region: RegionName,
    /// The upstream.
    pub upstream: UpstreamName,
    /// The model that it was asked for, where there was one.
    pub model: Option<ModelName>,
    /// How it ended: [`grapevine_core::outcome::Outcome::as_str`].
    pub outcome: &'static str,
    /// The upstream's status; `None` where none came.
    pub status: Option<u16>,
    /// When it began, since the request's arrival.
    pub began: Duration,
    /// How long it took, until its end or its failure.
    pub took: Duration,
    /// Why this candidate was chosen: [`grapevine_core::route::RouteReason::as_str`].
    pub reason: &'static str,
    /// Its expected cost.
    pub cost: Cost,
    /// What went wrong, where something did, for the operator.
    pub detail: Option<Excerpt>,
}

impl From<EndedAttempt> for AttemptRecord {
    fn from(attempt: EndedAttempt) -> Self {
        let upstream = &attempt.choice.candidate.upstream;
        Self {
            node: upstream.node.clone(),
            region: upstream.region.clone(),
            upstream: upstream.name.clone(),
            model: attempt.model,
            outcome: attempt.outcome.as_str(),
            status: match attempt.outcome {
                Outcome::Status { status, .. } => Some(status),
                _ => None,
            },
            began: attempt.began,
            took: attempt.took,
            reason: attempt.choice.reason.as_str(),
            cost: attempt.choice.cost,
            detail: attempt.detail.as_deref().map(Excerpt::of),
        }
    }
}

/// Tokens as the upstream counted them; `None` where it reported none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: Option<u64>,
    /// Of the prompt, those read from the upstream's cache.
    pub cached: Option<u64>,
    /// Of the prompt, those written to it.
    pub cache_written: Option<u64>,
    /// Of the answer.
    pub output: Option<u64>,
}

impl Tokens {
    /// What there is to bill; `None` where nothing was reported.
    pub fn billed(&self) -> Option<BilledTokens> {
        self.input.or(self.output)?;
        Some(BilledTokens {
            input: self.input.unwrap_or_default(),
            cached: self.cached.unwrap_or_default(),
            cache_written: self.cache_written.unwrap_or_default(),
            output: self.output.unwrap_or_default(),
        })
    }
}

/// Records that leave one thread together. Boxed: each is handed on from its thread to the collector and the history.
pub type Batch = Vec<Box<RequestRecord>>;

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// What one thread has not sent yet.
struct Buffer {
    events: Vec<Event>,
    records: Batch,
    flush_is_due: bool,
}

impl Buffer {
    const fn new() -> Self {
        Self {
            events: Vec::new(),
            records: Vec::new(),
            flush_is_due: false,
        }
    }
}

/// Takes reports and records from the request path. Cheap to clone.
///
/// To be used on current-thread runtimes: each thread flushes what was recorded on it.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Outlet>);

#[derive(Debug)]
struct Outlet {
    driver: DriverHandle,
    batches: mpsc::Sender<Batch>,
    dropped: AtomicU64,
}

impl Recorder {
    /// A recorder that reports attempts to `driver`, and the receiver of the records.
    pub fn new(driver: DriverHandle) -> (Self, mpsc::Receiver<Batch>) {
        let (batches, receiver) = mpsc::channel(BATCHES_MAX);
        let outlet = Outlet {
            driver,
            batches,
            dropped: AtomicU64::new(0),
        };
        (Self(Arc::new(outlet)), receiver)
    }

    /// Sends `event` to the engine with the next flush.
    fn send_later(&self, event: Event) {
        self.push(|buffer| buffer.events.push(event));
    }

    /// Sends `event` to the engine now, with everything that waited.
    fn send_now(&self, event: Event) {
        self.push(|buffer| buffer.events.push(event));
        self.flush();
    }

    /// Reports an attempt to the engine: now, where it is urgent.
    pub fn report(&self, report: RequestReport) {
        if report.is_urgent {
            self.send_now(report.event);
        } else {
            self.send_later(report.event);
        }
    }

    /// Keeps the record of a finished request.
    pub fn record(&self, record: Box<RequestRecord>) {
        self.push(|buffer| buffer.records.push(record));
    }

    /// Reports and records lost so far because their receiver was too slow.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Sends what this thread collected.
    pub fn flush(&self) {
        let (events, records) = BUFFER.with_borrow_mut(|buffer| {
            let events = std::mem::take(&mut buffer.events);
            (events, std::mem::take(&mut buffer.records))
        });
        let sent = events
            .into_iter()
            .map(|event| self.0.driver.try_send(event));
        let mut lost = sent.filter(|sent| !sent).count();
        if !records.is_empty() {
            let count = records.len();
            lost += self.0.batches.try_send(records).map_or(count, |()| 0);
        }
        if lost > 0 {
            self.0.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        }
    }

    fn push(&self, put: impl FnOnce(&mut Buffer)) {
        let starts_flush = BUFFER.with_borrow_mut(|buffer| {
            if buffer.events.len() >= BUFFER_MAX || buffer.records.len() >= BUFFER_MAX {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            put(buffer);
            !std::mem::replace(&mut buffer.flush_is_due, true)
        });
        if starts_flush {
            self.flush_later();
        }
    }

    fn flush_later(&self) {
        let recorder = self.clone();
        let flush = move || {
            BUFFER.with_borrow_mut(|buffer| buffer.flush_is_due = false);
            recorder.flush();
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    tokio::time::sleep(FLUSH_INTERVAL).await;
                    flush();
                });
            }
            // A request that is dropped while its runtime ends: nothing will run later.
            Err(_) => flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;
    use grapevine_base::clock::Clock;
    use grapevine_base::driver::Driver;
    use grapevine_core::engine::{Engine, Identity};
    use grapevine_core::ids::Generation;

    fn recorder() -> (Recorder, mpsc::Receiver<Batch>) {
        let clock = Clock::start();
        let identity = Identity {
            node: NodeName::new("usa-1").expect("a valid name"),
            generation: Generation(1),
            region: RegionName::new("usa").expect("a valid name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: grapevine_core::fact::Public::default(),
        };
        let (_driver, handle, _outlets) = Driver::new(Engine::new(clock.now(), identity), clock);
        Recorder::new(handle)
    }

    fn record() -> Box<RequestRecord> {
        let path = PathAndQuery::from_static("/v1/files");
        Box::new(RequestRecord {
            status: 200,
            ..RequestRecord::begun("r".into(), &Method::GET, &path)
        })
    }

    #[tokio::test]
    async fn records_leave_together_after_a_moment() {
        let (recorder, mut batches) = recorder();
        recorder.record(record());
        recorder.record(record());
        assert!(batches.try_recv().is_err(), "a record left at once");
        assert_eq!(batches.recv().await.map(|batch| batch.len()), Some(2));
    }

    #[tokio::test]
    async fn urgent_event_flushes_what_waits() {
        let (recorder, mut batches) = recorder();
        recorder.record(record());
        recorder.send_now(Event::Tick);
        assert_eq!(batches.try_recv().map(|batch| batch.len()), Ok(1));
    }

    #[tokio::test]
    async fn full_buffer_drops_and_counts() {
        let (recorder, mut batches) = recorder();
        for _ in 0..BUFFER_MAX + 3 {
            recorder.record(record());
        }
        assert_eq!(recorder.dropped(), 3);
        let kept = batches.recv().await.map(|batch| batch.len());
        assert_eq!(kept, Some(BUFFER_MAX));
    }
}
