//! Answers: our headers on all of them, and our errors in the API's own shape.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::answer_headers::AnswerHeaders;
use grapevine_base::exchange::OwnAnswer;
use grapevine_base::head_lines::HeadLines;
use grapevine_base::headers;
use grapevine_base::headers::ReadHeaders;
use grapevine_core::ids::ModelName;
use grapevine_core::request::FallbackStep;
use grapevine_core::route::Choice;
use grapevine_core::view::Way;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::Value;

use super::handed::Handed;
use super::limits;
use super::problem::{Problem, Shape};
use super::reply_body::ReplyBody;
use super::track::Track;
use crate::websocket;

/// An answer to a client.
pub(super) struct Reply {
    pub(super) response: Response<ReplyBody>,
    /// Our headers, where they are not in its map: those of an upstream's answer, which most answers are.
    pub(super) lines: HeadLines,
}

impl From<Response<ReplyBody>> for Reply {
    fn from(response: Response<ReplyBody>) -> Self {
        Self {
            response,
            lines: HeadLines::default(),
        }
    }
}

const NODE: HeaderName = HeaderName::from_static("x-grapevine-node");
const REGION: HeaderName = HeaderName::from_static("x-grapevine-region");
const UPSTREAM: HeaderName = HeaderName::from_static("x-grapevine-upstream");
const MODEL: HeaderName = HeaderName::from_static("x-grapevine-model");
const FALLBACK: HeaderName = HeaderName::from_static("x-grapevine-fallback");
const PATH: HeaderName = HeaderName::from_static("x-grapevine-path");
const HOPS: HeaderName = HeaderName::from_static("x-grapevine-hops");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-grapevine-attempts");
const SESSION: HeaderName = HeaderName::from_static("x-grapevine-session");
const OVERHEAD: HeaderName = HeaderName::from_static("x-grapevine-overhead-ms");
const UPSTREAM_TIME: HeaderName = HeaderName::from_static("x-grapevine-upstream-ms");
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-grapevine-upstream-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The value of a header without content.
const NOTHING: HeaderValue = HeaderValue::from_static("-");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers of an upstream's answer about its own connection, origin or visitors, which are wrong or harmful when
/// this node's clients relate them to this node.
fn is_not_passed_back(name: &[u8]) -> bool {
    matches!(
        name,
        b"access-control-allow-credentials"
            | b"access-control-allow-headers"
            | b"access-control-allow-methods"
            | b"access-control-allow-origin"
            | b"access-control-expose-headers"
            | b"access-control-max-age"
            | b"alt-svc"
            | b"set-cookie"
            | b"strict-transport-security"
    )
}

/// Turns an upstream's headers into this node's: its own are removed, ours are returned.
pub(super) fn adopt(
    headers: &mut AnswerHeaders,
    track: &mut Track,
    choice: &Choice,
    status: StatusCode,
) -> HeadLines {
    let is_refused = status == StatusCode::BAD_REQUEST
        && headers.value_of(&headers::REASON) == Some(headers::NOT_TRANSLATABLE.as_bytes());
    let is_limited = track.limits().is_some();
    headers.strip(|name| {
        if is_limited && limits::is_about_limits(name) {
            return true;
        }
        let is_own = headers::names_own(name) && !headers::names_translation(name);
        is_own || is_not_passed_back(name)
    });
    let mut lines = HeadLines::begun();
    let upstream = &choice.candidate.upstream;
    if let Some(id) = headers.take(&headers::REQUEST_ID) {
        lines.push_value(&UPSTREAM_REQUEST_ID, &id);
    }
    let dialect = headers.value_of(&headers::DIALECT);
    if let Some(dialect) = dialect.and_then(|dialect| std::str::from_utf8(dialect).ok()) {
        track.translated(dialect);
    }
    let (overhead, waited) = track.commit(choice, status.as_u16());
    lines.push_value(&NODE, upstream.node.as_str().as_bytes());
    lines.push_value(&REGION, upstream.region.as_str().as_bytes());
    lines.push_value(&UPSTREAM, upstream.name.as_str().as_bytes());
    let own = track.settings().region.as_str();
    match upstream.way {
        Way::Local => {
            lines.push_value(&PATH, own.as_bytes());
            lines.push_value(&HOPS, b"0");
        }
        Way::Peer => {
            lines.push(&PATH, [own, upstream.region.as_str()].join(">"));
            lines.push_value(&HOPS, b"1");
        }
    }
    // What the serving node said of a refusal stands: no upstream was asked.
    if is_refused {
        lines.push_value(&headers::REASON, headers::NOT_TRANSLATABLE.as_bytes());
    } else {
        lines.push_value(&headers::REASON, choice.reason.as_str().as_bytes());
    }
    mark(&mut lines, track, overhead, waited);
    lines
}

