//! Both ends of a WebSocket: an upstream that is strict about the protocol and counts what comes and goes, and a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::node::Node;
use crate::wait::{must, within};

/// How long one step may take before a test gives up on it.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// What an upstream has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The heads of the handshakes: target, and headers as `name: value` lines.
    pub heads: Vec<String>,
    /// Connections that are open.
    pub open: usize,
    /// Messages that were echoed or answered.
    pub messages: usize,
    /// How connections ended: the code of the client's Close frame, or none.
    pub ends: Vec<Option<u16>>,
}

/// An upstream that takes WebSockets and nothing else. Dropping it breaks every connection off.
#[derive(Debug)]
pub struct WebSocketUpstream {
    address: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    server: Arc<Mutex<JoinSet<()>>>,
}

impl WebSocketUpstream {
    /// Starts one. It answers events of OpenAI's realtime API and of WebSocket responses as they are answered, and echoes the rest.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = must(
            "listening",
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        );
        let address = must("the listener's address", listener.local_addr());
        let seen = Arc::new(watch::Sender::new(Seen::default()));
        let server = Arc::new(Mutex::new(JoinSet::new()));
        let (accepted, watched) = (Arc::clone(&server), Arc::clone(&seen));
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serve(stream, Arc::clone(&watched));
                let mut tasks = accepted.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.spawn(async move { drop(serving.await) });
            }
        };
        let mut tasks = server.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(accepting);
        drop(tasks);
        Self {
            address,
            seen,
            server,
        }
    }

    /// As an upstream of a node's config, for `models`.
    #[must_use]
    pub fn config(&self, name: &str, models: &[&str]) -> Value {
        json!({
            "name": name,
            "base_url": format!("http://{}/v1", self.address),
            "api_key": crate::mesh::SECRET,
            "models": models,
            "websocket": true,
            "health": {"probe": "off"},
        })
    }

    /// Waits until what it has seen is as `wanted` says.
    ///
    /// # Panics
    ///
    /// When that takes longer than half a minute.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let mut watched = self.seen.subscribe();
        let waited = within(what, STEP_LIMIT, watched.wait_for(|seen| wanted(seen))).await;
        must(what, waited).clone()
    }

    /// Breaks every connection off, and takes none any more.
    pub fn kill(&self) {
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

async fn serve(stream: TcpStream, seen: Arc<watch::Sender<Seen>>) -> Result<(), Error> {
    let mut head = String::new();
    let mut is_realtime = false;
    #[expect(
        clippy::result_large_err,
        reason = "the library's own type of a refusal"
    )]
    let read = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        head = request.uri().to_string();
        is_realtime = request.uri().path() == "/v1/realtime";
        for (name, value) in request.headers() {
            head.push_str(&format!("\n{name}: {}", value.to_str().unwrap_or("?")));
        }
        if let Some(protocols) = request.headers().get("sec-websocket-protocol") {
            let first = protocols.to_str().unwrap_or_default().split(',').next();
            let first = HeaderValue::from_str(first.unwrap_or_default().trim());
            response
                .headers_mut()
                .insert("sec-websocket-protocol", first.expect("a token"));
        }
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, read).await?;
    seen.send_modify(|seen| {
        seen.heads.push(head);
        seen.open += 1;
    });
    let ended = converse(&mut socket, is_realtime, &seen).await;
    seen.send_modify(|seen| {
        seen.open -= 1;
        seen.ends.push(ended.ok().flatten());
    });
    Ok(())
}

async fn converse(
    socket: &mut WebSocketStream<TcpStream>,
    is_realtime: bool,
    seen: &watch::Sender<Seen>,
) -> Result<Option<u16>, Error> {
    if is_realtime {
        let created = json!({"type": "session.created", "event_id": "event_1", "session": {"type": "realtime", "id": "sess_1"}});
        socket.send(Message::text(created.to_string())).await?;
    }
    let mut code = None;
    while let Some(message) = socket.next().await {
        let message = message?;
        match &message {
            Message::Close(frame) => code = frame.as_ref().map(|frame| frame.code.into()),
            Message::Text(text) => {
                for answer in answers(text) {
                    socket.send(Message::text(answer)).await?;
                }
            }
            Message::Binary(_) => socket.send(message.clone()).await?,
            // The library answers pings.
            _ => {}
        }
        if message.is_text() || message.is_binary() {
            seen.send_modify(|seen| seen.messages += 1);
        }
    }
    Ok(code)
}

/// What comes back for a client's event; another text comes back as it is.
fn answers(text: &str) -> Vec<String> {
    let event: Value = serde_json::from_str(text).unwrap_or_default();
    if event["type"] != "response.create" {
        return vec![text.to_owned()];
    }
    let usage = json!({"input_tokens": 11, "output_tokens": 4, "total_tokens": 15});
    if event["model"].is_string() {
        let response = json!({"id": "resp_1", "object": "response", "status": "completed", "model": event["model"], "usage": usage});
        let completed =
            json!({"type": "response.completed", "sequence_number": 0, "response": response});
        return vec![completed.to_string()];
    }
    let item = json!({"type": "response.output_text.delta", "event_id": "event_2", "response_id": "resp_1", "item_id": "item_1",
        "output_index": 0, "content_index": 0, "delta": "hello"});
    let done = json!({"type": "response.done", "event_id": "event_3",
        "response": {"id": "resp_1", "object": "realtime.response", "status": "completed", "output": [], "usage": usage}});
    vec![item.to_string(), done.to_string()]
}

