//! Header names and rules that more than one shell follows: what travels, what does not.

use std::time::{Duration, SystemTime};

use grapevine_core::retry_after;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The prefix of every header of our own.
pub const OWN_PREFIX: &str = "x-grapevine-";

/// Names a request for the operator and the client.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Anthropic's (and others') header for a credential.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The nodes that a request already passed (RFC 8586).
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// A wait in milliseconds, as OpenAI's SDKs read it.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The header in which clients of Azure's APIs send their key.
pub const AZURE_KEY: HeaderName = HeaderName::from_static("api-key");

/// The header in which clients of Google's APIs send their key.
pub const GOOGLE_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Of a translated answer: the client's dialect and the upstream's.
pub const DIALECT: HeaderName = HeaderName::from_static("x-grapevine-dialect");

/// Of a translated answer: what of the request the upstream's dialect could not say.
pub const LOST: HeaderName = HeaderName::from_static("x-grapevine-lost");

/// Of a translated error: the beginning of the upstream's own.
pub const UPSTREAM_ERROR: HeaderName = HeaderName::from_static("x-grapevine-upstream-error");

/// Of the 429 by which the owner of an upstream says that it was not asked: the account whose limit is reached.
pub const ACCOUNT_LIMIT: HeaderName = HeaderName::from_static("x-grapevine-account-limit");

/// Why an answer is what it is: what chose its upstream, or the code of an error of ours.
pub const REASON: HeaderName = HeaderName::from_static("x-grapevine-reason");

/// The reason of a request that the upstream's dialect cannot say.
pub const NOT_TRANSLATABLE: HeaderValue = HeaderValue::from_static("not_translatable");

/// Where clients of Bedrock find the name of an error.
pub const AMAZON_ERROR: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The coding of what is not encoded (RFC 9110 12.5.3).
pub const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

// Lists of names are functions of their text: the compiler compares lengths first, which takes a quarter of what it takes
// to search a list of `HeaderName`s.

/// Headers that are read by their names, in whichever form they are.
pub trait ReadHeaders {
    /// The first value of `name`.
    fn value_of(&self, name: &HeaderName) -> Option<&[u8]>;
}

impl ReadHeaders for HeaderMap {
    fn value_of(&self, name: &HeaderName) -> Option<&[u8]> {
        self.get(name).map(HeaderValue::as_bytes)
    }
}

/// Headers about one connection (RFC 9110 7.6.1), in addition to those that `Connection` names.
pub(crate) fn names_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// What a client authenticates with; it is for this node and goes no further.
fn names_credential(name: &str) -> bool {
    matches!(
        name,
        "api-key"
            | "authorization"
            | "cookie"
            | "x-amz-security-token"
            | "x-api-key"
            | "x-goog-api-key"
    )
}

/// Headers that describe the client rather than the request, or that are made anew; in addition to them, all
/// that begin with `x-forwarded-`.
fn names_what_is_made_anew(name: &str) -> bool {
    matches!(
        name,
        "content-length" | "expect" | "forwarded" | "host" | "x-real-ip"
    )
}

/// How a body is to be read.
fn names_framing(name: &str) -> bool {
    matches!(name, "connection" | "content-encoding" | "content-type")
}

/// Headers by which some servers take another method or path than the request line's.
const REQUEST_OVERRIDES: [&str; 6] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// The body's length in bytes, as in the head; `None` where the head has none or it cannot be read.
pub fn content_length(headers: &impl ReadHeaders) -> Option<u64> {
    let length = headers.value_of(&header::CONTENT_LENGTH)?;
    std::str::from_utf8(length).ok()?.parse().ok()
}

/// Why the head of an answer cannot be passed on: where its body ends would be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// It is no final answer, and no upgrade was asked for.
    #[error("the answer switches protocols, or is none")]
    NotFinal,
    /// It has both.
    #[error("the answer has Content-Length and Transfer-Encoding")]
    TwoFramings,
    /// It is transferred otherwise than in plain chunks.
    #[error("the answer's Transfer-Encoding is not 'chunked' alone")]
    Coding,
    /// The length is none, or there are two.
    #[error("the answer's Content-Length is not one number")]
    Length,
    /// It is larger than a frame between nodes.
    #[error("the answer's headers are larger than 64 KiB")]
    TooLarge,
}

/// Bytes of all names and values of an answer's head; as many as a frame between nodes takes.
pub(crate) const ANSWER_HEADER_BYTES_MAX: usize = 64 * 1_024;

