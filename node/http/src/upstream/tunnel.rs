//! Opens a WebSocket at an upstream, on a connection of its own: bytes then pass as they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure};
use grapevine_base::headers;
use grapevine_base::http1::fill;
use grapevine_core::forwarding::websocket_model;
use grapevine_core::ids::ModelName;
use grapevine_core::outcome::{Outcome, Refusal};
use http::header;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::AsyncRead;

use super::body::{Incoming, UpstreamTunnel};
use super::client::{Sent, UpstreamClient, unfit, unreachable};
use super::http1::{Http1, Http1Body, Http1Error, RequestHead, Wire};
use super::outbound::Outbound;
use super::target::UpstreamTarget;
use crate::websocket;

/// The call as `target` gets it: its model by the name there, which stands in the query alone.
///
/// # Errors
/// Where the client's messages name the model, which pass as they are, and the upstream calls it by another name.
fn renamed(target: &UpstreamTarget, mut call: Call) -> Result<Call, CallFailure> {
    call.headers = Arc::new({
        let mut headers = Arc::unwrap_or_clone(call.headers);
        headers::remove_all(&mut headers, websocket::is_of_handshake);
        headers
    });
    let Some(name) = target.rename(call.model.as_ref()) else {
        return Ok(call);
    };
    let path = with_model(&call.path, name).ok_or_else(|| {
        let detail =
            "the upstream has another name for the model, which the client's own messages name";
        CallFailure::new(Outcome::Refused(Refusal::UnknownUpstream), detail)
    })?;
    let model = Some(name.clone());
    Ok(Call {
        path,
        model,
        ..call
    })
}

/// `path` with `model` as the model of its query; `None` where that names none.
fn with_model(path: &PathAndQuery, model: &ModelName) -> Option<PathAndQuery> {
    let query = path.query();
    websocket_model(query).ok()??;
    let encoded = utf8_percent_encode(model.as_str(), NON_ALPHANUMERIC);
    let pairs: Vec<String> = query?
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some(("model", _)) => format!("model={encoded}"),
            _ => pair.to_owned(),
        })
        .collect();
    let path = format!("{}?{}", path.path(), pairs.join("&"));
    PathAndQuery::try_from(path).ok()
}

impl UpstreamClient {
    /// Opens the WebSocket that `call` asks for.
    pub(super) async fn call_tunnel(
        &self,
        target: &UpstreamTarget,
        call: Call,
    ) -> Result<Answer, CallFailure> {
        let call = renamed(target, call)?;
        self.call_as_it_is(target, &call).await
    }

    /// Sends the handshake. What is no answer of 101 is passed on as the answer of any request, unless it is a success.
    pub(super) async fn send_handshake(&self, request: &Outbound<'_>) -> Result<Sent, CallFailure> {
        let Outbound { target, call, .. } = *request;
        let path = request.path().ok_or_else(unfit)?;
        let root = target.root().ok_or_else(unfit)?;
        let connected = self.connector.connect_http1(root).await;
        let stream = connected.map_err(|error| unreachable(&*error))?;
        let mut connection = Box::new(Http1::new(stream.into()));
        let key = websocket::new_key();
        let head = RequestHead::new(&Method::GET, &path, 0, |head| {
            request.write_headers(&self.passed, head);
            let lines = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ";
            for text in [lines, &key, "\r\n"] {
                head.extend_from_slice(text.as_bytes());
            }
        });
        let answered = connection.ask(head, [const { Bytes::new() }; 5]).await;
        let mut answer = answered.map_err(|error| broken(&error))?;
        let failed = |detail: String| Err(CallFailure::new(Outcome::Reset, detail));
        if answer.status.is_success() {
            return failed(
                "the upstream answered a WebSocket's handshake as a plain request".to_owned(),
            );
        }
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            let framing = answer.framing().map_err(|error| broken(&error))?;
            return Ok(Sent {
                status: answer.status,
                headers: answer.headers,
                body: Incoming::Http1(Http1Body::new(connection, framing, false)),
                home: None,
                tunnel: None,
            });
        }
        if let Err(error) = websocket::check_answer(&key, &call.headers, &answer.headers) {
            return failed(error.to_string());
        }
        // What a 101 says of a body means nothing (RFC 9110, 6.4.1).
        headers::remove_all(&mut answer.headers, |name| {
            websocket::is_of_handshake(name)
                || *name == header::CONTENT_LENGTH
                || *name == header::TRANSFER_ENCODING
        });
        let (wire, incoming) = connection.into_wire();
        Ok(Sent {
            status: StatusCode::OK,
            headers: answer.headers,
            body: Incoming::Http1(Http1Body::none()),
            home: None,
            tunnel: Some(Box::new(open(wire, incoming))),
        })
    }
}

fn broken(error: &Http1Error) -> CallFailure {
    CallFailure::new(Outcome::Reset, grapevine_base::causes::joined(error))
}

/// The directions of `wire`, on which `incoming` has come already.
fn open(wire: Wire, incoming: BytesMut) -> UpstreamTunnel {
    let (reading, upload) = wire.split();
    let body = AnswerBody::new(WireBody { reading, incoming });
    UpstreamTunnel { body, upload }
}

/// What an upstream sends, to the end of its connection.
struct WireBody {
    reading: Box<dyn AsyncRead + Send + Unpin>,
    incoming: BytesMut,
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let this = &mut *self;
        if this.incoming.is_empty() {
            let read = ready!(fill(&mut this.reading, context, &mut this.incoming));
            // TLS that ends without a word is an end here: a Close frame is what tells whether it was a good one.
            match read {
                Ok(0) => return Poll::Ready(None),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(None);
                }
                Err(error) => {
                    let failure = CallFailure::new(Outcome::BrokenOff, error.to_string());
                    return Poll::Ready(Some(Err(failure)));
                }
                Ok(_) => {}
            }
        }
        let data = std::mem::take(&mut this.incoming).freeze();
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_of_the_query_is_replaced_and_nothing_else_is() {
        let model = ModelName::new("org/real time").expect("a name");
        let replaced = |path| {
            let path = with_model(&PathAndQuery::from_static(path), &model);
            path.map(|path| path.to_string())
        };
        assert_eq!(
            replaced("/v1/realtime?a=model&model=x&models=y").as_deref(),
            Some("/v1/realtime?a=model&model=org%2Freal%20time&models=y")
        );
        assert_eq!(replaced("/v1/responses"), None);
    }
}
