//! A WebSocket whose model only its client's first message names: the node answers by itself, reads that message, and then routes.
//!
//! Until an upstream has agreed, pings are answered here. What cannot be served is told as OpenAI does: a message of the type
//! `error` with the status and the error of an answer, and a Close frame.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use grapevine_base::driver::DriverHandle;
use grapevine_base::websocket::closing::TunnelEnd;
use grapevine_base::websocket::frames::Opcode;
use grapevine_base::websocket::own::{CloseCode, close_frame, pong_frame, text_frame};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::messages::{Item, Message};
use super::pump::ClientStream;
use super::{PARTING_MAX, Tunnel};
use crate::ingress::IngressSettings;
use crate::ingress::reply::Reply;
use crate::ingress::reply_body::ReplyBody;

/// What becomes of the opening.
pub(in crate::ingress) type Opening = Pin<Box<dyn Future<Output = Opened> + Send>>;

/// Frames for the client that wait while it opens: pongs, more of which are left out.
pub(in crate::ingress) const FRAMES_MAX: usize = 4;

/// The longest error of an upstream that is passed on.
const ERROR_BYTES_MAX: usize = 16 * 1_024;

/// What became of it.
pub(in crate::ingress) enum Opened {
    Tunnel(Box<Tunnel>),
    /// The last that the client gets.
    Refused(Vec<Bytes>, Box<ClientStream>),
    /// Its client went away.
    Gone,
}

/// The first message of a client, or why there is none.
pub(in crate::ingress) enum First {
    Came(Message),
    Ended(TunnelEnd),
    /// The client closed it; it gets its Close frame back.
    Closed,
    Gone,
}

impl ClientStream {
    /// Reads to the end of the first message, which stays in front of what follows; answers pings by `pongs`.
    pub(in crate::ingress) async fn first(
        &mut self,
        pongs: &mpsc::Sender<Bytes>,
        driver: &DriverHandle,
        settings: &IngressSettings,
    ) -> First {
        tokio::select! {
            biased;
            () = driver.draining() => First::Ended(TunnelEnd::RESTART),
            first = self.read_first(pongs, settings) => first,
        }
    }

    async fn read_first(
        &mut self,
        pongs: &mpsc::Sender<Bytes>,
        settings: &IngressSettings,
    ) -> First {
        let Some(messages) = &mut self.messages else {
            return First::Gone;
        };
        let close = &mut self.close;
        loop {
            let read = tokio::time::timeout(settings.websocket_idle, self.body.frame()).await;
            let data = match read.map(|frame| frame.map(|frame| frame.map(|it| it.into_data()))) {
                Err(_) => return First::Ended(TunnelEnd::SILENT),
                Ok(Some(Ok(Ok(data)))) => data,
                Ok(Some(Ok(Err(_)))) => continue,
                Ok(None | Some(Err(_))) => return First::Gone,
            };
            close.came(&data);
            let mut items = match messages.feed(&data) {
                Ok(items) => items.into_iter(),
                Err(end) => return First::Ended(end),
            };
            while let Some(item) = items.next() {
                match item {
                    Item::Message(message) => {
                        let again = message.clone();
                        self.items.push(Item::Message(message));
                        self.items.extend(items);
                        return First::Came(again);
                    }
                    Item::Control(_, Opcode::Close, _) => return First::Closed,
                    Item::Control(_, Opcode::Ping, payload) => {
                        // One that finds no room is answered by the next.
                        let _ = pongs.try_send(pong_frame(&payload));
                    }
                    Item::Control(..) => {}
                }
            }
        }
    }

    /// Waits for the client's Close frame or its end, and reads what it still sends, for a moment.
    pub(super) async fn parting(mut self) {
        let (body, close) = (&mut self.body, &mut self.close);
        let read_on = async {
            while let Some(Ok(frame)) = body.frame().await {
                if frame.data_ref().is_some_and(|data| close.came(data)) {
                    return;
                }
            }
        };
        // Whichever comes first.
        let _ = tokio::time::timeout(PARTING_MAX, read_on).await;
    }
}

/// The last frames of a tunnel that ends before it has begun.
pub(in crate::ingress) fn ended(end: TunnelEnd) -> Vec<Bytes> {
    vec![close_frame(end.code, end.reason)]
}

/// The answer to a client's Close frame.
pub(in crate::ingress) fn closed() -> Vec<Bytes> {
    vec![close_frame(CloseCode::Normal, "")]
}

/// What the routed request came to.
pub(in crate::ingress) async fn opened(reply: Reply, client: Option<ClientStream>) -> Opened {
    let (head, body) = reply.response.into_parts();
    if let ReplyBody::Tunnel(tunnel) = body {
        return Opened::Tunnel(tunnel);
    }
    let Some(client) = client else {
        return Opened::Gone;
    };
    // An error that breaks off, or is too long, is told without its words.
    let collected = Limited::new(body, ERROR_BYTES_MAX).collect().await;
    let text = collected.map(|body| body.to_bytes()).unwrap_or_default();
    Opened::Refused(refused(head.status, &text), Box::new(client))
}

/// An answer as OpenAI's WebSockets tell it.
fn refused(status: StatusCode, body: &[u8]) -> Vec<Bytes> {
    let answered: Option<Value> = serde_json::from_slice(body).ok();
    let error = answered.and_then(|mut answered| answered.get_mut("error").map(Value::take));
    let error = error.unwrap_or_else(|| {
        let reason = status.canonical_reason().unwrap_or("refused");
        json!({"message": reason, "type": "upstream_error", "param": null, "code": null})
    });
    let told = json!({"type": "error", "status": status.as_u16(), "error": error});
    let code = match status.as_u16() {
        429 | 503 => CloseCode::TryLater,
        400..=499 => CloseCode::Policy,
        _ => CloseCode::Failed,
    };
    let reason = error_code(&told);
    vec![text_frame(&told.to_string()), close_frame(code, reason)]
}

fn error_code(told: &Value) -> &str {
    told["error"]["code"].as_str().unwrap_or("refused")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_told_as_an_error_and_a_close_frame() {
        let body = br#"{"error":{"message":"m","type":"t","code":"rate_limited"}}"#;
        let frames = refused(StatusCode::TOO_MANY_REQUESTS, body);
        let text = std::str::from_utf8(&frames[0][2..]).expect("text");
        let told: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(
            (&told["type"], &told["status"]),
            (&json!("error"), &json!(429))
        );
        assert_eq!(told["error"]["code"], "rate_limited");
        assert_eq!(frames[1], close_frame(CloseCode::TryLater, "rate_limited"));
        let frames = refused(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(frames[1], close_frame(CloseCode::Failed, "refused"));
    }
}
