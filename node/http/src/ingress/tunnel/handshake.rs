//! What a client's opening handshake says (RFC 6455, 4.2.1; RFC 8441, 5).

use grapevine_base::http1::lists;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Uri, Version};

use crate::ingress::cors::Cors;
use crate::ingress::problem::Problem;
use crate::websocket::{self, VERSION};

/// How OpenAI's clients in browsers, which can set no header, send a key: as a subprotocol with this prefix.
const KEY_PREFIX: &str = "openai-insecure-api-key.";

/// A handshake that may be answered.
#[derive(Debug)]
pub(in crate::ingress) struct Handshake {
    /// The answer to its key; `None` over HTTP/2, which has no keys.
    pub(in crate::ingress) accept: Option<HeaderValue>,
}

/// Reads the handshake of `head`. The key among its subprotocols, if any, moves to where others send theirs; it goes no further.
///
/// # Errors
/// What is wrong with it.
pub(in crate::ingress) fn read(head: &mut Parts, cors: &Cors) -> Result<Handshake, Problem> {
    let mut versions = head.headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
    if versions.next() != Some(&VERSION) || versions.next().is_some() {
        return Err(Problem::websocket_version());
    }
    let accept = match head.version {
        Version::HTTP_2 => None,
        _ => Some(accept(&head.headers)?),
    };
    check_origin(head, cors)?;
    take_key(&mut head.headers)?;
    Ok(Handshake { accept })
}

fn accept(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|key| websocket::is_key(key.as_bytes()));
    let (Some(key), None) = (key, keys.next()) else {
        let what = "it must have one Sec-WebSocket-Key, the Base64 of 16 bytes";
        return Err(Problem::websocket_handshake(what));
    };
    let accept = websocket::accept(key.as_bytes());
    Ok(HeaderValue::try_from(accept).expect("Base64 is visible ASCII"))
}

/// Browsers ask nobody before they open a WebSocket to another site, so this node must: a page may use it where it may call the API.
fn check_origin(head: &Parts, cors: &Cors) -> Result<(), Problem> {
    let Some(origin) = head.headers.get(header::ORIGIN) else {
        return Ok(());
    };
    match cors.permits(origin) || is_own(origin, head) {
        true => Ok(()),
        false => Err(Problem::origin_not_allowed()),
    }
}

/// Whether `origin` is this node by the name that the client asked for. Some libraries send that with every handshake.
fn is_own(origin: &HeaderValue, head: &Parts) -> bool {
    let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
    let host = head.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let asked = host.or_else(|| head.uri.authority().map(|it| it.as_str()));
    let named = origin.as_ref().and_then(Uri::authority);
    named
        .zip(asked)
        .is_some_and(|(named, asked)| named.as_str().eq_ignore_ascii_case(asked))
}

/// Moves a key out of the list of subprotocols.
fn take_key(headers: &mut HeaderMap) -> Result<(), Problem> {
    let mut lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let has_key = |line: &HeaderValue| line.to_str().is_ok_and(|it| it.contains(KEY_PREFIX));
    if !lines.any(has_key) {
        return Ok(());
    }
    let (mut key, mut kept) = (None, Vec::new());
    for line in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let line = line.to_str().unwrap_or_default();
        for name in line.split(',').map(str::trim) {
            match name.strip_prefix(KEY_PREFIX) {
                Some(found) if key.is_some_and(|before| before != found) => {
                    let what = "its subprotocols hold several API keys";
                    return Err(Problem::websocket_handshake(what));
                }
                Some(found) => key = Some(found),
                None if !name.is_empty() => kept.push(name.to_owned()),
                None => {}
            }
        }
    }
    let bearer = key.map(|key| HeaderValue::try_from(format!("Bearer {key}")));
    let kept = kept.join(", ");
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Some(kept) = HeaderValue::try_from(kept).ok().filter(|it| !it.is_empty()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, kept);
    }
    if let Some(Ok(mut bearer)) = bearer
        && !headers.contains_key(header::AUTHORIZATION)
    {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Ok(())
}

/// The subprotocol of a node that must answer before an upstream did: the first that is offered (RFC 6455, 4.2.2).
pub(in crate::ingress) fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let line = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?;
    let first = line.as_bytes().split(|byte| *byte == b',').next()?;
    HeaderValue::from_bytes(first.trim_ascii())
        .ok()
        .filter(|it| !it.is_empty() && lists(line.as_bytes(), it.to_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        for (name, value) in pairs {
            head.headers.append(*name, HeaderValue::from_static(value));
        }
        head
    }

    const GOOD: [(&str, &str); 2] = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn handshake_needs_its_version_and_one_key() {
        let status = |pairs: &[_]| {
            let read = read(&mut head(pairs), &Cors::Off);
            read.map_err(|problem| problem.status.as_u16())
                .map(|it| it.accept.expect("over HTTP/1.1"))
        };
        let accept = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(status(&GOOD), Ok(accept));
        for versions in [&[][..], &["8"], &["13", "13"], &["13, 8"]] {
            let mut pairs = vec![GOOD[1]];
            pairs.extend(versions.iter().map(|it| ("sec-websocket-version", *it)));
            assert_eq!(status(&pairs), Err(426), "{versions:?}");
        }
        for keys in [&[][..], &["short"], &[GOOD[1].1, GOOD[1].1]] {
            let mut pairs = vec![GOOD[0]];
            pairs.extend(keys.iter().map(|it| ("sec-websocket-key", *it)));
            assert_eq!(status(&pairs), Err(400), "{keys:?}");
        }
    }

    #[test]
    fn key_among_subprotocols_becomes_the_clients_key_and_no_subprotocol() {
        let protocols = "realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1";
        let mut head = head(&[GOOD[0], GOOD[1], ("sec-websocket-protocol", protocols)]);
        read(&mut head, &Cors::Off).expect("a handshake");
        assert_eq!(head.headers["authorization"], "Bearer sk-1");
        assert_eq!(
            head.headers["sec-websocket-protocol"],
            "realtime, openai-beta.realtime-v1"
        );
        let first = first_protocol(&head.headers);
        assert_eq!(first, Some(HeaderValue::from_static("realtime")));
    }

    #[test]
    fn page_of_another_site_opens_nothing_unless_it_may_call_the_api() {
        let refused = |origin, cors: &Cors| {
            let mut head = head(&[
                GOOD[0],
                GOOD[1],
                ("host", "api.example:8080"),
                ("origin", origin),
            ]);
            read(&mut head, cors).is_err_and(|problem| problem.status.as_u16() == 403)
        };
        assert!(refused("https://evil.example", &Cors::Off));
        assert!(!refused("http://api.example:8080", &Cors::Off));
        let listed = Cors::Listed(vec![HeaderValue::from_static("https://app.example")]);
        assert!(!refused("https://app.example", &listed));
        assert!(refused("https://evil.example", &listed));
        assert!(refused("null", &Cors::Off));
    }
}
