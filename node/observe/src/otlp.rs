//! Sends spans to a collector: OTLP over HTTP, as protobuf.
//!
//! A dedicated task takes them from a bounded queue in batches. A collector that is slow, refuses or is down
//! costs spans, which are counted, and nothing else: callers never wait.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::record::RequestRecord;
use super::spans::{self, Hop};

/// Requests whose spans wait to be sent; beyond it, spans are dropped and counted.
pub const QUEUE_MAX: usize = 2_048;

/// Spans that are sent together.
const BATCH_MAX: usize = 512;

/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(500);

/// How long the collector may take for a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a batch is sent at most, and the waits between: the specification's retryable answers alone.
const RETRY_WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The whole URL, `/v1/traces` included.
    pub url: String,
    /// Sent with every batch; their values are secret.
    pub headers: HeaderMap,
    /// Calls it.
    pub client: reqwest::Client,
}

/// The sender of spans.
#[derive(Clone, Debug)]
pub struct SpanSender {
    /// The node.
    pub node: String,
    /// Its region.
    pub region: String,
}

/// Takes spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: mpsc::Sender<ExportMessage>,
    dropped: Arc<AtomicU64>,
}

enum ExportMessage {
    Spans(Vec<Span>),
    /// Answered when everything before it was sent or dropped.
    Flush(oneshot::Sender<()>),
}

impl Tracer {
    /// A tracer, and the task that sends its spans until every copy of it is dropped.
    pub fn new(
        collector: Collector,
        sender: &SpanSender,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let exporter = Exporter {
            collector,
            resource: resource(sender),
            dropped: Arc::clone(&dropped),
            is_failing: false,
        };
        (Self { queue, dropped }, exporter.run(messages))
    }

    /// Queues the spans of a request that entered here, where it is traced.
    pub fn request(&self, record: &RequestRecord) {
        if record.trace.is_some() {
            self.take(spans::of_request(record));
        }
    }

    /// Queues the spans of a peer's request that was served here.
    pub fn hop(&self, hop: &Hop) {
        self.take(spans::of_hop(hop));
    }

    /// Spans lost so far, because the queue was full or the collector did not accept them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the spans queued so far were sent or dropped, for at most `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (done, is_done) = oneshot::channel();
        let flushed = async {
            if self.queue.send(ExportMessage::Flush(done)).await.is_ok() {
                // Dropped by an exporter that ended: nothing more is sent.
                let _ = is_done.await;
            }
        };
        // What is not sent by then is lost with the node.
        let _ = timeout(limit, flushed).await;
    }

    fn take(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.queue.try_send(ExportMessage::Spans(spans)).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// What OpenTelemetry calls the sender of telemetry.
fn resource(sender: &SpanSender) -> Resource {
    let attributes = [
        ("service.name", "grapevine"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &sender.node),
        ("cloud.region", &sender.region),
    ];
    let attributes =
        attributes.map(|(key, text)| spans::attribute(key, Value::StringValue(text.to_owned())));
    Resource {
        attributes: attributes.into(),
        ..Resource::default()
    }
}

struct Exporter {
    collector: Collector,
    resource: Resource,
    dropped: Arc<AtomicU64>,
    /// Whether the last batch was lost, so that only changes are logged.
    is_failing: bool,
}

/// Why a batch was not accepted.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("collector answers {0}")]
    Status(StatusCode),
    #[error("collector cannot be reached")]
    Unreachable(#[source] reqwest::Error),
}

impl SendError {
    /// Whether a retry of the batch may succeed, by the specification of OTLP.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Unreachable(_) => true,
        }
    }
}

