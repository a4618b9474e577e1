//! What a strict upstream is given and what it gives back, as values.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};

use std::time::SystemTime;

use super::refusal::{Refusal, Shape};
use crate::mock::script::{Answer, Stream};
use crate::mock::usage::MockUsage;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A request that arrived whole.
#[derive(Debug)]
pub(in crate::mock) struct Call<'a> {
    pub(in crate::mock) method: &'a Method,
    /// As on the wire: nothing decoded.
    pub(in crate::mock) path: &'a str,
    /// Without the question mark; empty when there is none.
    pub(in crate::mock) query: &'a str,
    pub(in crate::mock) headers: &'a HeaderMap,
    pub(in crate::mock) body: &'a Bytes,
    pub(in crate::mock) now: SystemTime,
    /// Counts answers; part of every id.
    pub(in crate::mock) number: u64,
    /// Requests in flight, this one among them.
    pub(in crate::mock) in_flight: u64,
    /// The tokens of the prompt that its engine had in the cache; `None` where no engine was asked.
    pub(in crate::mock) cached: Option<u64>,
    /// The `chunks` knob: words of an answer.
    pub(in crate::mock) chunks: u32,
}

impl Call<'_> {
    /// A header as text; one that is no text is as good as absent.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer`.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// One parameter of the query, as written.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Seconds since the Unix epoch.
    pub(super) fn seconds(&self) -> u64 {
        seconds(self.now)
    }
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// An answer with its head.
#[derive(Debug)]
pub(in crate::mock) struct Outcome {
    pub(in crate::mock) status: u16,
    pub(in crate::mock) content_type: &'static str,
    pub(in crate::mock) headers: Vec<(&'static str, String)>,
    pub(in crate::mock) answer: Answer,
    /// Of a generated answer.
    pub(in crate::mock) usage: MockUsage,
}

impl Outcome {
    pub(super) fn json(value: &Value) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            headers: Vec::new(),
            answer: Answer::Json(vec![Bytes::from(value.to_string())]),
            usage: MockUsage::default(),
        }
    }

    pub(super) fn text(status: u16, content_type: &'static str, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            answer: Answer::Json(vec![text.into()]),
            usage: MockUsage::default(),
        }
    }

    pub(super) fn events(stream: Stream) -> Self {
        Self::stream("text/event-stream; charset=utf-8", stream)
    }

    pub(super) fn stream(content_type: &'static str, stream: Stream) -> Self {
        Self {
            status: 200,
            content_type,
            headers: Vec::new(),
            answer: Answer::Stream(stream),
            usage: MockUsage::default(),
        }
    }

    /// The outcome of a generated answer that is billed so.
    pub(super) const fn billed(mut self, input: u64, cached: u64, output: u64) -> Self {
        self.usage = MockUsage {
            input,
            cached,
            output,
        };
        self
    }

    /// An error in `shape`.
    pub(in crate::mock) fn refused(refusal: &Refusal, shape: Shape, request_id: &str) -> Self {
        let mut outcome = Self::json(&refusal.body(shape, request_id));
        outcome.status = refusal.status;
        if shape == Shape::Aws {
            let kind = refusal.aws_type().into_owned();
            outcome.headers.push(("x-amzn-errortype", kind));
        }
        outcome
    }
}

/// Reads a body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Object, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::invalid(format!(
            "We could not parse the JSON body of your request: {error}"
        ))
    })
}

/// The first key of `object` that is not among `known`.
pub(super) fn unknown_key<'a>(object: &'a Object, known: &[&str]) -> Option<&'a str> {
    object
        .keys()
        .map(String::as_str)
        .find(|key| !known.contains(key))
}

/// The items of an array, none when it is anything else.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text field; empty when absent or no text.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A number of tokens or of words; beyond 32 bits it is as good as the largest.
pub(super) fn count(value: Option<&Value>) -> Option<u32> {
    let number = value?.as_u64()?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The last words of the user that are any.
pub(super) fn last_user_text(messages: &[Value]) -> String {
    let said = messages.iter().rev();
    said.filter(|message| text(message, "role") == "user")
        .map(|message| content_text(&message["content"]))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// The text of a content: a string, or the `text` of its parts, joined by line ends.
pub(super) fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// Replaces `%XX`; what is no escape stays.
pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One server-sent event.
pub(super) fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// One server-sent event without a name.
pub(super) fn data(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}
