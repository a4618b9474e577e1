//! OpenAI's chat completions, completions, models and moderations.
//!
//! The documents are written as text around the answer, since the mock is also the backend of the benchmarks.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::json;

use super::ask::{Wire, input_text};
use super::{ApiError, Reply, Turn, quoted};
use crate::mock::script::Stream;

/// The end of every stream of OpenAI's older endpoints.
const DONE: &str = "data: [DONE]\n\n";

/// A chat completion, cut where its text ends.
pub(super) fn chat(reply: &Reply) -> (String, String) {
    let before = format!(
        r#"{{"id":"chatcmpl-{}","object":"chat.completion","created":{},"model":{},"system_fingerprint":"fp_mock","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"#,
        reply.id,
        reply.created,
        reply.model,
        reply.text.escaped(),
    );
    let after = format!(
        r#"","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{}"}}],"usage":{},"service_tier":"default"}}"#,
        finish_reason(reply),
        usage(reply),
    );
    (before, after)
}

/// A streamed chat completion; `padding` is added to every chunk's text.
pub(super) fn chat_stream(reply: &Reply, padding: &str) -> Stream {
    let head = format!(
        r#"data: {{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{},"model":{},"system_fingerprint":"fp_mock","choices":["#,
        reply.id, reply.created, reply.model,
    );
    let end = chunk_end(reply);
    let opening = format!(
        r#"{head}{{"index":0,"delta":{{"role":"assistant","content":"","refusal":null}},"logprobs":null,"finish_reason":null}}{end}"#
    );
    let chunks = reply.text.chunks().map(|text| {
        format!(
            r#"{head}{{"index":0,"delta":{{"content":"{text}{padding}"}},"logprobs":null,"finish_reason":null}}{end}"#
        )
    });
    let closing = format!(
        r#"{head}{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{}"}}{end}"#,
        finish_reason(reply)
    );
    Stream {
        opening: Bytes::from(opening),
        chunks: chunks.map(Bytes::from).collect(),
        closing: closed(closing, &head, reply),
    }
}

/// A completion, cut where its text ends.
pub(super) fn completion(reply: &Reply) -> (String, String) {
    let before = format!(
        r#"{{"id":"cmpl-{}","object":"text_completion","created":{},"model":{},"choices":[{{"text":"{}"#,
        reply.id,
        reply.created,
        reply.model,
        reply.text.escaped(),
    );
    let after = format!(
        r#"","index":0,"logprobs":null,"finish_reason":"{}"}}],"usage":{}}}"#,
        finish_reason(reply),
        usage(reply),
    );
    (before, after)
}

/// A streamed completion; `padding` is added to every chunk's text.
pub(super) fn completion_stream(reply: &Reply, padding: &str) -> Stream {
    let head = format!(
        r#"data: {{"id":"cmpl-{}","object":"text_completion","created":{},"model":{},"choices":["#,
        reply.id, reply.created, reply.model,
    );
    let end = chunk_end(reply);
    let chunks = reply.text.chunks().map(|text| {
        format!(
            r#"{head}{{"text":"{text}{padding}","index":0,"logprobs":null,"finish_reason":null}}{end}"#
        )
    });
    let closing = format!(
        r#"{head}{{"text":"","index":0,"logprobs":null,"finish_reason":"{}"}}{end}"#,
        finish_reason(reply)
    );
    Stream {
        opening: Bytes::new(),
        chunks: chunks.map(Bytes::from).collect(),
        closing: closed(closing, &head, reply),
    }
}

/// The end of a chunk: with usage asked for, every chunk but the last has `null`.
fn chunk_end(reply: &Reply) -> &'static str {
    if reply.include_usage {
        "],\"usage\":null}\n\n"
    } else {
        "]}\n\n"
    }
}

/// Adds the usage chunk, when it was asked for, and the end mark.
fn closed(mut closing: String, head: &str, reply: &Reply) -> Bytes {
    if reply.include_usage {
        // Writing to a String cannot fail.
        let _ = write!(closing, "{head}],\"usage\":{}}}\n\n", usage(reply));
    }
    closing.push_str(DONE);
    Bytes::from(closing)
}

fn finish_reason(reply: &Reply) -> &'static str {
    if reply.capped { "length" } else { "stop" }
}

fn usage(reply: &Reply) -> String {
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        reply.input_tokens,
        reply.output_tokens(),
        reply.total_tokens(),
    )
}

/// The list of models, readable by OpenAI's and by Anthropic's SDKs.
pub(super) fn models(models: &[String], created: u64) -> Bytes {
    let listed: Vec<&String> = models.iter().filter(|model| *model != "*").collect();
    let data: Vec<String> = listed.iter().map(|id| model(id, created)).collect();
    let or_null = |id: Option<&&String>| id.map_or("null".to_owned(), |id| quoted(id));
    Bytes::from(format!(
        r#"{{"object":"list","data":[{}],"has_more":false,"first_id":{},"last_id":{}}}"#,
        data.join(","),
        or_null(listed.first()),
        or_null(listed.last()),
    ))
}

/// One model, readable by OpenAI's and by Anthropic's SDKs.
pub(super) fn model(id: &str, created: u64) -> String {
    let id = quoted(id);
    // Anthropic's time is a text; a fixed one keeps a calendar out of the mock.
    format!(
        r#"{{"id":{id},"object":"model","created":{created},"owned_by":"grapevine-mock","type":"model","display_name":{id},"created_at":"2025-01-01T00:00:00Z"}}"#
    )
}

/// Finds nothing wrong with any input.
pub(super) fn moderations(wire: &Wire, turn: Turn) -> Result<String, ApiError> {
    const CATEGORIES: [&str; 13] = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let input = wire
        .input
        .as_ref()
        .ok_or_else(|| ApiError::missing("input"))?;
    let inputs = match input {
        serde_json::Value::Array(items) if items.iter().all(serde_json::Value::is_string) => {
            items.len()
        }
        serde_json::Value::Array(_) => 1,
        text => input_text(text.clone(), "input").map(|_| 1)?,
    };
    let each = |value: serde_json::Value| -> serde_json::Map<String, serde_json::Value> {
        CATEGORIES
            .iter()
            .map(|c| ((*c).to_owned(), value.clone()))
            .collect()
    };
    let result = json!({
        "flagged": false,
        "categories": each(json!(false)),
        "category_scores": each(json!(0.0)),
        "category_applied_input_types": each(json!(["text"])),
    });
    Ok(json!({
        "id": format!("modr-{}", turn.number),
        "model": wire.model.as_deref().unwrap_or("omni-moderation-latest"),
        "results": vec![result; inputs],
    })
    .to_string())
}
