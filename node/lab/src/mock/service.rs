//! One request: counted, read, decided, answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::api::{ApiError, Catalog, Dialect, Endpoint, Turn, Wire};
use super::faults::{Fate, Faults};
use super::read::{ReadError, read};
use super::script::{Answer, Broken, ScriptBody, ScriptStep, script};
use super::stats::{Connection, Stats, StatsSnapshot, Ticket};
use super::{Knobs, KnobsError, MockConfig};

/// The largest request body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    catalog: Catalog,
    api_key: Option<String>,
    stats: Arc<Stats>,
    settings: watch::Sender<Arc<MockSettings>>,
    knobs_at_start: Knobs,
    faults: Mutex<Faults>,
    answers: AtomicU64,
}

/// The knobs, and what is made once per change of them.
#[derive(Debug)]
pub(super) struct MockSettings {
    pub(super) knobs: Knobs,
    /// `body_bytes` of filler.
    padding: Bytes,
}

impl MockSettings {
    fn new(knobs: Knobs) -> Arc<Self> {
        let padding = Bytes::from(vec![b'x'; knobs.body_bytes as usize]);
        Arc::new(Self { knobs, padding })
    }
}

impl Shared {
    /// Takes a config that was checked.
    pub(super) fn new(config: MockConfig) -> Self {
        Self {
            catalog: Catalog::new(config.name, config.models, unix_seconds()),
            api_key: config.api_key,
            stats: Arc::new(Stats::new()),
            settings: watch::Sender::new(MockSettings::new(config.knobs.clone())),
            knobs_at_start: config.knobs,
            faults: Mutex::new(Faults::new(config.seed)),
            answers: AtomicU64::new(0),
        }
    }

