//! Requests that offer a WebSocket (RFC 6455, 4.1; RFC 9110, 7.8).
//!
//! Only what is well-formed as HTTP becomes an offer here: its method is `CONNECT` from here on, as it is in HTTP/2, and an
//! [`UpgradeOffer`] is with it. Whether a WebSocket is opened, and what its own headers say, is decided by who answers. An offer that is
//! declined ends its connection: what its client sent behind it was meant for another protocol, and is never read as a request.

use http::header::{self, HeaderValue};
use http::{Method, Request, Version};

use super::body::{self, RequestBody};
use super::head::Framing;
use super::upload::{Rest, Upload};
use crate::http1::{lists, names_option};
use crate::websocket::UpgradeOffer;

/// Makes an offer of `request` where it is one; whether it may be taken up.
pub(super) fn offer(request: &mut Request<()>, framing: Framing) -> bool {
    let mut upgrades = request.headers().get_all(header::UPGRADE).iter();
    let names_websocket = |value: &HeaderValue| lists(value.as_bytes(), "websocket");
    // With another method it is an offer that need not be taken up: the request is what it is without.
    if *request.method() != Method::GET || !upgrades.any(names_websocket) {
        return false;
    }
    let has_body =
        framing != Framing::Length(0) || request.headers().contains_key(header::CONTENT_LENGTH);
    let fault = if request.version() != Version::HTTP_11 {
        Some("it needs HTTP/1.1, or HTTP/2 with CONNECT")
    } else if has_body {
        Some("it must not have a body, nor a Content-Length or Transfer-Encoding")
    } else if !names_option(request.headers(), "upgrade") {
        Some("it must have 'Connection: Upgrade'")
    } else if request.headers().get_all(header::UPGRADE).iter().count() > 1 {
        Some("it must have one 'Upgrade: websocket'")
    } else {
        None
    };
    request.extensions_mut().insert(UpgradeOffer { fault });
    if fault.is_none() {
        *request.method_mut() = Method::CONNECT;
    }
    fault.is_none()
}

/// What the client sends once its offer was taken up.
pub(super) fn body() -> (RequestBody, Option<Upload>) {
    let (body, source) = body::arriving(None);
    let upload = Upload {
        source,
        rest: Rest::Raw,
        awaits_continue: false,
    };
    (body, Some(upload))
}
