//! OpenAI's responses: the plain document, and the events of a stream with one text.

use std::fmt::Write as _;

use bytes::Bytes;

use super::Reply;
use crate::mock::script::Stream;

/// A response, cut where its text ends.
pub(super) fn response(reply: &Reply) -> (String, String) {
    let item = item_before_text(reply, finished(reply));
    let before = format!(
        "{}{item}{}",
        head(reply, finished(reply)),
        reply.text.escaped()
    );
    let after = format!(r#"{TEXT_END}]}}],{}"#, tail(reply));
    (before, after)
}

/// What follows the text inside its content part.
const TEXT_END: &str = r#"","annotations":[],"logprobs":[]}"#;

/// A streamed response; `padding` is added to every chunk's text.
pub(super) fn stream(reply: &Reply, padding: &str) -> Stream {
    let mut events = Events::default();
    let started = format!(
        r#""response":{}],"usage":null,{REST}"#,
        head(reply, "in_progress")
    );
    events.push("response.created", &started);
    events.push("response.in_progress", &started);
    let item = format!(
        r#""output_index":0,"item":{{"id":"msg_{}","type":"message","status":"in_progress","role":"assistant","content":[]}}"#,
        reply.id
    );
    events.push("response.output_item.added", &item);
    let indices = format!(
        r#""item_id":"msg_{}","output_index":0,"content_index":0"#,
        reply.id
    );
    let part = format!(r#"{indices},"part":{{"type":"output_text","text":"{TEXT_END}"#);
    events.push("response.content_part.added", &part);
    let opening = events.take();

    let mut chunks = Vec::with_capacity(reply.text.len());
    let mut whole = String::new();
    for text in reply.text.chunks() {
        whole.push_str(text);
        whole.push_str(padding);
        let delta = format!(r#"{indices},"delta":"{text}{padding}","logprobs":[]"#);
        events.push("response.output_text.delta", &delta);
        chunks.push(events.take());
    }

    let text_done = format!(r#"{indices},"text":"{whole}","logprobs":[]"#);
    events.push("response.output_text.done", &text_done);
    let part_done = format!(r#"{indices},"part":{{"type":"output_text","text":"{whole}{TEXT_END}"#);
    events.push("response.content_part.done", &part_done);
    let item = format!(
        "{}{whole}{TEXT_END}]}}",
        item_before_text(reply, finished(reply))
    );
    events.push(
        "response.output_item.done",
        &format!(r#""output_index":0,"item":{item}"#),
    );
    let name = if reply.capped {
        "response.incomplete"
    } else {
        "response.completed"
    };
    let response = format!(
        r#""response":{}{item}],{}"#,
        head(reply, finished(reply)),
        tail(reply)
    );
    events.push(name, &response);
    Stream {
        opening,
        chunks,
        closing: events.take(),
    }
}

/// Numbers the events and keeps those not yet taken.
#[derive(Default)]
struct Events {
    text: String,
    sequence: u64,
}

impl Events {
    fn push(&mut self, name: &str, fields: &str) {
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{},{fields}}}\n\n",
            self.sequence
        );
        self.sequence += 1;
    }

    fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.text))
    }
}

fn finished(reply: &Reply) -> &'static str {
    if reply.capped {
        "incomplete"
    } else {
        "completed"
    }
}

/// The response up to its first output item.
fn head(reply: &Reply, status: &str) -> String {
    let incomplete = if status == "incomplete" {
        r#"{"reason":"max_output_tokens"}"#
    } else {
        "null"
    };
    format!(
        r#"{{"id":"resp_{}","object":"response","created_at":{},"status":"{status}","error":null,"incomplete_details":{incomplete},"model":{},"output":["#,
        reply.id, reply.created, reply.model,
    )
}

/// The output item up to its text.
fn item_before_text(reply: &Reply, status: &str) -> String {
    format!(
        r#"{{"id":"msg_{}","type":"message","status":"{status}","role":"assistant","content":[{{"type":"output_text","text":""#,
        reply.id
    )
}

/// The settings that every response repeats, and its end.
const REST: &str = r#""instructions":null,"max_output_tokens":null,"metadata":{},"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"store":false,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","user":null}"#;

/// The response from its output on.
fn tail(reply: &Reply) -> String {
    format!(
        r#""usage":{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":0}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}},{REST}"#,
        reply.input_tokens,
        reply.output_tokens(),
        reply.total_tokens(),
    )
}