    pub(super) fn settings(&self) -> Arc<MockSettings> {
        Arc::clone(&self.settings.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<MockSettings>> {
        self.settings.subscribe()
    }

    pub(super) fn set_knobs(&self, knobs: Knobs) -> Result<(), KnobsError> {
        knobs.check()?;
        self.settings.send_replace(MockSettings::new(knobs));
        Ok(())
    }

    /// Replaces the knobs by what `change` makes of them, with no other change in between.
    pub(super) fn change_knobs(
        &self,
        change: impl FnOnce(&Knobs) -> Result<Knobs, KnobsError>,
    ) -> Result<Knobs, KnobsError> {
        let mut changed = Err(KnobsError::Invalid(Vec::new()));
        self.settings.send_if_modified(|settings| {
            changed = change(&settings.knobs);
            if let Ok(knobs) = &changed {
                *settings = MockSettings::new(knobs.clone());
            }
            changed.is_ok()
        });
        changed
    }

    pub(super) fn reset(&self) {
        self.settings
            .send_replace(MockSettings::new(self.knobs_at_start.clone()));
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reset();
        self.stats.reset();
    }

    pub(super) fn clear_stats(&self) {
        self.stats.reset();
    }

    pub(super) fn stats(&self) -> StatsSnapshot {
        self.stats.snapshot(self.catalog.name())
    }

    pub(super) async fn stats_when(
        &self,
        condition: impl FnMut(&StatsSnapshot) -> bool,
    ) -> StatsSnapshot {
        self.stats.when(self.catalog.name(), condition).await
    }

    fn fate(&self, models: bool, knobs: &Knobs) -> Fate {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if models {
            faults.decide_models(Instant::now(), knobs)
        } else {
            faults.decide(Instant::now(), knobs)
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(key) = self.api_key.as_deref().map(str::as_bytes) else {
            return true;
        };
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let plain = headers.get("x-api-key").map(HeaderValue::as_bytes);
        bearer == Some(key) || plain == Some(key)
    }
}

/// Serves one request. An error makes the connection close without an answer.
pub(super) async fn serve(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ScriptBody>, Broken> {
    let ticket = shared.stats.begin(request.uri().path(), connection);
    let settings = shared.settings();
    if settings.knobs.down {
        ticket.break_off();
        return Err(Broken);
    }
    let number = shared.answers.fetch_add(1, Ordering::Relaxed) + 1;
    let reply = Reply {
        dialect: Dialect::of(request.uri().path()),
        request_id: format!("req_{}-{number}", shared.catalog.name()),
        ticket,
    };
    let (head, body) = request.into_parts();
    match read(body, BODY_BYTES_MAX).await {
        Ok(body) => answer(&shared, &settings, reply, head, body, number).await,
        Err(ReadError::Gone) => Err(Broken),
        Err(ReadError::TooLarge) => Ok(reply.error(&ApiError::too_large(BODY_BYTES_MAX), None)),
        Err(ReadError::Slow) => Ok(reply.error(&ApiError::slow_body(), None)),
    }
}

/// Answers a request that arrived whole, as the knobs demand.
async fn answer(
    shared: &Shared,
    settings: &MockSettings,
    reply: Reply,
    head: http::request::Parts,
    body: Bytes,
    number: u64,
) -> Result<Response<ScriptBody>, Broken> {
    let endpoint = Endpoint::find(&head.method, head.uri.path());
    let admitted = shared.admits(&head.headers);
    let wire = Wire::read(&body);
    let model = wire.as_ref().ok().and_then(|wire| wire.model.as_deref());
    shared.stats.arrived(head, body, model);

    let models = endpoint.as_ref().is_ok_and(Endpoint::is_models);
    match shared.fate(models, &settings.knobs) {
        Fate::Refuse => {
            reply.ticket.break_off();
            return Err(Broken);
        }
        Fate::Hang => std::future::pending().await,
        Fate::RateLimited { retry_after } => {
            return Ok(reply.error(&ApiError::injected(429), Some(retry_after)));
        }
        Fate::Error {
            status,
            latency,
            retry_after,
        } => {
            wait(latency).await;
            return Ok(reply.error(&ApiError::injected(status), retry_after));
        }
        Fate::Answer { latency } => wait(latency).await,
    }
    if !admitted {
        return Ok(reply.error(&ApiError::bad_key(), None));
    }
    let turn = Turn {
        number,
        created: unix_seconds(),
        chunks: settings.knobs.chunks,
        body_bytes: settings.knobs.body_bytes,
    };
    let answer = endpoint.and_then(|endpoint| {
        shared
            .catalog
            .answer(&endpoint, wire, turn, &settings.padding)
    });
    Ok(match answer {
        Ok(answer) => reply.answer(answer, &settings.knobs),
        Err(error) => reply.error(&error, None),
    })
}

/// A response in the making.
struct Reply {
    dialect: Dialect,
    request_id: String,
    ticket: Ticket,
}

impl Reply {
    fn answer(self, answer: Answer, knobs: &Knobs) -> Response<ScriptBody> {
        let length = match &answer {
            Answer::Json(parts) => Some(parts.iter().map(Bytes::len).sum()),
            Answer::Stream(_) => None,
        };
        self.response(StatusCode::OK, length, script(answer, knobs))
    }

    fn error(self, error: &ApiError, retry_after: Option<Duration>) -> Response<ScriptBody> {
        let body = error.body(self.dialect, &self.request_id);
        let status =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let length = Some(body.len());
        let mut response = self.response(status, length, vec![ScriptStep::Send(Bytes::from(body))]);
        if let Some(after) = retry_after {
            let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1_000)));
            headers.insert("retry-after-ms", HeaderValue::from(milliseconds));
        }
        response
    }

    /// `length` is that of a JSON document; without one the body is an event stream.
    fn response(
        self,
        status: StatusCode,
        length: Option<usize>,
        steps: Vec<ScriptStep>,
    ) -> Response<ScriptBody> {
        let mut response = Response::new(ScriptBody::new(steps, Some(self.ticket)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        // The name was checked at start to hold nothing that a header cannot.
        if let Ok(id) = HeaderValue::try_from(self.request_id) {
            headers.insert(
                HeaderName::from_static(self.dialect.request_id_header()),
                id,
            );
        }
        match length {
            Some(length) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            None => {
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("text/event-stream; charset=utf-8"),
                );
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
        }
        response
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
