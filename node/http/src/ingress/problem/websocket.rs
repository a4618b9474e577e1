//! Errors of WebSockets' handshakes.

use grapevine_core::ids::ModelName;
use http::StatusCode;

use super::Problem;

/// The code of a request that needs another protocol than it has.
pub(in crate::ingress) const UPGRADE_REQUIRED: &str = "websocket_unsupported";

impl Problem {
    /// The handshake is wrong in itself.
    pub(in crate::ingress) fn websocket_handshake(what: &str) -> Self {
        Self::invalid(
            None,
            format!("the WebSocket's handshake is malformed: {what}"),
        )
    }

    /// The client speaks another version of the protocol; the answer names the one that is spoken.
    pub(in crate::ingress) fn websocket_version() -> Self {
        let message = "a WebSocket needs one 'Sec-WebSocket-Version: 13'";
        Self::new(StatusCode::UPGRADE_REQUIRED, "websocket_version", message)
    }

    /// No upstream takes WebSockets. Clients that can do without them do so at once.
    pub(in crate::ingress) fn no_websocket(model: Option<&ModelName>) -> Self {
        let of = match model {
            Some(model) => format!("of the model '{model}' "),
            None => String::new(),
        };
        let message = format!(
            "no upstream {of}takes WebSockets here; send HTTP requests, or have the operator set 'websocket: true' at an \
             upstream that does"
        );
        Self::new(StatusCode::UPGRADE_REQUIRED, UPGRADE_REQUIRED, message)
    }

    /// A web page of another site.
    pub(in crate::ingress) fn origin_not_allowed() -> Self {
        let message = "web pages of this origin may not open WebSockets here; the operator lists those that may in 'cors.origins'";
        Self::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
    }

    /// `CONNECT` for anything but a WebSocket.
    pub(in crate::ingress) fn no_proxy() -> Self {
        let message =
            "CONNECT opens WebSockets alone (RFC 8441: ':protocol: websocket'); this is no proxy";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
    }
}