impl Exporter {
    async fn run(mut self, mut messages: mpsc::Receiver<ExportMessage>) {
        while let Some(first) = messages.recv().await {
            let (mut batch, mut flushed) = (Vec::new(), Vec::new());
            let until = sleep(BATCH_WAIT);
            tokio::pin!(until);
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    ExportMessage::Spans(spans) => batch.extend(spans),
                    ExportMessage::Flush(done) => flushed.push(done),
                }
                if batch.len() >= BATCH_MAX || !flushed.is_empty() {
                    break;
                }
                tokio::select! {
                    () = &mut until => {}
                    message = messages.recv() => next = message,
                }
            }
            if !batch.is_empty() {
                self.export(batch).await;
            }
            for done in flushed {
                // The caller has stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn export(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let body = self.encode(spans);
        let mut waits = RETRY_WAITS.into_iter();
        let sent = loop {
            match self.send(body.clone()).await {
                Err(error) if error.is_retryable() => match waits.next() {
                    Some(wait) => sleep(wait).await,
                    None => break Err(error),
                },
                sent => break sent,
            }
        };
        match sent {
            Ok(()) if std::mem::take(&mut self.is_failing) => info!("collector takes spans again"),
            Ok(()) => {}
            Err(error) => {
                self.dropped.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(%error, "spans are lost; check tracing.otlp.endpoint and the collector");
                }
            }
        }
    }

    fn encode(&self, spans: Vec<Span>) -> bytes::Bytes {
        let scope = InstrumentationScope {
            name: "grapevine".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        request.encode_to_vec().into()
    }

    async fn send(&self, body: bytes::Bytes) -> Result<(), SendError> {
        let request = self
            .collector
            .client
            .post(&self.collector.url)
            .headers(self.collector.headers.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .timeout(SEND_TIMEOUT)
            .body(body);
        // The URL may hold a token.
        let unreachable = |error: reqwest::Error| SendError::Unreachable(error.without_url());
        let answer = request.send().await.map_err(unreachable)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(SendError::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::record;
    use crate::trace::Sampler;
    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use grapevine_base::entropy;
    use http::HeaderValue;
    use tokio::net::TcpListener;

    /// Far more than sending takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn tracer(url: String) -> (Tracer, impl Future<Output = ()>) {
        // Tests share a process, and any of them may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let headers = [(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"))];
        let collector = Collector {
            url,
            headers: headers.into_iter().collect(),
            client: reqwest::Client::new(),
        };
        let sender = SpanSender {
            node: "sgp-1".to_owned(),
            region: "sgp".to_owned(),
        };
        Tracer::new(collector, &sender)
    }

    fn traced() -> RequestRecord {
        let trace = Sampler::new(1.0).begin(&mut HeaderMap::new(), &mut entropy::generator());
        RequestRecord { trace, ..record(1) }
    }

    #[tokio::test]
    async fn batch_names_its_sender_and_carries_the_collectors_token() {
        let (posts, mut posted) = mpsc::channel(8);
        let take = move |headers: HeaderMap, body: Bytes| async move {
            // The test reads the first one and may be gone.
            let _ = posts.send((headers, body)).await;
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1/traces", listener.local_addr().expect("bound"));
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (tracer, exporting) = tracer(url);
        tokio::spawn(exporting);

        tracer.request(&record(1));
        tracer.request(&traced());
        tracer.flush(PATIENCE).await;
        let (headers, body) = posted.recv().await.expect("a batch");
        assert_eq!(headers[header::AUTHORIZATION], "Bearer t");
        assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).expect("a batch of spans");
        let sent = &request.resource_spans[0];
        // The request's own and its attempt's.
        assert_eq!(sent.scope_spans[0].spans.len(), 2);
        let attributes = sent
            .resource
            .as_ref()
            .map(|it| format!("{:?}", it.attributes));
        assert!(attributes.is_some_and(|text| text.contains("sgp-1")));
        assert_eq!(tracer.dropped(), 0);
    }

    #[tokio::test]
    async fn full_queue_drops_spans_and_counts_them() {
        let (tracer, _never_run) = tracer("http://127.0.0.1:9/v1/traces".to_owned());
        for _ in 0..QUEUE_MAX + 3 {
            tracer.request(&traced());
        }
        assert_eq!(tracer.dropped(), 3 * 2);
    }
}
