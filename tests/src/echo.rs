//! An upstream in the test's own process that echoes its input, and counts how often it received
//! each text: side effects that a test can account for one by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::canned::read_request;
use crate::wait::{must, within};

/// Between two checks of the count.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running upstream. Dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    counts: Arc<Mutex<EchoCounts>>,
    held: Arc<Held>,
    _server: JoinSet<()>,
}

/// Which chats wait for their answers.
#[derive(Debug)]
struct Held {
    /// Chats with this prefix; `None` holds none.
    prefix: Mutex<Option<&'static str>>,
    /// How many of them are answered.
    answers: Semaphore,
}

/// The texts received so far.
#[derive(Clone, Debug, Default)]
pub struct EchoCounts {
    /// How often each text was received.
    pub texts: BTreeMap<String, u64>,
    /// All of them.
    pub total: u64,
}

impl Echo {
    /// Starts an upstream that answers a chat, `latency` after it came, with its last message's text, and a response with
    /// its input.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(latency: Duration) -> Self {
        let any = (std::net::Ipv4Addr::LOCALHOST, 0);
        let listener = must("listening", TcpListener::bind(any).await);
        let address = must("the listener's address", listener.local_addr());
        let counts = Arc::new(Mutex::new(EchoCounts::default()));
        let held = Arc::new(Held {
            prefix: Mutex::new(None),
            answers: Semaphore::new(0),
        });
        let kept = (Arc::clone(&counts), Arc::clone(&held));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, held) = kept.clone();
                connections.spawn(async move {
                    // A client that hangs up ends its connection and nothing else.
                    drop(serve(stream, latency, &counts, &held).await);
                });
            }
        });
        Self {
            address,
            counts,
            held,
            _server: server,
        }
    }

    /// From now on only `answered` chats with the prefix `prefix` are answered; the others wait for
    /// [`Echo::release`].
    pub fn hold(&self, prefix: &'static str, answered: usize) {
        *lock(&self.held.prefix) = Some(prefix);
        self.held.answers.add_permits(answered);
    }

    /// Answers everything again.
    pub fn release(&self) {
        *lock(&self.held.prefix) = None;
        self.held.answers.close();
    }

    /// This upstream as written in a node's config.
    #[must_use]
    pub fn upstream(&self, name: &str, models: &[&str]) -> Value {
        let url = format!("http://{}/v1", self.address);
        json!({"name": name, "base_url": url, "api_key": "sk-echo", "models": models})
    }

    /// The texts received so far.
    #[must_use]
    pub fn counts(&self) -> EchoCounts {
        lock(&self.counts).clone()
    }

    /// How many chats were asked for so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        lock(&self.counts).total
    }

    /// Waits until so many chats were asked for.
    ///
    /// # Panics
    ///
    /// When they were not within `limit`.
    pub async fn wait_for(&self, least: u64, limit: Duration) {
        let what = format!("{least} chats");
        // Not `wait_until`: this may run in a task that moves between threads.
        let arrived = async {
            while self.total() < least {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        within(&what, limit, arrived).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    async fn wait(&self, text: &str) {
        let is_held = lock(&self.prefix).is_some_and(|prefix| text.starts_with(prefix));
        if is_held && let Ok(answer) = self.answers.acquire().await {
            answer.forget();
        }
    }
}

async fn serve(
    stream: TcpStream,
    latency: Duration,
    counts: &Mutex<EchoCounts>,
    held: &Held,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let answer = match request.head.starts_with("POST ") {
            true => {
                let asked: Value = serde_json::from_slice(&request.body)?;
                let text = text_of(&asked).to_owned();
                count(counts, &text);
                held.wait(&text).await;
                tokio::time::sleep(latency).await;
                match asked["input"].is_null() {
                    true => chat(&asked["model"], &text),
                    false => response(&asked["model"], &text),
                }
            }
            false => json!({"object": "list", "data": []}),
        };
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

fn count(counts: &Mutex<EchoCounts>, text: &str) {
    let mut counts = lock(counts);
    *counts.texts.entry(text.to_owned()).or_default() += 1;
    counts.total += 1;
}

/// The text of a chat's last message, or what a response is asked for.
fn text_of(asked: &Value) -> &str {
    let messages = asked["messages"].as_array();
    let last = messages.and_then(|all| all.last());
    let text = last.map_or(&asked["input"], |last| &last["content"]);
    text.as_str().unwrap_or_default()
}

fn response(model: &Value, text: &str) -> Value {
    json!({
        "id": "resp-echo",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": model,
        "output": [{
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text}],
        }],
    })
}

fn chat(model: &Value, text: &str) -> Value {
    json!({
        "id": "chatcmpl-echo",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{chat_body, http, try_post};

    #[tokio::test]
    async fn text_is_echoed_and_counted() {
        let echo = Echo::start(Duration::ZERO).await;
        let url = format!("http://{}/v1/chat/completions", echo.address);
        for text in ["a", "b", "a"] {
            let answer = try_post(&http(), &url, &chat_body("m", text)).await;
            assert_eq!(must("a chat", answer).content(), text);
        }
        let asked = json!({"model": "m", "input": "b"});
        let answer = must("a response", try_post(&http(), &url, &asked).await);
        assert_eq!(answer.json()["output"][0]["content"][0]["text"], "b");
        let counts = echo.counts();
        assert_eq!(
            (counts.texts["a"], counts.texts["b"], counts.total),
            (2, 2, 4)
        );
    }

    #[tokio::test]
    async fn held_texts_wait_for_their_release_and_others_do_not() {
        let echo = Echo::start(Duration::ZERO).await;
        echo.hold("line", 1);
        let url = format!("http://{}/v1/chat/completions", echo.address);
        let ask = async |text: &'static str| {
            let answer = try_post(&http(), &url, &chat_body("m", text)).await;
            must("a chat", answer).content().to_owned()
        };
        assert_eq!(
            (ask("line 1").await, ask("step").await),
            ("line 1".into(), "step".into())
        );
        let release = async {
            echo.wait_for(3, Duration::from_secs(30)).await;
            echo.release();
        };
        let (answer, ()) = tokio::join!(ask("line 2"), release);
        assert_eq!(answer, "line 2");
    }
}
