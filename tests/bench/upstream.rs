//! An upstream that costs little: the answers of `answers.rs`, from one thread. `tests/bench/run` starts it.
//!
//! ```text
//! upstream IP:PORT
//! ```
//!
//! The model of a request names its answer: `bench-json` one of 1 KB, `bench-sse` a stream of 100 events at once,
//! each written by itself; `bench-paced` the same at one event every 10 ms; `bench-hold` a stream that stays open
//! after its first event until its client closes it; `bench-late-json` and `bench-late-sse` the first two, 20 ms later.

mod answers;
mod framing;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use memchr::memmem::find;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use answers::{MODELS, PACE};
use framing::{Body, head};

/// A model's name stands so near the front of a body that no proxy wrote anew.
const FRONT: usize = 64;

/// How long a late answer takes to begin.
const LATE: Duration = Duration::from_millis(20);

/// Every answer as it is written.
struct Answers {
    json: Vec<u8>,
    models: Vec<u8>,
    /// What each write of a stream is, by its model.
    streams: [Writes; 4],
}

struct Writes {
    model: &'static str,
    plain: Vec<Vec<u8>>,
    with_usage: Vec<Vec<u8>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("upstream IP:PORT")?;
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let answers = Arc::new(Answers::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = answers.clone();
        // A client that goes away ends its connection and nothing else.
        tokio::spawn(async move { serve(stream, &answers).await.ok() });
    }
}

impl Answers {
    fn new() -> Self {
        let data: Vec<String> = MODELS
            .iter()
            .map(|model| {
                format!(
                    r#"{{"id":"{model}","object":"model","created":1700000000,"owned_by":"bench"}}"#
                )
            })
            .collect();
        let models = format!(r#"{{"object":"list","data":[{}]}}"#, data.join(","));
        Self {
            json: whole(&answers::json()),
            models: whole(&models),
            streams: [MODELS[1], MODELS[2], MODELS[3], MODELS[5]].map(Writes::new),
        }
    }
}

/// An answer with its head, in one piece.
fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

impl Writes {
    fn new(model: &'static str) -> Self {
        let events = answers::events(model);
        let mut asked = events.clone();
        asked.insert(events.len() - 1, usage(model));
        Self {
            model,
            plain: pieces(&events),
            with_usage: pieces(&asked),
        }
    }
}

/// The event with a stream's token counts, for a request that asks for it.
fn usage(model: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{model}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":240,\"completion_tokens\":100,\"total_tokens\":340}}}}\n\n"
    )
}

/// The writes of a stream: the head goes with the first event, the last chunk with the last one.
fn pieces(events: &[String]) -> Vec<Vec<u8>> {
    let chunk = |event: &String| format!("{:x}\r\n{event}\r\n", event.len());
    let mut writes: Vec<String> = events.iter().map(chunk).collect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    if let Some(first) = writes.first_mut() {
        first.insert_str(0, head);
    }
    if let Some(last) = writes.last_mut() {
        last.push_str("0\r\n\r\n");
    }
    writes.into_iter().map(String::into_bytes).collect()
}

async fn serve(mut stream: TcpStream, answers: &Answers) -> anyhow::Result<()> {
    let (mut read, mut body) = (Vec::with_capacity(4_096), Vec::new());
    loop {
        let head = loop {
            if let Some(head) = head(&read)? {
                break head;
            }
            read.reserve(4_096);
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        body.clear();
        let is_models = read.starts_with(b"GET");
        let mut framed = Body::new(head.framing);
        let mut from = head.length;
        loop {
            let used = framed.read(&read[from..], |piece| body.extend_from_slice(piece))?;
            if framed.is_whole() {
                read.drain(..from + used);
                break;
            }
            from = 0;
            read.clear();
            read.reserve(65_536);
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        match is_models {
            true => stream.write_all(&answers.models).await?,
            false => answer(&mut stream, &body, answers).await?,
        }
    }
}

async fn answer(stream: &mut TcpStream, body: &[u8], answers: &Answers) -> anyhow::Result<()> {
    let name = match find(&body[..body.len().min(FRONT)], b"\"bench-") {
        Some(at) => Some(at),
        None => find(body, b"\"bench-"),
    };
    let name = name.map_or(&[][..], |at| &body[at + 1..]);
    if name.starts_with(b"bench-late") {
        sleep(LATE).await;
    }
    let Some(writes) = answers
        .streams
        .iter()
        .find(|writes| name.starts_with(writes.model.as_bytes()))
    else {
        // Whatever else is posted, such as spans, is taken.
        return Ok(stream.write_all(&answers.json).await?);
    };
    let pieces = match find(body, b"include_usage") {
        Some(_) => &writes.with_usage,
        None => &writes.plain,
    };
    match writes.model {
        "bench-paced" => {
            let start = Instant::now();
            for (index, piece) in (0..).zip(pieces) {
                // A timer that is due at once still fires a millisecond later.
                if index > 0 {
                    sleep_until(start + PACE * index).await;
                }
                stream.write_all(piece).await?;
            }
        }
        "bench-hold" => {
            stream.write_all(&pieces[0]).await?;
            let mut closed = [0; 1];
            while stream.read(&mut closed).await? > 0 {}
        }
        _ => {
            for piece in pieces {
                stream.write_all(piece).await?;
            }
        }
    }
    Ok(())
}
