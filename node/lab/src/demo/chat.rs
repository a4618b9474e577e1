//! One chat request at one node, as a user's program would send it, and its outcome.
//!
//! An answer counts only when it is whole: status 200, ended as the API requires (a finish reason, and `[DONE]` for a
//! stream), and word for word the text of the mock upstream that the headers name.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use grapevine_base::causes;

use crate::mock::answer_text;

/// The requested model.
pub(super) const MODEL: &str = "gpt-4o";

/// A request that takes longer than this got no answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The answer's route, from its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AnswerHeaders {
    /// The node that owns the upstream.
    pub(super) node: String,
    /// The upstream that answered.
    pub(super) upstream: String,
    /// How many attempts it took; 1 when none failed.
    pub(super) attempts: u32,
}

/// The outcome of one try at one node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TryEnd {
    /// A whole answer.
    Answered {
        way: AnswerHeaders,
        /// From sending to the first byte of the answer's body.
        first_byte: Duration,
    },
    /// An error answer.
    Refused { status: u16, text: String },
    /// The connection failed before the head of an answer.
    NoAnswer { text: String },
    /// The answer broke off after its head. `is_reported` when the client can know: a stream by an error event
    /// before the break, a document by its missing end.
    Broken {
        way: AnswerHeaders,
        is_reported: bool,
        text: String,
    },
    /// An answer that looks good and is not: cut short without an error, or with the wrong text.
    Wrong { way: AnswerHeaders, text: String },
}