/// An error of our own; ends the request.
pub(super) fn problem(track: Track, problem: &Problem) -> Reply {
    let shape = Shape::of(track.path().path());
    let body = problem.to_json(shape, track.id());
    problem_as(track, problem, shape, &body)
}

/// The answer to a dry run: the plan, or the error that the request would get, with the plan beside it.
pub(super) fn plan(track: Track, plan: Value, problem: Option<Problem>) -> Reply {
    let Some(problem) = problem else {
        return own(track, StatusCode::OK, &plan);
    };
    let shape = Shape::of(track.path().path());
    let mut body = problem.to_json(shape, track.id());
    body["plan"] = plan;
    problem_as(track, &problem, shape, &body)
}

fn problem_as(mut track: Track, problem: &Problem, shape: Shape, body: &Value) -> Reply {
    let mut reply = json(problem.status, body);
    let headers = reply.response.headers_mut();
    mark_unserved(headers, &track, problem.reason());
    headers.insert(SHOULD_RETRY, should_retry(problem));
    if shape == Shape::Amazon {
        let name = HeaderValue::from_static(problem.amazon_name());
        headers.insert(headers::AMAZON_ERROR, name);
    }
    if let Some(wait) = problem.retry_after {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(headers::RETRY_AFTER_MS, HeaderValue::from(milliseconds));
    }
    if let Some(allow) = problem.allow {
        headers.insert(header::ALLOW, text(&allow.to_string()));
    }
    if problem.status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::SEC_WEBSOCKET_VERSION, websocket::VERSION);
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    track.finish(problem.status.as_u16(), Some(problem.code));
    reply
}

/// An answer of this node itself, such as the list of models; ends the request.
pub(super) fn own(mut track: Track, status: StatusCode, body: &Value) -> Reply {
    let mut reply = json(status, body);
    mark_unserved(reply.response.headers_mut(), &track, "own");
    track.finish(status.as_u16(), None);
    reply
}

/// The same, and the request is not worth a record: a health check.
pub(super) fn own_unrecorded(mut track: Track, status: StatusCode, body: &Value) -> Reply {
    track.forget();
    own(track, status, body)
}

/// The answer of another part of this node, its body streamed; the request ends with the body.
pub(super) fn handed(mut track: Track, answer: OwnAnswer) -> Reply {
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    mark_unserved(response.headers_mut(), &track, "own");
    track.answered(answer.status.as_u16());
    let left = headers::content_length(response.headers());
    let handed = Handed::start(answer.body, left, track);
    *response.body_mut() = handed.map_or_else(ReplyBody::empty, ReplyBody::Handed);
    response.into()
}

