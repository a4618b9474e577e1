//! What a request's body asks for: model, stream, session. Only the top level is looked at.

use bytes::Bytes;
use grapevine_core::ids::ModelName;
use grapevine_core::route::session;
use http::Method;
use http::header::{self, HeaderMap};

use super::problem::Problem;
use crate::scan::{self, ScanError};

/// What the body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The model, where the request names one.
    pub(super) model: Option<ModelName>,
    /// Whether a stream is asked for.
    pub(super) stream: bool,
    /// Whether the answer is to be made in the background, where a path knows that.
    pub(super) background: bool,
    /// A number that is equal for requests of the same conversation.
    pub(super) session: Option<u64>,
}

/// Paths whose requests are nothing without a model.
const NEED_MODEL: [&str; 8] = [
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
];

/// Reads the body of a request for `path`.
pub(super) fn read(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Head, Problem> {
    let needs_model = *method == Method::POST && NEED_MODEL.contains(&path);
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let head = if let Some(boundary) = scan::form_boundary(content_type) {
        form(body, boundary)?
    } else if needs_model || (!body.is_empty() && is_json(content_type)) {
        json(body)?
    } else if body.trim_ascii_start().starts_with(b"{") {
        // Whatever it calls itself, an upstream may read it as JSON: so do we, where it is.
        json(body).unwrap_or_default()
    } else {
        Head::default()
    };
    if needs_model && head.model.is_none() {
        let message = "the request names no model; set 'model' to one that GET /v1/models lists";
        return Err(Problem::invalid(Some("model"), message));
    }
    Ok(head)
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
}

fn json(body: &[u8]) -> Result<Head, Problem> {
    const KEYS: [&str; 5] = ["model", "stream", "prompt_cache_key", "user", "background"];
    let found = scan::top_level(body, KEYS);
    let [model, stream, cache_key, user, background] = match found {
        Ok(found) => found.map(|range| range.map(|range| &body[range])),
        // A list is no error of its own on paths that need no model; those that do find none in it.
        Err(ScanError::NotAnObject) if body.trim_ascii_start().starts_with(b"[") => [None; 5],
        Err(error) => return Err(Problem::invalid(None, error.to_string())),
    };
    let model = match model {
        None | Some(b"null") => None,
        Some(raw) => match scan::text(raw) {
            Some(text) => Some(name(&text)?),
            None => return Err(Problem::invalid(Some("model"), "'model' must be a string")),
        },
    };
    let conversation = [cache_key, user]
        .into_iter()
        .flatten()
        .find(|raw| raw.len() > 2);
    Ok(Head {
        model,
        stream: stream == Some(b"true"),
        background: background == Some(b"true"),
        session: conversation.map(session),
    })
}

fn form(body: &[u8], boundary: &str) -> Result<Head, Problem> {
    let field = |name: &str| scan::form_field(body, boundary, name).map(|range| &body[range]);
    let model = match field("model").map(std::str::from_utf8) {
        None => None,
        Some(Ok(text)) => Some(name(text)?),
        Some(Err(_)) => return Err(Problem::invalid(Some("model"), "'model' must be text")),
    };
    Ok(Head {
        model,
        stream: field("stream") == Some(b"true"),
        background: false,
        session: None,
    })
}

fn name(text: &str) -> Result<ModelName, Problem> {
    ModelName::new(text)
        .map_err(|error| Problem::invalid(Some("model"), format!("'model' {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_chat(body: &'static str) -> Result<Head, Problem> {
        let body = Bytes::from_static(body.as_bytes());
        read(
            &Method::POST,
            "/v1/chat/completions",
            &HeaderMap::new(),
            &body,
        )
    }

    #[test]
    fn model_stream_and_conversation_are_found() {
        let head = read_chat(r#"{"model":"gpt\u002d4o","stream":true,"user":"u"}"#).expect("valid");
        assert_eq!(head.model.as_ref().map(ModelName::as_str), Some("gpt-4o"));
        assert!(head.stream);
        assert_eq!(head.session, Some(session(b"\"u\"")));
    }

    #[test]
    fn prompt_cache_key_goes_before_user() {
        let head = read_chat(r#"{"user":"u","prompt_cache_key":"k","model":"m"}"#).expect("valid");
        assert_eq!(head.session, Some(session(b"\"k\"")));
    }

    #[test]
    fn chat_without_a_usable_model_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            "nope",
            r#"{"model":null}"#,
            r#"{"model":7}"#,
            r#"{"model":""}"#,
            r#"{"model":"two words"}"#,
            r#"{"model":"m""#,
        ] {
            let problem = read_chat(body).expect_err(body);
            assert_eq!(problem.status, 400, "{body}");
        }
    }

    #[test]
    fn other_paths_need_no_model() {
        let head = read(&Method::GET, "/v1/files", &HeaderMap::new(), &Bytes::new());
        assert_eq!(head, Ok(Head::default()));
    }
}
