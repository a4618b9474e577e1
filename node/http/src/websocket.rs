//! The opening handshake of WebSockets (RFC 6455, 4), on both sides of a node: with clients, and with upstreams.
//!
//! Each side has a handshake of its own: a key proves nothing beyond its connection, and a client over HTTP/2 sends none. Extensions
//! are never agreed upon. They would hold end to end, which a node cannot promise for the frames that it sends itself, and it could
//! count nothing in what is compressed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grapevine_base::entropy;
use grapevine_base::http1::{lists, names_option};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use rand_core::Rng;
use ring::digest;

/// The one version of the protocol.
pub(crate) const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What is hashed with a key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes that a key encodes.
const KEY_BYTES: usize = 16;

/// A new key for a handshake.
pub(crate) fn new_key() -> String {
    let mut bytes = [0; KEY_BYTES];
    entropy::generator().fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

/// Whether `key` is one: the text of 16 bytes.
pub(crate) fn is_key(key: &[u8]) -> bool {
    STANDARD
        .decode(key)
        .is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// The answer to `key`.
pub(crate) fn accept(key: &[u8]) -> String {
    let hashed = [key, GUID].concat();
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &hashed))
}

/// Headers of a handshake, each of which is made anew on the other side, except for the list of protocols.
pub(crate) fn is_of_handshake(name: &HeaderName) -> bool {
    [
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
    ]
    .contains(name)
}

/// Why an upstream's answer of 101 opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOpened {
    /// It names another protocol, or none.
    #[error("the upstream switches to another protocol than WebSocket")]
    Protocol,
    /// It does not answer the key.
    #[error("the upstream's Sec-WebSocket-Accept does not answer the key")]
    Accept,
    /// It agrees to extensions that nobody offered.
    #[error("the upstream agrees to WebSocket extensions that were not offered")]
    Extensions,
    /// It chooses a subprotocol that was not offered, or several.
    #[error("the upstream chooses a subprotocol that was not offered")]
    Subprotocol,
}

/// Checks an upstream's answer of 101 to a handshake with `key` that offered the subprotocols of `offered`.
///
/// # Errors
/// Why nothing is opened (RFC 6455, 4.1, steps 2 to 6).
pub(crate) fn check_answer(
    key: &str,
    offered: &HeaderMap,
    answer: &HeaderMap,
) -> Result<(), NotOpened> {
    let upgrade = answer.get(header::UPGRADE);
    let is_websocket = upgrade.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !is_websocket || !names_option(answer, "upgrade") {
        return Err(NotOpened::Protocol);
    }
    let accepted = answer.get(header::SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|it| it.as_bytes() != accept(key.as_bytes()).as_bytes()) {
        return Err(NotOpened::Accept);
    }
    if answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(NotOpened::Extensions);
    }
    let mut chosen = answer.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let Some(first) = chosen.next() else {
        return Ok(());
    };
    let name = first.to_str().map_err(|_| NotOpened::Subprotocol)?;
    let mut lines = offered.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let is_offered = lines.any(|line| lists(line.as_bytes(), name));
    match is_offered && chosen.next().is_none() {
        true => Ok(()),
        false => Err(NotOpened::Subprotocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn map(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn accept_is_that_of_the_specification() {
        assert_eq!(accept(KEY.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(KEY.as_bytes()) && is_key(new_key().as_bytes()));
        assert!(!is_key(b"short") && !is_key(b"dGhlIHNhbXBsZSBub25jZQ"));
        assert_ne!(new_key(), new_key());
    }

    #[test]
    fn answer_opens_what_was_offered_and_nothing_else() {
        let good = [
            (header::UPGRADE, "WebSocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let offered = map(&[(header::SEC_WEBSOCKET_PROTOCOL, "realtime, other")]);
        let check = |answer: &[_]| check_answer(KEY, &offered, &map(answer));
        assert_eq!(check(&good), Ok(()));
        let with = |name, value| [&good[..], &[(name, value)]].concat();
        let protocol = header::SEC_WEBSOCKET_PROTOCOL;
        assert_eq!(check(&with(protocol.clone(), "realtime")), Ok(()));
        assert_eq!(check(&with(protocol, "soap")), Err(NotOpened::Subprotocol));
        let extensions = with(header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate");
        assert_eq!(check(&extensions), Err(NotOpened::Extensions));
        assert_eq!(check(&good[..2]), Err(NotOpened::Accept));
        assert_eq!(check(&good[1..]), Err(NotOpened::Protocol));
        assert_eq!(
            check(&[good[0].clone(), good[2].clone()]),
            Err(NotOpened::Protocol)
        );
    }
}