/// Sends one chat request to the node at `base_url` and reads its answer.
pub(super) async fn ask(
    http: &reqwest::Client,
    base_url: &str,
    text: &str,
    streamed: bool,
    words: u32,
) -> TryEnd {
    let body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "stream": streamed,
    });
    let sent = Instant::now();
    let request = http.post(format!("{base_url}/chat/completions"));
    let sending = request.json(&body).timeout(ANSWER_LIMIT).send();
    let mut response = match sending.await {
        Ok(response) => response,
        Err(error) => {
            return TryEnd::NoAnswer {
                text: causes::joined(&error),
            };
        }
    };
    let status = response.status().as_u16();
    let way = way(response.headers());
    let mut reading = Reading::default();
    let mut first_byte = None;
    let broken = loop {
        match response.chunk().await {
            Ok(Some(bytes)) => {
                first_byte.get_or_insert_with(|| sent.elapsed());
                if !reading.push(&bytes) {
                    break Some("the answer is too long".to_owned());
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(causes::joined(&error)),
        }
    };
    if status != 200 {
        let text = String::from_utf8_lossy(&reading.bytes).into_owned();
        return TryEnd::Refused { status, text };
    }
    let first_byte = first_byte.unwrap_or_else(|| sent.elapsed());
    judge(&reading, streamed, broken, way, first_byte, |upstream| {
        answer_text(upstream, text, words)
    })
}

#[derive(Debug, Default)]
struct Reading {
    bytes: Vec<u8>,
}

impl Reading {
    /// Takes more of the body; false when it is too long.
    fn push(&mut self, bytes: &Bytes) -> bool {
        self.bytes.extend_from_slice(bytes);
        self.bytes.len() <= ANSWER_BYTES_MAX
    }
}

fn judge(
    reading: &Reading,
    streamed: bool,
    broken: Option<String>,
    way: AnswerHeaders,
    first_byte: Duration,
    expected: impl FnOnce(&str) -> String,
) -> TryEnd {
    let content = if streamed {
        read_stream(&reading.bytes)
    } else {
        read_document(&reading.bytes)
    };
    if let Some(error) = content.error {
        let is_reported = true;
        let text = error;
        return TryEnd::Broken {
            way,
            is_reported,
            text,
        };
    }
    if let Some(text) = broken {
        let is_reported = !streamed;
        return TryEnd::Broken {
            way,
            is_reported,
            text,
        };
    }
    if !content.is_finished {
        let text = "the answer ended cleanly before its end".to_owned();
        return TryEnd::Wrong { way, text };
    }
    if content.text != expected(&way.upstream) {
        let text = format!("not the text of {}: {}", way.upstream, content.text);
        return TryEnd::Wrong { way, text };
    }
    TryEnd::Answered { way, first_byte }
}

/// The content of an answer's body.
#[derive(Debug, Default, PartialEq, Eq)]
struct SseText {
    text: String,
    is_finished: bool,
    error: Option<String>,
}

fn read_document(bytes: &[u8]) -> SseText {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let choice = &document["choices"][0];
    SseText {
        text: choice["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        is_finished: choice["finish_reason"].is_string(),
        error: None,
    }
}

/// Puts the events of a whole chat stream together.
fn read_stream(bytes: &[u8]) -> SseText {
    let mut content = SseText::default();
    let (mut has_reason, mut is_done) = (false, false);
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some(data) = line.strip_prefix("data:").map(str::trim) else {
            continue;
        };
        if data == "[DONE]" {
            is_done = true;
            continue;
        }
        // A line cut by a break is no JSON, and is skipped.
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if !event["error"].is_null() {
            content.error = Some(
                event["error"]["message"]
                    .as_str()
                    .unwrap_or(data)
                    .to_owned(),
            );
        }
        let choice = &event["choices"][0];
        content
            .text
            .push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        has_reason |= choice["finish_reason"].is_string();
    }
    content.is_finished = has_reason && is_done;
    content
}

fn way(headers: &HeaderMap) -> AnswerHeaders {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    AnswerHeaders {
        node: text("x-grapevine-node"),
        upstream: text("x-grapevine-upstream"),
        attempts: text("x-grapevine-attempts").parse().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_WORDS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a \"}}]}\n\n\
                             data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n";
    const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn stream_end(body: &str, broken: Option<&str>) -> TryEnd {
        let reading = Reading {
            bytes: body.as_bytes().to_vec(),
        };
        let broken = broken.map(str::to_owned);
        judge(
            &reading,
            true,
            broken,
            AnswerHeaders::default(),
            Duration::ZERO,
            |_| "a b".to_owned(),
        )
    }

    #[test]
    fn a_whole_stream_is_an_answer() {
        let end = stream_end(&[TWO_WORDS, FINISH, DONE].concat(), None);
        assert!(matches!(end, TryEnd::Answered { .. }), "{end:?}");
    }

    #[test]
    fn a_clean_end_without_reason_or_mark_is_wrong() {
        for body in [
            TWO_WORDS,
            &[TWO_WORDS, FINISH].concat(),
            &[TWO_WORDS, DONE].concat(),
            "",
        ] {
            let end = stream_end(body, None);
            assert!(matches!(end, TryEnd::Wrong { .. }), "{body}: {end:?}");
        }
    }

    #[test]
    fn a_stream_with_another_text_is_wrong() {
        let end = stream_end(&[TWO_WORDS, TWO_WORDS, FINISH, DONE].concat(), None);
        assert!(matches!(end, TryEnd::Wrong { .. }), "{end:?}");
    }

    #[test]
    fn a_break_is_reported_when_an_error_event_came_before_it() {
        let error = "data: {\"error\":{\"message\":\"upstream died\"}}\n\n";
        let end = stream_end(&[TWO_WORDS, error].concat(), Some("reset"));
        let TryEnd::Broken {
            is_reported, text, ..
        } = end
        else {
            panic!("{end:?}")
        };
        assert_eq!((is_reported, text.as_str()), (true, "upstream died"));
        let end = stream_end(&[TWO_WORDS, "data: {\"cho"].concat(), Some("reset"));
        let TryEnd::Broken {
            is_reported, text, ..
        } = end
        else {
            panic!("{end:?}")
        };
        assert_eq!((is_reported, text.as_str()), (false, "reset"));
    }

    #[test]
    fn a_document_needs_its_text_and_its_reason() {
        let whole = br#"{"choices":[{"message":{"content":"a b"},"finish_reason":"stop"}]}"#;
        let content = read_document(whole);
        assert_eq!((content.text.as_str(), content.is_finished), ("a b", true));
        assert!(!read_document(b"{}").is_finished);
        assert!(!read_document(b"garbage").is_finished);
    }
}
