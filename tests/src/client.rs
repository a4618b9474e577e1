//! A plain client: requests with all of their answer, and event streams one event at a time.

use std::sync::Once;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::node::Node;
use crate::wait::must;

/// Longer than any answer that a test waits for: a request that takes this long hangs.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// The largest part of a stream that is kept while looking for the end of an event.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// A client with its own connections that follows no redirect, uses no proxy and trusts no certificate:
/// reading the system's would take longer than a request.
///
/// # Panics
///
/// When it cannot be built, which needs a broken TLS set-up.
#[must_use]
pub fn http() -> reqwest::Client {
    install_crypto();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST_LIMIT)
        .tcp_nodelay(true);
    must("building an HTTP client", builder.build())
}

/// Chooses ring for TLS in this process, once.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider was chosen before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes as they came.
    pub body: Bytes,
    /// From sending to the last byte.
    pub elapsed: Duration,
}

impl Answer {
    /// A header's value, or an empty text when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let what = format!("reading JSON from {:?}", self.text());
        must(&what, serde_json::from_slice(&self.body))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first choice of a chat completion, or an empty text.
    #[must_use]
    pub fn content(&self) -> String {
        self.json()["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_string()
    }
}

/// The JSON body of a chat request with one user message.
#[must_use]
pub fn chat_body(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

/// The content type and the body of an upload of a batch's lines to `/v1/files`.
#[must_use]
pub fn batch_form(lines: &str) -> (&'static str, String) {
    let part = |head: &str, content: &str| {
        format!("--edge\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n")
    };
    let form = part("name=\"purpose\"", "batch")
        + &part("name=\"file\"; filename=\"lines.jsonl\"", lines)
        + "--edge--\r\n";
    ("multipart/form-data; boundary=edge", form)
}

/// Asks a node for a chat completion. No error but a whole answer is expected.
///
/// # Panics
///
/// When no whole answer comes; see [`try_post`] where that is what is tested.
pub async fn chat(node: &Node, model: &str, text: &str) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    must(
        &format!("a chat at {}", node.name()),
        try_post(&http(), &url, &chat_body(model, text)).await,
    )
}

/// Posts JSON and reads the whole answer.
///
/// # Errors
///
/// When the connection fails, breaks in the answer, or takes longer than [`REQUEST_LIMIT`].
pub async fn try_post(
    client: &reqwest::Client,
    url: &str,
    body: &Value,
) -> reqwest::Result<Answer> {
    whole(client.post(url).json(body)).await
}

/// Gets a page.
///
/// # Errors
///
/// As [`try_post`].
pub async fn try_get(client: &reqwest::Client, url: &str) -> reqwest::Result<Answer> {
    whole(client.get(url)).await
}

/// Sends any request and reads the whole answer.
///
/// # Errors
///
/// As [`try_post`].
pub async fn whole(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let start = Instant::now();
    let response = request.send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().await?;
    Ok(Answer {
        status,
        headers,
        body,
        elapsed: start.elapsed(),
    })
}

/// A streamed answer, read one event at a time. Dropping it hangs up.
#[derive(Debug)]
pub struct EventStream {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    buffer: Vec<u8>,
}

/// What comes next on a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// An event's data, and its name where it has one.
    Event {
        /// The `event:` line's value; empty where there is none.
        name: String,
        /// The `data:` lines' values, joined.
        data: String,
    },
    /// The body ended as HTTP requires.
    CleanEnd,
    /// The connection broke before the body's end, with the reason.
    Broken(String),
}

impl EventStream {
    /// Starts a streamed chat at a node.
    ///
    /// # Panics
    ///
    /// When no head of an answer comes.
    pub async fn chat(node: &Node, model: &str, text: &str) -> Self {
        let mut body = chat_body(model, text);
        body["stream"] = Value::Bool(true);
        Self::post(&format!("{}/chat/completions", node.base_url()), &body).await
    }

    /// Starts any streamed request, on a connection of its own.
    ///
    /// # Panics
    ///
    /// When no head of an answer comes.
    pub async fn post(url: &str, body: &Value) -> Self {
        let response = must(
            &format!("a stream from {url}"),
            http().post(url).json(body).send().await,
        );
        Self::of(response)
    }

    /// Reads an answer whose head has come as a stream of events.
    #[must_use]
    pub fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            response,
            buffer: Vec::new(),
        }
    }

    /// A header's value, or an empty text when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// Waits for the next event or the end. Comments are passed over.
    ///
    /// # Panics
    ///
    /// When an event is larger than a mebibyte.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(event) = take_event(&mut self.buffer) {
                return event;
            }
            assert!(self.buffer.len() < EVENT_BYTES_MAX, "an event has no end");
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => return Next::CleanEnd,
                Err(error) => return Next::Broken(format!("{error:?}")),
            }
        }
    }

    /// Reads to the end: all events' data, and how the stream ended.
    pub async fn rest(mut self) -> (Vec<String>, Next) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Next::Event { data, .. } => all.push(data),
                end => return (all, end),
            }
        }
    }
}

/// The text that chat completion chunks add up to. `[DONE]` and errors add nothing.
#[must_use]
pub fn streamed_text(events: &[String]) -> String {
    events
        .iter()
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_string)
        })
        .collect()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

// Takes the first whole event out of `buffer`. Lines end in LF or CRLF.
fn take_event(buffer: &mut Vec<u8>) -> Option<Next> {
    let mut name = String::new();
    let mut data: Vec<String> = Vec::new();
    let mut start = 0;
    while let Some(length) = buffer[start..].iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&buffer[start..start + length]).into_owned();
        let line = line.trim_end_matches('\r');
        start += length + 1;
        if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value).to_string());
        } else if let Some(value) = line.strip_prefix("event:") {
            name = value.trim().to_string();
        } else if line.is_empty() && !data.is_empty() {
            buffer.drain(..start);
            return Some(Next::Event {
                name,
                data: data.join("\n"),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Option<Next> {
        Some(Next::Event {
            name: name.to_string(),
            data: data.to_string(),
        })
    }

    #[test]
    fn events_are_taken_whole_and_comments_are_passed_over() {
        let mut buffer =
            b": ping\n\ndata: one\n\nevent: error\r\ndata: two\r\n\r\ndata: thr".to_vec();
        assert_eq!(take_event(&mut buffer), event("", "one"));
        assert_eq!(take_event(&mut buffer), event("error", "two"));
        assert_eq!(take_event(&mut buffer), None);
        assert_eq!(buffer, b"data: thr");
    }

    #[test]
    fn text_is_the_sum_of_the_deltas() {
        let chunk = |text: &str| json!({"choices": [{"delta": {"content": text}}]}).to_string();
        let events = [chunk("a "), chunk("b"), "[DONE]".to_string()];
        assert_eq!(streamed_text(&events), "a b");
    }
}
