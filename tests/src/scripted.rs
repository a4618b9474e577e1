//! An upstream in the test's own process that does, for each request, what a rule for its text says: refuse it, hang,
//! break off, answer before it has read. Whatever has no rule is answered well, in the shape of its API.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::canned::{Received, read_request};
use crate::wait::must;

/// What a client asks the upstream itself: how many requests with a body came.
const SEEN_PATH: &str = "GET /seen ";

/// One step of what an upstream does with a request.
#[derive(Clone, Debug)]
pub enum ScriptedStep {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Answers well: with the upstream's name as the text, whole or as a stream.
    Answer,
    /// Waits.
    Pause(Duration),
    /// Does nothing until the caller hangs up.
    Hang,
    /// Closes the connection.
    Close,
}

/// How an upstream treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptedReading {
    /// Reads each request whole.
    Whole,
    /// Reads the head of one request, does what its rule says, and closes with the body unread: a reset.
    HeadAlone,
    /// Closes each connection after one answer, which did not say so.
    OnceEach,
}

/// What an upstream does with a request that contains a text, in its head or its body.
#[derive(Clone, Debug)]
pub struct ScriptedRule {
    /// The text; empty for every request.
    pub text: &'static str,
    /// What it does.
    pub steps: Vec<ScriptedStep>,
}

/// A running upstream. Dropping it ends it.
#[derive(Debug)]
pub struct ScriptedUpstream {
    name: String,
    address: SocketAddr,
    script: Arc<Script>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Script {
    name: String,
    reading: ScriptedReading,
    rules: Vec<ScriptedRule>,
    posts: Mutex<usize>,
}

/// A whole answer in JSON.
#[must_use]
pub fn refuses(status: u16, headers: &str, body: &Value) -> Vec<ScriptedStep> {
    answers(
        status,
        &format!("content-type: application/json\r\n{headers}"),
        body.to_string(),
    )
}

/// A whole answer.
#[must_use]
pub fn answers(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<ScriptedStep> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    vec![ScriptedStep::Send([head.as_bytes(), body].concat())]
}

/// The beginning of a stream of events, with these bytes as its first piece.
#[must_use]
pub fn streams(piece: &str) -> Vec<ScriptedStep> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![ScriptedStep::Send(
        format!("{head}{}", chunk(piece)).into_bytes(),
    )]
}

/// A further piece of a stream.
#[must_use]
pub fn goes_on(piece: &str) -> ScriptedStep {
    ScriptedStep::Send(chunk(piece).into_bytes())
}

/// The end of a stream.
#[must_use]
pub fn ends() -> ScriptedStep {
    ScriptedStep::Send(b"0\r\n\r\n".to_vec())
}

fn chunk(piece: &str) -> String {
    format!("{:x}\r\n{piece}\r\n", piece.len())
}

impl ScriptedUpstream {
    /// Starts an upstream. It answers every GET with an empty list of models, and `GET /seen` with the number of
    /// requests that came with another method.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(name: &str, reading: ScriptedReading, rules: Vec<ScriptedRule>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = must("listening", listener);
        let address = must("the listener's address", listener.local_addr());
        let script = Arc::new(Script {
            name: name.to_string(),
            reading,
            rules,
            posts: Mutex::new(0),
        });
        let played = Arc::clone(&script);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let script = Arc::clone(&played);
                // A client that hangs up ends its connection and nothing else.
                connections.spawn(async move { drop(script.serve(stream).await) });
            }
        });
        Self {
            name: name.to_string(),
            address,
            script,
            _server: server,
        }
    }

    /// Starts an upstream that does the same with every request.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn always(name: &str, steps: Vec<ScriptedStep>) -> Self {
        let rules = vec![ScriptedRule { text: "", steps }];
        Self::start(name, ScriptedReading::Whole, rules).await
    }

    /// The URL without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// This upstream as written in a node's config.
    #[must_use]
    pub fn upstream(&self, models: &[&str]) -> Value {
        let url = format!("{}/v1", self.url());
        json!({"name": self.name, "base_url": url, "api_key": "sk-scripted", "models": models})
    }

    /// How many requests came that were no GET.
    #[must_use]
    pub fn posts(&self) -> usize {
        *self.script.posts()
    }
}