/// Removes from an answer's head what is about the connection it came on; its length is left once.
///
/// # Errors
/// When it cannot be passed on.
pub fn settle_answer(status: StatusCode, headers: &mut HeaderMap) -> Result<(), AnswerFault> {
    if status.is_informational() {
        return Err(AnswerFault::NotFinal);
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > ANSWER_HEADER_BYTES_MAX {
        return Err(AnswerFault::TooLarge);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(AnswerFault::TwoFramings);
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(AnswerFault::Coding);
        }
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        let mut is_repeated = false;
        let mut differs = |other| {
            is_repeated = true;
            other != length
        };
        if !is_number || lengths.any(&mut differs) {
            return Err(AnswerFault::Length);
        }
        if is_repeated {
            let length = length.clone();
            headers.insert(header::CONTENT_LENGTH, length);
        }
    }
    strip_hop_by_hop(headers);
    Ok(())
}

/// Whether an answer of `status` has no body, whatever its head contains (RFC 9110, 6.4.1).
pub fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status.as_u16(), 204 | 304)
}

/// Removes the headers that are about one connection only.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_with_hop_by_hop(headers, |_| false);
}

/// Removes the headers that are about one connection only, and those for which `is_removed`; what `Connection` names is
/// found before it is removed itself.
pub fn strip_with_hop_by_hop(headers: &mut HeaderMap, is_removed: impl Fn(&HeaderName) -> bool) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    remove_all(headers, |name| is_hop_by_hop(name) || is_removed(name));
}

/// Whether a header is about one connection only; those that `Connection` names are too.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    names_hop_by_hop(name.as_str().as_bytes())
}

/// Whether a client authenticates with it.
pub fn is_credential(name: &HeaderName) -> bool {
    names_credential(name.as_str())
}

/// Leaves the headers that an upstream may see, out of those of a client or of a peer.
pub fn clean_request(headers: &mut HeaderMap) {
    strip_with_hop_by_hop(headers, |name| {
        is_credential(name) || names_what_is_made_anew(name.as_str()) || is_kept_back(name)
    });
}

