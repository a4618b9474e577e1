//! Anthropic's messages and token counts.

use bytes::Bytes;

use super::{Ask, Reply};
use crate::mock::script::Stream;

/// A message, cut where its text ends.
pub(super) fn message(reply: &Reply) -> (String, String) {
    let before = format!(
        r#"{{"id":"msg_{}","type":"message","role":"assistant","model":{},"content":[{{"type":"text","text":"{}"#,
        reply.id,
        reply.model,
        reply.text.escaped(),
    );
    let after = format!(
        r#""}}],"stop_reason":"{}","stop_sequence":null,"usage":{}}}"#,
        stop_reason(reply),
        usage(reply, reply.output_tokens()),
    );
    (before, after)
}

/// A streamed message; `padding` is added to every chunk's text.
pub(super) fn stream(reply: &Reply, padding: &str) -> Stream {
    let opening = [
        event(
            "message_start",
            &format!(
                r#","message":{{"id":"msg_{}","type":"message","role":"assistant","model":{},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{}}}"#,
                reply.id,
                reply.model,
                usage(reply, 1),
            ),
        ),
        event(
            "content_block_start",
            r#","index":0,"content_block":{"type":"text","text":""}"#,
        ),
        event("ping", ""),
    ];
    let chunks = reply.text.chunks().map(|text| {
        event(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}{padding}"}}"#),
        )
    });
    let closing = [
        event("content_block_stop", r#","index":0"#),
        event(
            "message_delta",
            &format!(
                r#","delta":{{"stop_reason":"{}","stop_sequence":null}},"usage":{{"output_tokens":{}}}"#,
                stop_reason(reply),
                reply.output_tokens(),
            ),
        ),
        event("message_stop", ""),
    ];
    Stream {
        opening: Bytes::from(opening.concat()),
        chunks: chunks.map(Bytes::from).collect(),
        closing: Bytes::from(closing.concat()),
    }
}

/// What `count_tokens` answers.
pub(super) fn token_count(ask: &Ask) -> String {
    format!(r#"{{"input_tokens":{}}}"#, ask.input_tokens)
}

fn event(name: &str, fields: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{fields}}}\n\n")
}

fn stop_reason(reply: &Reply) -> &'static str {
    if reply.capped {
        "max_tokens"
    } else {
        "end_turn"
    }
}

fn usage(reply: &Reply, output_tokens: usize) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{output_tokens},"service_tier":"standard"}}"#,
        reply.input_tokens,
    )
}
