//! The headers in which clients of other gateways and programs name their conversation.

use grapevine_core::route::{Session, SessionSource};
use http::header::{HeaderName, HeaderValue};

use super::SESSION_MAX;

/// The conversation that a header names. It is others' header: one that cannot be used is not refused, and names
/// nothing.
pub(super) fn named_by(name: &HeaderName, value: &HeaderValue) -> Option<Session> {
    let source = match name.as_str() {
        "x-claude-code-session-id" => SessionSource::ClaudeCode,
        "session-id" | "session_id" => SessionSource::SessionId,
        "x-session-id" => SessionSource::XSessionId,
        "x-session-affinity" => SessionSource::XSessionAffinity,
        _ => return None,
    };
    let value = value.as_bytes();
    let is_name = (1..=SESSION_MAX).contains(&value.len());
    is_name.then(|| Session::named(source, value))
}

#[cfg(test)]
mod tests {
    use super::super::options;
    use super::*;
    use http::HeaderMap;

    /// The most certain first.
    const NAMES: [(&str, SessionSource); 5] = [
        ("x-grapevine-session-id", SessionSource::Own),
        ("x-claude-code-session-id", SessionSource::ClaudeCode),
        ("session_id", SessionSource::SessionId),
        ("x-session-id", SessionSource::XSessionId),
        ("x-session-affinity", SessionSource::XSessionAffinity),
    ];

    #[test]
    fn most_certain_header_names_the_conversation() {
        let mut headers = HeaderMap::new();
        for (name, source) in NAMES.iter().rev() {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(name),
            );
            let session = options(&headers).expect("good headers").session;
            assert_eq!(session, Some(Session::named(*source, name.as_bytes())));
        }
    }

    #[test]
    fn empty_and_long_names_are_passed_over() {
        let long = "x".repeat(SESSION_MAX + 1);
        for value in ["", &long] {
            let value = value.parse().expect("a value");
            assert_eq!(
                named_by(&HeaderName::from_static("session-id"), &value),
                None
            );
        }
    }
}
