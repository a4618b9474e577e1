//! Whether a request may be sent to two upstreams at once.
//!
//! Only where nothing is left of it at the one whose answer nobody reads: no stored response or chat, no conversation, no
//! container or other tool that acts at the provider, no file, no batch. What a path or a body is not known for is sent
//! once.

use grapevine_core::native_path::NativePath;
use http::Method;

use crate::scan;

/// Paths whose requests leave nothing.
const LEAVE_NOTHING: [&str; 4] = [
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages/count_tokens",
    "/v1/moderations",
];

/// Whether nothing is left upstream of a request for `path`, which is not for background work, with this `body`.
pub fn leaves_nothing(method: &Method, path: &str, body: &[u8]) -> bool {
    if *method != Method::POST {
        return false;
    }
    let keys = ["store", "conversation", "container", "mcp_servers", "tools"];
    let found = || {
        let values = scan::top_level(body, keys).ok()?;
        Some(values.map(|value| value.map(|at| body.get(at).unwrap_or_default())))
    };
    let is = |value: Option<&[u8]>, word: &str| value.is_some_and(|it| it == word.as_bytes());
    match path {
        "/v1/chat/completions" => found()
            .is_some_and(|[store, ..]| store.is_none() || is(store, "false") || is(store, "null")),
        // Responses are stored unless they say otherwise, and what tools do at the provider is not told by their names.
        "/v1/responses" => found().is_some_and(|[store, conversation, _, _, tools]| {
            is(store, "false") && conversation.is_none() && tools.is_none()
        }),
        "/v1/messages" => found()
            .is_some_and(|[_, _, container, servers, _]| container.is_none() && servers.is_none()),
        path => LEAVE_NOTHING.contains(&path) || NativePath::of(path).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(path: &str, body: &str) -> bool {
        leaves_nothing(&Method::POST, path, body.as_bytes())
    }

    #[test]
    fn what_is_stored_upstream_is_sent_once() {
        for (path, body, may) in [
            ("/v1/chat/completions", r#"{"model":"m"}"#, true),
            (
                "/v1/chat/completions",
                r#"{"model":"m","store":false}"#,
                true,
            ),
            (
                "/v1/chat/completions",
                r#"{"model":"m","store":true}"#,
                false,
            ),
            ("/v1/responses", r#"{"model":"m"}"#, false),
            ("/v1/responses", r#"{"model":"m","store":false}"#, true),
            (
                "/v1/responses",
                r#"{"store":false,"conversation":"c"}"#,
                false,
            ),
            ("/v1/responses", r#"{"store":false,"tools":[]}"#, false),
            ("/v1/messages", r#"{"model":"m","tools":[]}"#, true),
            ("/v1/messages", r#"{"model":"m","container":"c"}"#, false),
            ("/v1/messages", r#"{"model":"m","mcp_servers":[]}"#, false),
            ("/v1/embeddings", r#"{"model":"m"}"#, true),
            ("/v1/conversations", "{}", false),
            ("/v1/files", "", false),
            ("/v1/batches", "{}", false),
            ("/v1/images/generations", r#"{"model":"m"}"#, false),
            ("/v1/chat/completions", "[]", false),
        ] {
            assert_eq!(leaves(path, body), may, "{path} {body}");
        }
        assert!(!leaves_nothing(&Method::GET, "/v1/embeddings", b""));
    }
}
