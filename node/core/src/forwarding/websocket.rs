//! WebSockets: which paths take them, and the model that their query names.
//!
//! Between nodes and within one, a WebSocket is a request with the method `CONNECT`, as RFC 8441 has it in HTTP/2: a node of an
//! earlier version forwards no such method, so that it can never take one for a plain `GET`.

use std::borrow::Cow;

use super::plain::check_form_with_model;
use super::{NotForwarded, PathScope};

/// The method of a request that opens a WebSocket (RFC 8441, 4).
pub const WEBSOCKET_METHOD: &str = "CONNECT";

/// Paths that take WebSockets.
const PATHS: [&str; 2] = ["/v1/responses", "/v1/realtime"];

/// The parameter that names the model.
const MODEL: &str = "model";

/// Whether a WebSocket may be opened at an upstream.
///
/// # Errors
/// Why it may not.
pub(super) fn permit(path: &str, query: Option<&str>) -> Result<PathScope, NotForwarded> {
    check_form_with_model(path, query)?;
    if !PATHS.contains(&path) {
        return Err(NotForwarded::NoWebSocket);
    }
    websocket_model(query).map(|_| PathScope::WebSocket)
}

/// The model that the query of a WebSocket names, decoded; `None` where it names none.
///
/// # Errors
/// When it names several, or one that is not UTF-8.
pub fn websocket_model(query: Option<&str>) -> Result<Option<Cow<'_, str>>, NotForwarded> {
    let pairs = query.unwrap_or_default().split('&');
    let mut models = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == MODEL).then_some(value)
    });
    let Some(model) = models.next() else {
        return Ok(None);
    };
    if models.next().is_some() || model.contains(['+', ';']) {
        return Err(NotForwarded::Model);
    }
    decoded(model).map(Some).ok_or(NotForwarded::Model)
}

/// `text` without its percent-encoding; `None` where that is broken or the result is not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let bytes = super::plain::decode(text.as_bytes(), |_| true)?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::super::Forwarding;
    use super::*;

    fn permitted(path: &str, query: Option<&str>) -> Result<PathScope, NotForwarded> {
        Forwarding::default().permit(WEBSOCKET_METHOD, path, query)
    }

    #[test]
    fn two_paths_take_websockets_and_no_other_does() {
        for path in ["/v1/responses", "/v1/realtime"] {
            assert_eq!(permitted(path, None), Ok(PathScope::WebSocket), "{path}");
        }
        for path in [
            "/v1/chat/completions",
            "/v1/responses/resp_1",
            "/v1/realtime/",
            "/v1/realtime/sessions",
        ] {
            assert!(permitted(path, None).is_err(), "{path}");
        }
        let plain = Forwarding::default().permit("GET", "/v1/realtime", None);
        assert_eq!(plain, Err(NotForwarded::UnknownPath));
    }

    #[test]
    fn model_of_the_query_is_read_in_one_way_or_refused() {
        let read = |query| websocket_model(Some(query)).map(|model| model.map(Cow::into_owned));
        assert_eq!(read("a=b&model=gpt%2Dx&c"), Ok(Some("gpt-x".to_owned())));
        assert_eq!(read("a=b"), Ok(None));
        for query in [
            "model=a&model=b",
            "model=%ff",
            "model=%zz",
            "model=a+b",
            "model=a;model=b",
            "Model=a",
            "%6dodel=a",
            "model=a&model[]=b",
            "model=a&deployment=b",
        ] {
            assert!(permitted("/v1/realtime", Some(query)).is_err(), "{query}");
        }
    }
}
