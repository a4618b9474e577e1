//! A call in its upstream's dialect.

use std::sync::Arc;

use bytes::Bytes;
use grapevine_base::call_body::CallBody;
use grapevine_base::exchange::Call;
use grapevine_base::headers;
use grapevine_core::dialect::Dialect;
use grapevine_core::segment::push_segment;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;

use super::super::dialects::Crossing;

/// What clients say to the provider of their own dialect alone.
const OF_A_DIALECT: [&str; 5] = ["anthropic-", "openai-", "x-goog-", "x-amz-", "amz-sdk-"];

/// `call` with this `body`, at the path of the upstream's dialect; `None` where that needs a model, and there is none.
pub(super) fn in_dialect(
    call: &Call,
    crossing: Crossing,
    model: Option<&str>,
    body: Bytes,
) -> Option<Call> {
    let path = path(crossing.upstream, model, call.stream)?;
    let headers = headers(&call.headers);
    Some(Call {
        method: Method::POST,
        path,
        headers: Arc::new(headers),
        body: CallBody::from(body),
        ..call.clone()
    })
}

fn path(dialect: Dialect, model: Option<&str>, is_stream: bool) -> Option<PathAndQuery> {
    let of_model = |before: &str, after: &str| {
        let mut path = before.to_owned();
        push_segment(model?, &mut path)?;
        path.push_str(after);
        PathAndQuery::try_from(path).ok()
    };
    match (dialect, is_stream) {
        (Dialect::Chat, _) => Some(PathAndQuery::from_static("/v1/chat/completions")),
        (Dialect::Responses, _) => Some(PathAndQuery::from_static("/v1/responses")),
        (Dialect::Messages, _) => Some(PathAndQuery::from_static("/v1/messages")),
        (Dialect::Gemini, true) => of_model("/v1beta/models/", ":streamGenerateContent?alt=sse"),
        (Dialect::Gemini, false) => of_model("/v1beta/models/", ":generateContent"),
        (Dialect::Converse, true) => of_model("/model/", "/converse-stream"),
        (Dialect::Converse, false) => of_model("/model/", "/converse"),
    }
}

/// The client's headers but those about the body that came, and those for the provider of its own dialect.
fn headers(client: &HeaderMap) -> HeaderMap {
    let mut headers = client.clone();
    headers::remove_all(&mut headers, |name: &HeaderName| {
        let is_of_a_dialect = OF_A_DIALECT
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
        is_of_a_dialect
            || [
                header::CONTENT_LENGTH,
                header::CONTENT_ENCODING,
                header::ACCEPT,
            ]
            .contains(name)
    });
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
    headers
}
