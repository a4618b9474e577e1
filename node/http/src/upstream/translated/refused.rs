//! Answers of this node itself to requests that are not translated. Nobody is to blame for them but the client.

use bytes::Bytes;
use grapevine_base::answer_headers::AnswerHeaders;
use grapevine_base::exchange::Answer;
use grapevine_base::headers;
use grapevine_core::dialect::Dialect;
use grapevine_dialect::hub::error::{ErrorKind, ReportedError};
use grapevine_dialect::{Loss, translate};
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::{Value, json};

use super::super::dialects::Crossing;
use super::{full, written_anew};

/// The code of a request that the upstream's dialect cannot say.
const NOT_TRANSLATABLE: &str = "not_translatable";

/// The code of a request that is none of its dialect.
const INVALID: &str = "invalid_request";

/// The request asks for something that the upstream's dialect cannot say.
pub(super) fn not_said(lost: &Loss, crossing: Crossing) -> Answer {
    let message = format!(
        "{}: {}; the upstream of this model speaks '{}' (send x-grapevine-lossy: allow to go without)",
        lost.path, lost.reason, crossing.upstream
    );
    let mut answer = refused(crossing.client, NOT_TRANSLATABLE, &message);
    let reason = (headers::REASON, headers::NOT_TRANSLATABLE);
    answer.headers.insert(reason.0, reason.1);
    answer
}

/// The request is none of its dialect.
pub(super) fn malformed(client: Dialect, error: &dyn std::error::Error) -> Answer {
    refused(client, INVALID, &error.to_string())
}

fn refused(client: Dialect, code: &str, message: &str) -> Answer {
    let mut error = ReportedError::new(ErrorKind::InvalidRequest, message, client);
    error.code = Some(Value::from(code));
    let grammar = translate::grammar_of(client);
    let mut body = Value::Object(grammar.write_error(&error));
    put_code(client, &mut body, code);
    let mut answer = Answer {
        status: StatusCode::BAD_REQUEST,
        headers: AnswerHeaders::default(),
        body: full(Bytes::from(body.to_string())),
        load: None,
        upload: None,
    };
    written_anew(&mut answer.headers, "application/json");
    let name = grammar.error_name(&error);
    if let Some(name) = name.and_then(|name| HeaderValue::try_from(name).ok()) {
        answer.headers.insert(headers::AMAZON_ERROR, name);
    }
    answer
}

/// Puts an error's code where the dialect has none of its own, as in the errors of the entry node.
pub(super) fn put_code(dialect: Dialect, body: &mut Value, code: &str) {
    match dialect {
        Dialect::Chat | Dialect::Responses => {}
        Dialect::Messages => body["error"]["code"] = json!(code),
        Dialect::Gemini => {
            body["error"]["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": code,
                "domain": "grapevine",
            }]);
        }
        Dialect::Converse => body["code"] = json!(code),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn refusal_names_its_kind_where_amazons_clients_look() {
        let of = |client| refused(client, NOT_TRANSLATABLE, "top_k: no");
        let refusal = of(Dialect::Converse);
        assert_eq!(
            refusal.headers[headers::AMAZON_ERROR],
            "ValidationException"
        );
        assert!(
            !of(Dialect::Chat)
                .headers
                .contains_key(headers::AMAZON_ERROR)
        );
    }

    #[tokio::test]
    async fn refusal_has_its_code_in_the_body_of_every_dialect() {
        for (client, place) in [
            (Dialect::Chat, "/error/code"),
            (Dialect::Responses, "/error/code"),
            (Dialect::Messages, "/error/code"),
            (Dialect::Gemini, "/error/details/0/reason"),
            (Dialect::Converse, "/code"),
        ] {
            let refusal = refused(client, NOT_TRANSLATABLE, "top_k: no");
            let body = refusal.body.collect().await.expect("a body").to_bytes();
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let code = body.pointer(place).and_then(Value::as_str);
            assert_eq!(code, Some(NOT_TRANSLATABLE), "{client} {body}");
        }
    }
}
