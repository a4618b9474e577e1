//! How event streams end: with an error event and a broken connection, or as they should.

use std::time::Duration;

use serde_json::Value;

use crate::client::{EventStream, Next};
use crate::wait::within;

/// Reads a stream that is to be cut off, checks that an error event comes last and that the connection
/// is broken after it, and returns the events before.
///
/// # Panics
///
/// When the stream goes on for longer than `limit`, ends cleanly, or ends without exactly one error event.
pub async fn broken_off(stream: EventStream, limit: Duration) -> Vec<String> {
    let (mut events, end) = within("the end of a cut stream", limit, stream.rest()).await;
    assert!(
        matches!(end, Next::Broken(_)),
        "a cut stream ended cleanly after {events:?}"
    );
    let last = events.pop().unwrap_or_default();
    let error = error_of(&last);
    assert!(
        error.is_some(),
        "a cut stream ended without an error event; the last was {last:?}, then {end:?}"
    );
    let errors = events.iter().filter(|data| error_of(data).is_some());
    assert_eq!(errors.count(), 0, "several errors in {events:?}");
    events
}

/// The error object of an event's data, where it is an error as OpenAI's or Anthropic's API sends it.
#[must_use]
pub fn error_of(data: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(data).ok()?;
    let error = value.get("error").filter(|error| error.is_object())?;
    error["message"].as_str()?;
    Some(error.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_both_shapes_are_known_and_chunks_are_none() {
        let openai = r#"{"error":{"message":"m","type":"t","param":null,"code":null}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#;
        assert!(error_of(openai).is_some() && error_of(anthropic).is_some());
        assert!(error_of(r#"{"choices":[]}"#).is_none() && error_of("[DONE]").is_none());
    }
}