/// A client's end.
#[derive(Debug)]
pub struct WebSocketClient(WebSocketStream<Box<dyn Duplex>>);

/// What a WebSocket runs on.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Duplex for T {}

/// What a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A Close frame with this code.
    Close(Option<u16>),
    /// The end of the connection without one.
    Cut,
}

/// The answer to a handshake that opened nothing: its status, and its body.
#[derive(Debug)]
pub struct NotOpened {
    /// The status.
    pub status: u16,
    /// The headers, as `name: value` lines.
    pub head: String,
    /// The body.
    pub body: String,
}

impl WebSocketClient {
    /// Opens a WebSocket at `target` of `node`, with these headers beside those of the handshake.
    ///
    /// # Errors
    ///
    /// When the node declines.
    ///
    /// # Panics
    ///
    /// When there is no answer, or one that breaks the protocol.
    pub async fn open(
        node: &Node,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, NotOpened> {
        let address = node.addresses().public;
        let url = format!("ws://{address}{target}");
        let mut request = must("a request", url.into_client_request());
        for (name, value) in headers {
            let value = must("a header", HeaderValue::from_str(value));
            request.headers_mut().insert(*name, value);
        }
        let stream = must("connecting", TcpStream::connect(address).await);
        let stream: Box<dyn Duplex> = Box::new(stream);
        let opening = within("a handshake", STEP_LIMIT, client_async(request, stream));
        match opening.await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => {
                let headers = answer.headers().iter();
                let head = headers
                    .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?")));
                Err(NotOpened {
                    status: answer.status().as_u16(),
                    head: head.collect(),
                    body: String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default())
                        .into_owned(),
                })
            }
            Err(error) => panic!("a handshake: {error}"),
        }
    }

    /// Opens one over HTTP/2 (RFC 8441), by a connection of its own.
    ///
    /// # Panics
    ///
    /// When the node declines, or breaks the protocol.
    pub async fn open_http2(node: &Node, target: &str) -> Self {
        let address = node.addresses().public;
        let stream = must("connecting", TcpStream::connect(address).await);
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = must("a connection", handshake.await);
        tokio::spawn(connection);
        let mut request = hyper::Request::new(Empty::<Bytes>::new());
        *request.method_mut() = hyper::Method::CONNECT;
        *request.uri_mut() = must("a target", format!("http://{address}{target}").parse());
        let version = HeaderValue::from_static("13");
        request
            .headers_mut()
            .insert("sec-websocket-version", version);
        let protocol = Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        let answering = within("an answer", STEP_LIMIT, sender.send_request(request));
        let answer = must("an answer", answering.await);
        assert_eq!(answer.status(), 200, "{answer:?}");
        let upgraded = must("an upgrade", hyper::upgrade::on(answer).await);
        let stream: Box<dyn Duplex> = Box::new(TokioIo::new(upgraded));
        Self(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }

    /// Sends a text.
    ///
    /// # Panics
    ///
    /// When the connection is broken.
    pub async fn send(&mut self, text: &str) {
        must("sending", self.0.send(Message::text(text)).await);
    }

    /// Sends any message.
    ///
    /// # Panics
    ///
    /// When the connection is broken.
    pub async fn send_message(&mut self, message: Message) {
        must("sending", self.0.send(message).await);
    }

    /// The next message that is no ping and no pong.
    ///
    /// # Panics
    ///
    /// When none comes for half a minute, or what comes breaks the protocol.
    pub async fn read(&mut self) -> Read {
        loop {
            let next = within("a message", STEP_LIMIT, self.0.next()).await;
            match next {
                Some(Ok(Message::Text(text))) => return Read::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => return Read::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    // Answers it, and waits for the end.
                    while let Some(Ok(_)) = self.0.next().await {}
                    return Read::Close(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(Error::Io(_) | Error::Protocol(_))) | None => return Read::Cut,
                Some(Err(error)) => panic!("reading: {error}"),
            }
        }
    }

    /// Sends `text` and reads the same again.
    ///
    /// # Panics
    ///
    /// When anything else comes.
    pub async fn echo(&mut self, text: &str) {
        self.send(text).await;
        assert_eq!(self.read().await, Read::Text(text.to_owned()));
    }

    /// Waits for the answer to a ping.
    ///
    /// # Panics
    ///
    /// When none comes, or something else does before it.
    pub async fn ping(&mut self) {
        self.send_message(Message::Ping(b"still there?".to_vec().into()))
            .await;
        let next = within("a pong", STEP_LIMIT, self.0.next()).await;
        assert!(matches!(next, Some(Ok(Message::Pong(_)))), "{next:?}");
    }

    /// Closes in order, and waits for the other side.
    ///
    /// # Panics
    ///
    /// When the connection is broken.
    pub async fn close(mut self) {
        must("closing", self.0.close(None).await);
        while let Some(Ok(_)) = within("the end", STEP_LIMIT, self.0.next()).await {}
    }
}