/// Removes those for which `is_removed`. Looks at each header that is there once: asking for each that may not be
/// there takes a hash for every name.
pub fn remove_all(headers: &mut HeaderMap, is_removed: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_removed(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a header is our own, or would have an upstream serve another request than the one that was
/// looked at. Servers that pass headers on as variables read `_` as `-`.
fn is_kept_back(name: &HeaderName) -> bool {
    let is_named = |name: &str| {
        name.starts_with(OWN_PREFIX)
            || name.starts_with("x-forwarded-")
            || REQUEST_OVERRIDES.contains(&name)
    };
    let name = name.as_str();
    if !name.as_bytes().contains(&b'_') {
        return is_named(name);
    }
    let name = name.replace('_', "-");
    is_named(&name)
        || names_framing(&name)
        || names_credential(&name)
        || names_hop_by_hop(name.as_bytes())
        || names_what_is_made_anew(&name)
}

/// Whether the serving node says by the header called `name` how it translated an answer.
pub fn names_translation(name: &[u8]) -> bool {
    let names = [DIALECT, LOST, UPSTREAM_ERROR];
    names.iter().any(|one| one.as_str().as_bytes() == name)
}

/// Whether the body is of this media type, whatever its parameters.
pub fn is_media_type(headers: &impl ReadHeaders, media_type: &str) -> bool {
    MediaType::of(headers).is(media_type)
}

/// What a body is, as its head says.
#[derive(Clone, Copy, Debug)]
pub struct MediaType<'a>(Option<&'a [u8]>);

impl<'a> MediaType<'a> {
    /// What `headers` say.
    pub fn of(headers: &'a impl ReadHeaders) -> Self {
        Self(headers.value_of(&header::CONTENT_TYPE))
    }

    /// Whether it is this one, whatever its parameters.
    pub fn is(self, media_type: &str) -> bool {
        let start = self.0.and_then(|kind| kind.get(..media_type.len()));
        start.is_some_and(|start| start.eq_ignore_ascii_case(media_type.as_bytes()))
    }
}

/// Whether a header is one of our own.
pub fn is_own(name: &HeaderName) -> bool {
    names_own(name.as_str().as_bytes())
}

/// Whether a header called `name` is one of our own.
pub fn names_own(name: &[u8]) -> bool {
    name.starts_with(OWN_PREFIX.as_bytes())
}

/// The wait that an answer asks for: `retry-after-ms`, else `Retry-After` in seconds or as a
/// date measured against `now`. `None` when there is none, or it cannot be read.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(value) = text(&RETRY_AFTER_MS).and_then(retry_after::milliseconds) {
        return Some(value);
    }
    let value = text(&header::RETRY_AFTER)?;
    if let Some(value) = retry_after::seconds(value) {
        return Some(value);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Adds `token` to the nodes a request passed.
pub fn mark_passed(headers: &mut HeaderMap, token: &HeaderValue) {
    headers.append(CDN_LOOP, token.clone());
}

/// Whether a request already passed a node that marks itself with `token`.
pub fn has_passed(headers: &HeaderMap, token: &HeaderValue) -> bool {
    headers
        .get_all(CDN_LOOP)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|entry| entry.split(|byte| *byte == b';').next().unwrap_or_default())
        .any(|entry| entry.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().expect("a valid name");
            (name, HeaderValue::from_str(value).expect("a valid value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn answer_states_its_length_once_or_not_at_all() {
        let settle = |status: u16, pairs: &[(&str, &str)]| {
            let mut headers = map(pairs);
            let status = StatusCode::from_u16(status).expect("a status");
            settle_answer(status, &mut headers).map(|()| headers)
        };
        let (length, coding) = ("content-length", "transfer-encoding");
        assert_eq!(settle(101, &[]), Err(AnswerFault::NotFinal));
        let both = [(length, "3"), (coding, "chunked")];
        assert_eq!(settle(200, &both), Err(AnswerFault::TwoFramings));
        for codings in [&["gzip"][..], &["gzip, chunked"], &["chunked", "chunked"]] {
            let pairs: Vec<_> = codings.iter().map(|it| (coding, *it)).collect();
            assert_eq!(settle(200, &pairs), Err(AnswerFault::Coding));
        }
        for lengths in [
            &["3", "4"][..],
            &["3, 3"],
            &["-3"],
            &["+3"],
            &[""],
            &["0x3"],
        ] {
            let pairs: Vec<_> = lengths.iter().map(|it| (length, *it)).collect();
            assert_eq!(settle(200, &pairs), Err(AnswerFault::Length), "{lengths:?}");
        }
        let large = "a".repeat(ANSWER_HEADER_BYTES_MAX);
        assert_eq!(settle(200, &[("x-a", &large)]), Err(AnswerFault::TooLarge));
        assert_eq!(
            settle(200, &[(length, "3"), (length, "3")]),
            Ok(map(&[(length, "3")]))
        );
        assert_eq!(settle(200, &[(coding, "Chunked")]), Ok(map(&[])));
    }

    #[test]
    fn headers_that_connection_names_do_not_travel() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-kept", "1")]));
    }

    #[test]
    fn own_headers_and_credentials_are_removed() {
        let mut headers = map(&[
            ("x-grapevine-internal", "1"),
            ("x-grapevine-node", "n"),
            ("authorization", "Bearer k"),
            ("x-api-key", "k"),
            ("cookie", "c"),
            ("accept", "*/*"),
        ]);
        remove_all(&mut headers, is_own);
        remove_all(&mut headers, is_credential);
        assert_eq!(headers, map(&[("accept", "*/*")]));
    }

    #[test]
    fn nothing_in_a_request_makes_an_upstream_serve_another() {
        let mut headers = map(&[
            ("content-type", "application/json"),
            ("content_type", "multipart/form-data; boundary=b"),
            ("content_length", "1"),
            ("transfer_encoding", "chunked"),
            ("x_api_key", "k"),
            ("x_grapevine_hops", "0"),
            ("x-grapevine-hops", "0"),
            ("x-http-method-override", "DELETE"),
            ("x_http_method_override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("x-forwarded-prefix", "/admin"),
            ("x_forwarded_for", "127.0.0.1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "1"),
            ("host", "other"),
            ("authorization", "Bearer k"),
            ("connection", "x-named"),
            ("x-named", "1"),
            ("session_id", "s"),
            ("anthropic-version", "2023-06-01"),
        ]);
        clean_request(&mut headers);
        let kept = map(&[
            ("content-type", "application/json"),
            ("session_id", "s"),
            ("anthropic-version", "2023-06-01"),
        ]);
        assert_eq!(headers, kept);
    }

    #[test]
    fn retry_after_is_read_in_all_three_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let delay = |pairs: &[(&str, &str)]| retry_after(&map(pairs), now);
        assert_eq!(delay(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            delay(&[("retry-after", "7"), ("retry-after-ms", "250")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            delay(&[("retry-after", "Sun, 09 Sep 2001 01:46:45 GMT")]),
            Some(Duration::from_secs(5))
        );
        assert_eq!(
            delay(&[("retry-after", "Sun, 09 Sep 2001 01:46:35 GMT")]),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn unreadable_retry_after_is_ignored() {
        for text in ["-1", "soon", "NaN", "1e999", ""] {
            assert_eq!(
                retry_after(&map(&[("retry-after", text)]), UNIX_EPOCH),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn passed_node_is_found_among_others_with_parameters() {
        let token = HeaderValue::from_static("grapevine");
        let mut headers = map(&[("cdn-loop", "cdn.example; v=1, GRAPEVINE;n=2")]);
        assert!(has_passed(&headers, &token));
        headers = map(&[("cdn-loop", "grapevine2, other")]);
        assert!(!has_passed(&headers, &token));
        mark_passed(&mut headers, &token);
        assert!(has_passed(&headers, &token));
    }
}
