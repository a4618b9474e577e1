//! The head of a request or an answer: a line `METHOD PATH`, then lines `name: value`.

use std::time::UNIX_EPOCH;

use grapevine_core::forwarding::{ExtraPath, Forwarding, Methods, OWN_PATHS, PathScope};
use grapevine_node::headers;
use grapevine_node::ingress::probes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Names that must not reach an upstream, in the form of readers that treat `_` as `-`.
const KEPT_BACK: [&str; 16] = [
    "api-key",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-http-method-override",
];

/// A forwarded path reads the same to everybody, and only headers of the request itself are passed on.
pub(crate) fn target(bytes: &[u8]) {
    let (first, rest) = super::line(bytes);
    if let Ok(first) = std::str::from_utf8(first) {
        path(first);
    }
    let Some(sent) = fields(rest) else { return };
    let (id, _) = probes::head(&sent);
    assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    cleaned(sent.clone());
    answer(sent);
}

fn path(line: &str) {
    let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
    // As the HTTP library takes it off the wire.
    let Ok(path) = path.parse::<PathAndQuery>() else {
        return;
    };
    let extra = ExtraPath::new("/v1/*", Methods::ALL).expect("a path to add");
    let Ok(scope) = Forwarding::new(vec![extra]).permit(method, path.path(), path.query()) else {
        return;
    };
    let decoded = decoded(path.path().as_bytes()).expect("whole escapes");
    let decoded = String::from_utf8(decoded).expect("text");
    let doubtful = [
        "//", "/./", "/../", "\\", "%", ";", "?", "#", "\0", "\r", "\n",
    ];
    assert!(
        doubtful.iter().all(|part| !decoded.contains(part)),
        "{decoded}"
    );
    assert!(
        !decoded.ends_with("/.") && !decoded.ends_with("/.."),
        "{decoded}"
    );
    assert!(decoded.starts_with("/v1/"));
    let is_own = |own: &&str| decoded == **own || decoded.starts_with(&format!("{own}/"));
    assert!(!OWN_PATHS.iter().any(is_own), "{decoded}");
    if scope == PathScope::Inference {
        assert_eq!(decoded, path.path());
    }
    for pair in path.query().unwrap_or_default().split('&') {
        let name = pair.split('=').next().unwrap_or_default();
        let name = decoded_lossy(name);
        assert!(
            !name.eq_ignore_ascii_case("model") && name != "_method",
            "{pair}"
        );
    }
}

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = text.iter();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(decoded)
}

fn decoded_lossy(text: &str) -> String {
    let bytes = decoded(text.as_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn fields(lines: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        headers.append(name, value);
    }
    Some(headers)
}

fn cleaned(mut sent: HeaderMap) {
    headers::clean_request(&mut sent);
    for name in sent.keys() {
        let name = name.as_str().replace('_', "-");
        assert!(!KEPT_BACK.contains(&&*name), "{name} is passed on");
        assert!(
            !name.starts_with("x-grapevine-") && !name.starts_with("x-forwarded-"),
            "{name}"
        );
    }
    let once = sent.clone();
    headers::clean_request(&mut sent);
    assert_eq!(sent, once);
}

fn answer(mut sent: HeaderMap) {
    let wait = headers::retry_after(&sent, UNIX_EPOCH);
    assert!(
        wait.is_none() || sent.contains_key("retry-after") || sent.contains_key("retry-after-ms")
    );
    if headers::settle_answer(StatusCode::OK, &mut sent).is_err() {
        return;
    }
    assert!(!sent.contains_key("transfer-encoding") && !sent.contains_key("connection"));
    let lengths: Vec<_> = sent.get_all("content-length").iter().collect();
    assert!(lengths.len() <= 1);
    for length in lengths {
        assert!(!length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit));
    }
}