impl Script {
    fn posts(&self) -> std::sync::MutexGuard<'_, usize> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = self.read(&mut stream).await? {
            if request.head.starts_with("GET ") {
                let page = match request.head.starts_with(SEEN_PATH) {
                    true => json!(*self.posts()),
                    false => json!({"object": "list", "data": []}),
                };
                stream.write_all(&whole(&page)).await?;
                continue;
            }
            *self.posts() += 1;
            let played = self.play(&mut stream, &request).await?;
            if played == Played::Over || self.reading == ScriptedReading::OnceEach {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self, stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Received>> {
        if self.reading != ScriptedReading::HeadAlone {
            return read_request(stream).await;
        }
        let (mut head, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let body = Vec::new();
        Ok(Some(Received { head, body }))
    }

    async fn play(
        &self,
        stream: &mut BufReader<TcpStream>,
        request: &Received,
    ) -> std::io::Result<Played> {
        let applies = |rule: &&ScriptedRule| {
            let text = rule.text.as_bytes();
            let places = [request.head.as_bytes(), &request.body];
            places.iter().any(|it| memmem::find(it, text).is_some())
        };
        let rule = self.rules.iter().find(applies);
        let steps = rule.map_or(&[ScriptedStep::Answer][..], |rule| &rule.steps);
        for step in steps {
            match step {
                ScriptedStep::Send(bytes) => stream.write_all(bytes).await?,
                ScriptedStep::Answer => stream.write_all(&self.good(request)).await?,
                ScriptedStep::Pause(span) => tokio::time::sleep(*span).await,
                ScriptedStep::Hang => {
                    // Ends with the end of the stream or an error: both are a hang-up.
                    drop(stream.read(&mut [0]).await);
                    return Ok(Played::Over);
                }
                ScriptedStep::Close => return Ok(Played::Over),
            }
            stream.flush().await?;
        }
        match self.reading {
            ScriptedReading::HeadAlone => Ok(Played::Over),
            _ => Ok(Played::GoesOn),
        }
    }

    /// A good answer to a chat or a message, whole or streamed.
    fn good(&self, request: &Received) -> Vec<u8> {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let is_messages = request.head.contains("/messages ");
        let asks_usage = asked["stream_options"]["include_usage"] == true;
        let (name, model) = (self.name.as_str(), &asked["model"]);
        match (asked["stream"] == true, is_messages) {
            (false, false) => whole(&chat(model, name)),
            (false, true) => whole(&message(model, &json!([{"type": "text", "text": name}]))),
            (true, false) => events(&chat_events(model, name, asks_usage)),
            (true, true) => events(&message_events(model, name)),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Played {
    GoesOn,
    Over,
}

fn whole(page: &Value) -> Vec<u8> {
    let body = page.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

fn events(text: &str) -> Vec<u8> {
    let steps = [streams(text), vec![ends()]].concat();
    let sent = steps.into_iter().filter_map(|step| match step {
        ScriptedStep::Send(bytes) => Some(bytes),
        _ => None,
    });
    sent.collect::<Vec<_>>().concat()
}

fn chat(model: &Value, text: &str) -> Value {
    json!({
        "id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    })
}

/// A chunk of a streamed chat, as an event.
#[must_use]
pub fn chat_event(model: &Value, delta: &Value, finish: Option<&str>) -> String {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let event = json!({
        "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": model,
        "choices": choices,
    });
    format!("data: {event}\n\n")
}

fn chat_events(model: &Value, text: &str, asks_usage: bool) -> String {
    let mut events = chat_event(model, &json!({"role": "assistant", "content": text}), None);
    events += &chat_event(model, &json!({}), Some("stop"));
    if asks_usage {
        let usage = json!({
            "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": model,
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        });
        events += &format!("data: {usage}\n\n");
    }
    events + "data: [DONE]\n\n"
}

/// Three input tokens, of which Anthropic counts apart those that the cache took and gave.
fn message(model: &Value, content: &Value) -> Value {
    json!({
        "id": "msg_scripted", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {
            "input_tokens": 3, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 20,
            "output_tokens": 4,
        },
    })
}

/// The first events of a streamed message, with `text` in them.
#[must_use]
pub fn message_beginning(model: &Value, text: &str) -> String {
    let parts = [
        json!({"type": "message_start", "message": message(model, &json!([]))}),
        json!({
            "type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""},
        }),
        json!({
            "type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text},
        }),
    ];
    message_parts(&parts)
}

/// The last events of a streamed message.
#[must_use]
pub fn message_end() -> String {
    let parts = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 4},
        }),
        json!({"type": "message_stop"}),
    ];
    message_parts(&parts)
}

fn message_events(model: &Value, text: &str) -> String {
    message_beginning(model, text) + &message_end()
}

fn message_parts(parts: &[Value]) -> String {
    let event = |part: &Value| {
        let kind = part["type"].as_str().unwrap_or_default();
        format!("event: {kind}\ndata: {part}\n\n")
    };
    parts.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{chat_body, http, try_get, try_post};

    async fn post(upstream: &ScriptedUpstream, text: &str) -> reqwest::Result<(u16, String)> {
        let url = format!("{}/v1/chat/completions", upstream.url());
        let answer = try_post(&http(), &url, &chat_body("m", text)).await?;
        Ok((answer.status, answer.text()))
    }

    #[tokio::test]
    async fn first_rule_that_applies_is_played_and_others_are_answered() {
        let rules = vec![
            ScriptedRule {
                text: "bad",
                steps: refuses(403, "", &json!({"error": "bad"})),
            },
            ScriptedRule {
                text: "gone",
                steps: vec![ScriptedStep::Close],
            },
        ];
        let upstream = ScriptedUpstream::start("up", ScriptedReading::Whole, rules).await;
        assert_eq!(post(&upstream, "a bad one").await.unwrap().0, 403);
        assert!(post(&upstream, "gone").await.is_err());
        let (status, text) = post(&upstream, "good").await.unwrap();
        assert!(
            status == 200 && text.contains("\"content\":\"up\""),
            "{text}"
        );
        let url = format!("{}/seen", upstream.url());
        let seen = try_get(&http(), &url).await.unwrap().json();
        assert_eq!((upstream.posts(), seen), (3, json!(3)));
    }

    #[tokio::test]
    async fn connection_is_closed_after_its_answer() {
        let upstream = ScriptedUpstream::start("up", ScriptedReading::OnceEach, Vec::new()).await;
        let (client, url) = (http(), format!("{}/v1/chat/completions", upstream.url()));
        let body = serde_json::to_vec(&chat_body("m", "x")).unwrap();
        let answer = client.post(&url).body(body).send().await.unwrap();
        assert!(!answer.headers().contains_key("connection"));
        assert_eq!(answer.bytes().await.unwrap().len(), whole_length());
        let mut stream = TcpStream::connect(upstream.address).await.unwrap();
        let request = "POST /v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }

    fn whole_length() -> usize {
        chat(&json!("m"), "up").to_string().len()
    }
}
