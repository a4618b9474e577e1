//! The spans of a request: made from its record when it has ended, off the request path.
//!
//! ```text
//! entry node     POST /v1/chat/completions      server, the whole request
//! entry node       chat gpt-4o                  client, one for each attempt
//! serving node       grapevine.serve            server, where the attempt went to a peer
//! serving node         chat gpt-4o              client, the call at the upstream
//! ```
//!
//! Names and attributes follow OpenTelemetry's conventions for HTTP and generative AI; what those do not define
//! begins with `grapevine.`. Invariant: a span holds nothing that a record does not hold, so no prompt, no
//! answer, no key and no query.

use std::time::Duration;

use grapevine_base::exchange::RequestId;
use grapevine_core::ids::{ModelName, UpstreamName};
use http::Method;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::excerpt::Excerpt;
use super::gen_ai;
use super::record::{AttemptRecord, RequestRecord};
use super::trace::{SpanId, Trace};

/// The flags of a span whose trace is sampled.
const SAMPLED: u32 = 1;

/// The outcome of a successful attempt.
const ANSWERED: &str = "answered";

/// A peer's attempt, as seen by the node that served it.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The span of the serving node; its first child is the call at the upstream.
    pub trace: Trace,
    /// The request's name between nodes.
    pub id: RequestId,
    /// When it arrived, as the time since the Unix epoch.
    pub time: Duration,
    /// How long it took, until the answer's last byte.
    pub took: Duration,
    /// The client's method.
    pub method: Method,
    /// The client's path, without its query.
    pub path: Excerpt,
    /// The model asked for.
    pub model: Option<ModelName>,
    /// The upstream that was called.
    pub upstream: UpstreamName,
    /// The upstream's status; `None` where none came.
    pub status: Option<u16>,
    /// How it ended: [`grapevine_core::outcome::Outcome::as_str`].
    pub outcome: &'static str,
    /// What went wrong, where something did, for the operator.
    pub detail: Option<Excerpt>,
}

/// The spans of a request that entered the mesh at this node; none where it is not traced.
pub(super) fn of_request(record: &RequestRecord) -> Vec<Span> {
    let Some(trace) = &record.trace else {
        return Vec::new();
    };
    let attempts = record.attempts.iter().enumerate();
    let attempts = attempts.map(|(index, attempt)| of_attempt(record, trace, index, attempt));
    std::iter::once(entry(record, trace))
        .chain(attempts)
        .collect()
}

/// The spans of a peer's request that was served here.
pub(super) fn of_hop(hop: &Hop) -> Vec<Span> {
    let served = Drawn::new(&hop.trace, SpanKind::Server, (hop.time, hop.took))
        .text("http.request.method", hop.method.as_str())
        .text("url.path", hop.path.as_str())
        .text("grapevine.request.id", &hop.id);
    let called = Drawn::new(&hop.trace.child(0), SpanKind::Client, (hop.time, hop.took))
        .gen_ai(hop.path.as_str(), hop.model.as_ref())
        .text("grapevine.upstream", hop.upstream.as_str());
    let ended = |drawn: Drawn| {
        let status = hop.status.map(u64::from);
        let drawn = drawn.number("http.response.status_code", status);
        drawn.outcome(hop.outcome, hop.detail.as_ref())
    };
    vec![
        ended(served).named("grapevine.serve".to_owned()),
        ended(called).named(call_name(hop.path.as_str(), hop.model.as_ref())),
    ]
}

fn entry(record: &RequestRecord, trace: &Trace) -> Span {
    let path = record.path.as_str();
    let served = record.served.as_ref();
    let error = record
        .error
        .or((record.status >= 500).then_some("server_error"));
    // What answered is known where another model did: the answer itself is not read for its name.
    let answered = record
        .served_model()
        .filter(|_| !record.fallbacks.is_empty() && served.is_some());
    let drawn = Drawn::new(trace, SpanKind::Server, (record.time, record.total))
        .text("http.request.method", record.method.as_str())
        .text("url.path", path)
        .number("http.response.status_code", Some(record.status.into()))
        .gen_ai(path, record.model.as_ref())
        .some("gen_ai.response.model", answered.map(ModelName::as_str))
        .some(
            "grapevine.dialect",
            record.dialect.as_ref().map(Excerpt::as_str),
        )
        .some("grapevine.fallback", record.fallback().as_deref())
        .some(
            "grapevine.hedge",
            record.hedge.as_ref().map(|hedge| hedge.result.as_str()),
        )
        .number("gen_ai.usage.input_tokens", record.tokens.input)
        .number("gen_ai.usage.output_tokens", record.tokens.output)
        .text("grapevine.request.id", &record.id)
        .some(
            "grapevine.request.forwarded_as",
            record.forwarded_as.as_deref(),
        )
        .text("grapevine.request.kind", record.kind.as_str())
        .number("grapevine.attempts", Some(record.attempts.len() as u64))
        .some("grapevine.key", record.key.as_deref())
        .some(
            "grapevine.key.id",
            record.key_id.as_ref().map(|id| id.as_str()),
        )
        .number("grapevine.cost_nano_usd", record.cost.map(|cost| cost.0))
        .some("grapevine.residency", record.residency.as_deref())
        .some("grapevine.node", served.map(|served| served.node.as_str()))
        .some("cloud.region", served.map(|served| served.region.as_str()))
        .some("error.type", error);
    // A client's invalid request or disconnect is no error of the server.
    let drawn = match error {
        Some(error) if record.status >= 500 || record.status == 200 => drawn.failed(error),
        _ => drawn,
    };
    let name = match gen_ai::operation(path) {
        // Any client can make up paths.
        "other" => record.method.to_string(),
        _ => format!("{} {path}", record.method),
    };
    drawn.named(name)
}

