//! A plain client: one connection per request, so that a broken connection is seen as it is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::mock::{Knobs, Mock, MockConfig, MockHandle};

/// Longer than anything here takes: a failure is a failed test and not a hanging one.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn mock(knobs: Knobs) -> MockHandle {
    let config = MockConfig {
        knobs,
        ..MockConfig::on_loopback("sgp")
    };
    Mock::start(config).await.expect("a free port on loopback")
}

/// What came back, as far as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the body ended as HTTP requires.
    pub(super) whole: bool,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().expect("a text header")
    }

    /// The `data:` of each event, without the end mark.
    pub(super) fn events(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).expect("UTF-8");
        text.split_terminator("\n\n")
            .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("JSON in each event"))
            .collect()
    }

    /// The text that the chunks of a chat stream add up to.
    pub(super) fn chat_text(&self) -> String {
        let events = self.events();
        let texts = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
        texts.collect()
    }
}

/// Sends a request and returns its head, the body still to come. Dropping the response hangs up.
pub(super) async fn open(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.expect("the mock listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    tokio::time::timeout(LIMIT, sender.send_request(request))
        .await
        .expect("an answer or a broken connection")
}

pub(super) fn request(method: Method, path: &str, body: &Value) -> Request<Full<Bytes>> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "mock")
        .body(Full::from(body))
        .expect("a valid request")
}

/// Sends a request and reads the answer to its end, or to where it breaks.
pub(super) async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Answer> {
    let mut response = open(address, request).await?;
    let mut body = Vec::new();
    let read = async {
        while let Some(frame) = response.body_mut().frame().await {
            match frame {
                Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
                Err(_) => return false,
            }
        }
        true
    };
    let whole = tokio::time::timeout(LIMIT, read)
        .await
        .expect("an end of the body");
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body,
        whole,
    })
}

pub(super) async fn post(mock: &MockHandle, path: &str, body: Value) -> Answer {
    send(mock.address(), request(Method::POST, path, &body))
        .await
        .expect("an answer")
}

pub(super) async fn get(mock: &MockHandle, path: &str) -> Answer {
    send(mock.address(), request(Method::GET, path, &Value::Null))
        .await
        .expect("an answer")
}

pub(super) fn chat_body(stream: bool) -> Value {
    json!({
        "model": "gpt-4o",
        "stream": stream,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "say hello"}],
    })
}

pub(super) async fn chat(mock: &MockHandle, stream: bool) -> hyper::Result<Answer> {
    let request = request(Method::POST, "/v1/chat/completions", &chat_body(stream));
    send(mock.address(), request).await
}
