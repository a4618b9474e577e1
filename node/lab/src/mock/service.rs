//! One request: counted, read, decided, answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::api::{ApiError, Catalog, Dialect, Endpoint, Turn, Wire};
use super::faults::{Fate, Faults};
use super::read::{ReadError, read};
use super::reply::Reply;
use super::script::{Answer, Broken, ScriptBody};
use super::stats::{Connection, Stats, StatsSnapshot};
use super::strict::{Call, Outcome, Refusal, Shape, Upstream};
use super::{Knobs, KnobsError, MockConfig};

/// The largest request body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The path whose requests an engine runs.
const COMPLETIONS: &str = "/v1/chat/completions";

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
    upstream: Option<Upstream>,
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
        let upstream = config.provider.map(|provider| {
            let (name, models) = (config.name.clone(), config.models.clone());
            Upstream::new(
                provider,
                name,
                models,
                config.api_key.clone(),
                config.seed,
                config.strict,
            )
        });
        Self {
            catalog: Catalog::new(config.name, config.models, unix_seconds()),
            upstream,
            // A strict upstream judges credentials itself.
            api_key: config.api_key.filter(|_| config.provider.is_none()),
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

    /// Answers a request to a token endpoint; `None`: the connection is closed instead.
    pub(super) fn issue(&self, head: &http::request::Parts, body: &Bytes) -> Option<Outcome> {
        let settings = self.settings();
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let call = Call {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body,
            now: SystemTime::now(),
            number,
            in_flight: 0,
            cached: None,
            chunks: settings.knobs.chunks,
        };
        let Some(upstream) = &self.upstream else {
            let refusal = Refusal::no_tokens();
            return Some(Outcome::refused(&refusal, Shape::OpenAi, ""));
        };
        let (outcome, issued) = upstream.issue(&call, settings.knobs.token_fault)?;
        if issued {
            self.stats.token_issued();
        }
        Some(outcome)
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
        id_header: shared.upstream.as_ref().map(Upstream::request_id_header),
        ticket,
        running: None,
    };
    let (head, body) = request.into_parts();
    match read(body, BODY_BYTES_MAX).await {
        Ok(body) => match &shared.upstream {
            Some(upstream) => strict(&shared, upstream, &settings, reply, head, body, number).await,
            None => answer(&shared, &settings, reply, head, body, number).await,
        },
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
    lenient(shared, settings, reply, endpoint, wire, number)
}

/// The answer of the lenient mock.
fn lenient(
    shared: &Shared,
    settings: &MockSettings,
    reply: Reply,
    endpoint: Result<Endpoint, ApiError>,
    wire: Result<Wire, ApiError>,
    number: u64,
) -> Result<Response<ScriptBody>, Broken> {
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
        Ok((Answer::Stream(stream), usage))
            if settings.knobs.stream_error_after_chunks.is_some() =>
        {
            let chunks = settings.knobs.stream_error_after_chunks.unwrap_or_default();
            let failure = ApiError::injected(500).body(reply.dialect, &reply.request_id);
            let event = match reply.dialect {
                Dialect::OpenAi => format!("data: {failure}\n\n"),
                Dialect::Anthropic => format!("event: error\ndata: {failure}\n\n"),
            };
            let stream = stream.failing(chunks, Bytes::from(event));
            reply.answer(Answer::Stream(stream), usage, &settings.knobs)
        }
        Ok((answer, usage)) => reply.answer(answer, usage, &settings.knobs),
        Err(error) => reply.error(&error, None),
    })
}

/// Answers a request that arrived whole as the provider would, or as the knobs demand.
async fn strict(
    shared: &Shared,
    upstream: &Upstream,
    settings: &MockSettings,
    mut reply: Reply,
    head: http::request::Parts,
    body: Bytes,
    number: u64,
) -> Result<Response<ScriptBody>, Broken> {
    let path = head.uri.path().to_owned();
    let wire = Wire::read(&body);
    let model = wire.as_ref().ok().and_then(|wire| wire.model.as_deref());
    shared.stats.arrived(head.clone(), body.clone(), model);
    let probe = Upstream::is_probe(&path);
    let injected = |reply: Reply, status: u16, after: Option<Duration>| {
        let shape = upstream.shape(&path);
        let refusal = Refusal::injected(status, shape);
        let outcome = Outcome::refused(&refusal, shape, &reply.request_id);
        reply.outcome(outcome, &settings.knobs, after)
    };
    match shared.fate(probe, &settings.knobs) {
        Fate::Refuse => {
            reply.ticket.break_off();
            return Err(Broken);
        }
        Fate::Hang => std::future::pending().await,
        Fate::RateLimited { retry_after } => return Ok(injected(reply, 429, Some(retry_after))),
        Fate::Error {
            status,
            latency,
            retry_after,
        } => {
            wait(latency).await;
            return Ok(injected(reply, status, retry_after));
        }
        Fate::Answer { latency } => wait(latency).await,
    }
    let running = match &upstream.engine {
        Some(engine) if path == COMPLETIONS => Some(engine.begin(&body).await),
        _ => None,
    };
    let call = Call {
        method: &head.method,
        path: &path,
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
        now: SystemTime::now(),
        number,
        in_flight: shared.stats.in_flight(),
        cached: running.as_ref().map(|running| running.cached),
        chunks: settings.knobs.chunks,
    };
    if let Some(mut outcome) = upstream.answer(&call, &reply.request_id) {
        if let (Answer::Stream(stream), Some(chunks)) = (
            &mut outcome.answer,
            settings.knobs.stream_error_after_chunks,
        ) {
            *stream = std::mem::take(stream)
                .failing(chunks, upstream.stream_failure(&path, &reply.request_id));
        }
        if let Some(running) = running.filter(|_| outcome.status == 200) {
            running.prefill().await;
            reply.running = Some(running);
        }
        return Ok(reply.outcome(outcome, &settings.knobs, None));
    }
    let endpoint = Endpoint::find(&head.method, &path);
    lenient(shared, settings, reply, endpoint, wire, number)
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