fn of_attempt(
    record: &RequestRecord,
    trace: &Trace,
    index: usize,
    attempt: &AttemptRecord,
) -> Span {
    let path = record.path.as_str();
    let is_last = index + 1 == record.attempts.len();
    let tokens = (is_last && record.served.is_some()).then_some(record.tokens);
    Drawn::new(
        &trace.child(index as u64),
        SpanKind::Client,
        (record.time + attempt.began, attempt.took),
    )
    .gen_ai(path, attempt.model.as_ref())
    .number("gen_ai.usage.input_tokens", tokens.and_then(|it| it.input))
    .number(
        "gen_ai.usage.output_tokens",
        tokens.and_then(|it| it.output),
    )
    .text("grapevine.node", attempt.node.as_str())
    .text("grapevine.upstream", attempt.upstream.as_str())
    .text("grapevine.reason", attempt.reason)
    .number("http.response.status_code", attempt.status.map(u64::from))
    .outcome(attempt.outcome, attempt.detail.as_ref())
    .named(call_name(path, attempt.model.as_ref()))
}

/// As in the conventions for generative AI: the operation and the model.
fn call_name(path: &str, model: Option<&ModelName>) -> String {
    let operation = gen_ai::operation(path);
    match model {
        Some(model) => format!("{operation} {model}"),
        None => operation.to_owned(),
    }
}

/// A span in the making.
struct Drawn(Span);

impl Drawn {
    fn new(trace: &Trace, kind: SpanKind, (time, took): (Duration, Duration)) -> Self {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let parent = trace.parent.map(SpanId::bytes);
        Self(Span {
            trace_id: trace.id.bytes().to_vec(),
            span_id: trace.span.bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            flags: SAMPLED,
            kind: kind.into(),
            start_time_unix_nano: nanoseconds(time),
            end_time_unix_nano: nanoseconds(time + took),
            ..Span::default()
        })
    }

    fn gen_ai(self, path: &str, model: Option<&ModelName>) -> Self {
        self.text("gen_ai.operation.name", gen_ai::operation(path))
            .text("gen_ai.provider.name", gen_ai::provider(path))
            .some("gen_ai.request.model", model.map(ModelName::as_str))
    }

    fn outcome(self, outcome: &'static str, detail: Option<&Excerpt>) -> Self {
        let drawn = self.text("grapevine.outcome", outcome);
        match outcome {
            ANSWERED => drawn,
            // Nobody's fault: the client went away.
            "cancelled" => drawn.text("error.type", outcome),
            _ => drawn
                .text("error.type", outcome)
                .failed(detail.map_or(outcome, Excerpt::as_str)),
        }
    }

    fn failed(mut self, message: &str) -> Self {
        self.0.status = Some(Status {
            message: message.to_owned(),
            code: StatusCode::Error.into(),
        });
        self
    }

    fn text(self, key: &'static str, text: &str) -> Self {
        self.with(key, Value::StringValue(text.to_owned()))
    }

    fn some(self, key: &'static str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    fn number(self, key: &'static str, number: Option<u64>) -> Self {
        match number.and_then(|number| i64::try_from(number).ok()) {
            Some(number) => self.with(key, Value::IntValue(number)),
            None => self,
        }
    }

    fn with(mut self, key: &'static str, value: Value) -> Self {
        self.0.attributes.push(attribute(key, value));
        self
    }

    fn named(mut self, name: String) -> Span {
        self.0.name = name;
        self.0
    }
}

/// An attribute of a span or of the node that sends it.
pub(super) fn attribute(key: &'static str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::record;
    use crate::trace::Sampler;
    use grapevine_base::entropy;
    use http::HeaderMap;

    fn traced(attempts: &[&'static str]) -> RequestRecord {
        let plain = record(7);
        let attempt = &plain.attempts[0];
        let attempts = attempts.iter().map(|outcome| AttemptRecord {
            outcome,
            ..attempt.clone()
        });
        let trace = Sampler::new(1.0).begin(&mut HeaderMap::new(), &mut entropy::generator());
        RequestRecord {
            attempts: attempts.collect(),
            trace,
            ..plain.clone()
        }
    }

    #[test]
    fn request_without_a_trace_has_no_span() {
        assert!(of_request(&record(1)).is_empty());
    }

    #[test]
    fn each_attempt_is_a_span_below_the_requests() {
        let record = traced(&["reset", "answered"]);
        let spans = of_request(&record);
        let trace = record.trace.expect("traced");
        assert_eq!(spans.len(), 3);
        for (index, span) in spans[1..].iter().enumerate() {
            assert_eq!(span.parent_span_id, spans[0].span_id);
            assert_eq!(span.span_id, trace.child(index as u64).span.bytes());
        }
        let failed = |span: &Span| span.status.as_ref().map(|status| status.code);
        assert_eq!(failed(&spans[1]), Some(StatusCode::Error.into()));
        assert_eq!((failed(&spans[0]), failed(&spans[2])), (None, None));
    }
}
