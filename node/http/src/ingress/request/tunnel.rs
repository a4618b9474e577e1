//! The commit point of a WebSocket: an upstream has agreed, and the client is answered.

use grapevine_base::exchange::{Answer, CallLocal, CallPeer};
use grapevine_base::websocket::upload::TunnelUpload;
use grapevine_core::outcome::Outcome;
use grapevine_core::request::RequestError;
use grapevine_core::route::Choice;
use http::{StatusCode, header};

use super::Driver;
use crate::ingress::reply::{self, Reply};
use crate::ingress::reply_body::ReplyBody;
use crate::ingress::tunnel::Tunnel;

impl<L: CallLocal, P: CallPeer> Driver<'_, L, P> {
    /// Opens the tunnel that `answer` and `upload` are.
    pub(super) fn open(
        mut self: Box<Self>,
        choice: &Choice,
        mut answer: Answer,
        upload: TunnelUpload,
    ) -> Reply {
        let client = (self.request.tunnel.as_ref()).and_then(|ask| ask.client.take());
        let Some(mut client) = client else {
            return self.fail(RequestError::Failed(Outcome::Cancelled));
        };
        if let (Some(messages), Some(model)) = (&mut client.messages, &self.request.head.model) {
            messages.are_for(model.clone());
        }
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let lines = reply::adopt(&mut answer.headers, &mut self.track, choice, status);
        let accept = self
            .request
            .tunnel
            .as_mut()
            .and_then(|ask| ask.accept.take());
        if let Some(accept) = accept {
            answer.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        let streams = (answer.body, upload);
        let counted = self.context.tunnels.open();
        let tunnel = Tunnel::open(&self.context.driver, counted, client, streams, self.track);
        let mut response = http::Response::new(ReplyBody::Tunnel(Box::new(tunnel)));
        *response.status_mut() = status;
        *response.headers_mut() = answer.headers.into();
        Reply { response, lines }
    }
}
