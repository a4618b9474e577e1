//! What the upstream answers, byte by byte: the load knows by it whether an answer is right.

use std::time::Duration;

/// Models of the upstream: each names the answer that it gives.
pub(crate) const MODELS: [&str; 6] = [
    "bench-json",
    "bench-sse",
    "bench-paced",
    "bench-hold",
    "bench-late-json",
    "bench-late-sse",
];

/// The bytes of an answer that is no stream.
const JSON_BYTES: usize = 1_024;

/// The events of a stream that carry text.
pub(crate) const EVENTS: usize = 100;

/// From one event to the next, of a paced stream.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// Stands at the end of every whole answer's text, so that it is found in what a gateway wrote anew.
pub(crate) const MARK: &str = "the-end-of-the-answer";

/// How a whole stream ends.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A chat completion of exactly [`JSON_BYTES`].
pub(crate) fn json() -> String {
    let answer = |text: &str| {
        format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-json","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}{MARK}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":240,"completion_tokens":180,"total_tokens":420}}}}"#
        )
    };
    let padding = JSON_BYTES.saturating_sub(answer("").len());
    answer(&"word ".repeat(JSON_BYTES)[..padding])
}

/// The events of a stream, the last of them [`DONE`].
pub(crate) fn events(model: &str) -> Vec<String> {
    let event = |delta: &str, reason: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let mut events = vec![event(r#"{"role":"assistant","content":"Here"}"#, "null")];
    let word = event(r#"{"content":" words"}"#, "null");
    events.resize(EVENTS - 1, word);
    events.push(event(&format!(r#"{{"content":" {MARK}"}}"#), "null"));
    events.push(event("{}", r#""stop""#));
    events.push(DONE.to_owned());
    events
}
