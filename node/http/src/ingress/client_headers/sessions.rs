//! The headers in which clients of other gateways and programs name their conversation.

use grapevine_core::route::{Session, SessionSource};
use http::header::HeaderMap;

use super::SESSION_MAX;

/// Their names, the most certain first.
const HEADERS: [(&str, SessionSource); 5] = [
    ("x-claude-code-session-id", SessionSource::ClaudeCode),
    ("session-id", SessionSource::SessionId),
    ("session_id", SessionSource::SessionId),
    ("x-session-id", SessionSource::XSessionId),
    ("x-session-affinity", SessionSource::XSessionAffinity),
];

/// The conversation that one of them names. They are others' headers: one that cannot be used is not refused, and names
/// nothing.
pub(super) fn of_others(headers: &HeaderMap) -> Option<Session> {
    HEADERS.iter().find_map(|(name, source)| {
        let value = headers.get(*name)?.as_bytes();
        let is_name = (1..=SESSION_MAX).contains(&value.len());
        is_name.then(|| Session::named(*source, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn most_certain_header_names_the_conversation() {
        let mut headers = HeaderMap::new();
        assert_eq!(of_others(&headers), None);
        for (name, source) in HEADERS.iter().rev() {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(name),
            );
            let session = of_others(&headers).expect("a session");
            assert_eq!(session, Session::named(*source, name.as_bytes()));
        }
    }

    #[test]
    fn empty_and_long_names_are_passed_over() {
        let mut headers = HeaderMap::new();
        headers.insert("session-id", HeaderValue::from_static(""));
        let long = "x".repeat(SESSION_MAX + 1);
        headers.insert("x-session-id", long.parse().expect("a value"));
        assert_eq!(of_others(&headers), None);
    }
}