/// A JSON answer without our headers.
pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    let mut response = Response::new(ReplyBody::whole(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.into()
}

/// An empty answer without our headers.
pub(super) fn empty(status: StatusCode, headers: HeaderMap) -> Reply {
    let mut response = Response::new(ReplyBody::whole(Bytes::new()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.into()
}

/// Our headers for an answer without an upstream.
fn mark_unserved(headers: &mut HeaderMap, track: &Track, reason: &'static str) {
    let settings = track.settings();
    headers.insert(NODE, text(settings.node.as_str()));
    headers.insert(REGION, text(settings.region.as_str()));
    headers.insert(UPSTREAM, NOTHING);
    headers.insert(PATH, text(settings.region.as_str()));
    headers.insert(HOPS, HeaderValue::from_static("0"));
    headers.insert(headers::REASON, HeaderValue::from_static(reason));
    let mut lines = HeadLines::begun();
    mark(&mut lines, track, track.spent(), Duration::ZERO);
    lines.move_over(headers);
}

/// Our headers for a client that is answered before its request is routed.
pub(super) fn mark_opening(headers: &mut HeaderMap, track: &Track) {
    mark_unserved(headers, track, "first-message");
}

/// Our headers that every answer has.
fn mark(lines: &mut HeadLines, track: &Track, overhead: Duration, waited: Duration) {
    let (model, steps) = track.models();
    let model = model.map(model_text);
    lines.push(&headers::REQUEST_ID, track.id().as_bytes());
    lines.push(&MODEL, model.as_deref().unwrap_or("-"));
    if let (Some(asked), [_, ..]) = (track.asked_model(), steps) {
        lines.push(&FALLBACK, fallback_text(asked, steps));
    }
    if let Some(session) = track.session() {
        lines.push(&SESSION, session);
    }
    if let Some(lost) = track.lost() {
        lines.push(&headers::LOST, lost);
    }
    let mut digits = itoa::Buffer::new();
    lines.push_value(&ATTEMPTS, digits.format(track.attempts()).as_bytes());
    lines.push_value(&OVERHEAD, Milliseconds::of(overhead).as_bytes());
    lines.push_value(&UPSTREAM_TIME, Milliseconds::of(waited).as_bytes());
    if let Some((rights, now)) = track.limits() {
        limits::mark(lines, rights, now, Shape::of(track.path().path()));
    }
}

/// SDKs retry by status alone without this header.
fn should_retry(problem: &Problem) -> HeaderValue {
    HeaderValue::from_static(match problem.retry_after {
        Some(_) => "true",
        None => "false",
    })
}

/// A model's name, which may hold any characters: all but visible ASCII, and `%` itself, are percent-encoded as UTF-8.
fn model_text(model: &ModelName) -> Cow<'_, str> {
    let name = model.as_str();
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(3 * name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 0xf)]));
        }
    }
    Cow::Owned(encoded)
}

/// The changes of model, such as `gpt-4o>claude-sonnet (context_too_long)`.
fn fallback_text(asked: &ModelName, steps: &[FallbackStep]) -> String {
    let mut shown = model_text(asked).into_owned();
    for step in steps {
        let (model, cause) = (model_text(&step.model), step.cause.as_str());
        shown.push_str(&format!(">{model} ({cause})"));
    }
    shown
}

/// Names and ids are visible ASCII by their types; anything else is left out of a header.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(NOTHING)
}

/// Milliseconds with three decimals. Two of every answer's headers are made so, four times as fast as by `format!`.
struct Milliseconds {
    /// 20 digits and a point.
    text: [u8; 21],
    start: usize,
}

impl Milliseconds {
    fn of(span: Duration) -> Self {
        let mut micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let mut text = [0; 21];
        let mut start = text.len();
        let mut digits = 0;
        while micros > 0 || digits < 4 {
            if digits == 3 {
                start -= 1;
                text[start] = b'.';
            }
            start -= 1;
            text[start] = b'0' + (micros % 10) as u8;
            micros /= 10;
            digits += 1;
        }
        Self { text, start }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_in_a_header_is_encoded_where_it_is_not_visible_ascii() {
        for (name, header) in [
            ("org/m:free", "org/m:free"),
            ("two words", "two%20words"),
            ("100%", "100%25"),
            ("modèle", "mod%C3%A8le"),
        ] {
            let model = ModelName::new(name).expect("a name");
            assert_eq!(model_text(&model), header);
        }
        let longest = ModelName::new(&"ä".repeat(128)).expect("a name");
        assert_eq!(model_text(&longest).len(), 768);
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        let text = |micros| {
            let text = Milliseconds::of(Duration::from_micros(micros));
            String::from_utf8(text.as_bytes().to_vec()).expect("digits and a point")
        };
        assert_eq!(text(0), "0.000");
        assert_eq!(text(7), "0.007");
        assert_eq!(text(999), "0.999");
        assert_eq!(text(1_000), "1.000");
        assert_eq!(text(90_123_456), "90123.456");
        assert_eq!(text(u64::MAX), "18446744073709551.615");
        assert_eq!(
            Milliseconds::of(Duration::MAX).as_bytes(),
            b"18446744073709551.615"
        );
    }
}
