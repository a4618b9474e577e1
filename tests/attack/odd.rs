//! An upstream that answers a chat with whatever bytes its text names, and keeps the paths it was asked for.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_tests::canned::read_request;
use grapevine_tests::wait::must;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it serves, and its name at the node.
pub(crate) const ODD: &str = "odd";

/// The text that is answered as it should be.
pub(crate) const GOOD: &str = "good";

/// Bytes that an answer without an end repeats.
const REPEATED_BYTES: usize = 16 * 1_024;

/// An answer that no upstream should send.
pub(crate) struct OddAnswer {
    /// The text that asks for it.
    pub(crate) name: &'static str,
    /// What is sent first.
    bytes: &'static str,
    /// What is sent behind it, over and over, until the node hangs up.
    endless: Option<&'static str>,
}

const fn answer(name: &'static str, bytes: &'static str) -> OddAnswer {
    let endless = None;
    OddAnswer {
        name,
        bytes,
        endless,
    }
}

const fn endless(name: &'static str, bytes: &'static str, endless: &'static str) -> OddAnswer {
    let endless = Some(endless);
    OddAnswer {
        name,
        bytes,
        endless,
    }
}

/// All of them. Bytes after some of the answers would reach the next client if the connection were reused.
pub(crate) const ODD_ANSWERS: &[OddAnswer] = &[
    answer(
        "a length and chunks",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
    ),
    answer(
        "two lengths",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 40\r\n\r\n{}\
         HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
    ),
    answer(
        "two lengths in one line",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 40\r\n\r\n{}",
    ),
    answer(
        "a negative length",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
    ),
    answer(
        "another protocol",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nanything",
    ),
    answer(
        "chunks within another coding",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    answer("no HTTP", "+OK ready\r\n\r\n"),
    answer("no answer", ""),
    endless(
        "a head without an end",
        "HTTP/1.1 200 OK\r\n",
        "x-filler: abcdefghijklmnopqrstuvwxyz\r\n",
    ),
    endless(
        "a field without an end",
        "HTTP/1.1 200 OK\r\nx-filler: ",
        "abcdefghijklmnopqrstuvwxyz",
    ),
    endless(
        "interim answers without an end",
        "",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
    ),
];

/// A running upstream. Dropping it ends it.
pub(crate) struct Odd {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeSet<String>>>,
    _server: JoinSet<()>,
}

impl Odd {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        let listener = must(
            "listening",
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        );
        let address = must("the listener's address", listener.local_addr());
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let kept = Arc::clone(&asked);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                // A node that hangs up ends its connection and nothing else.
                connections.spawn(async move { drop(serve(stream, &kept).await) });
            }
        });
        Self {
            address,
            asked,
            _server: server,
        }
    }

    /// As written in a node's configuration: never ejected, since it is meant to fail.
    pub(crate) fn upstream(&self) -> Value {
        json!({
            "name": ODD,
            "base_url": format!("http://{}/v1", self.address),
            "models": [ODD],
            "health": {"interval": "1s", "timeout": "500ms", "failure_threshold": 100},
        })
    }

    /// The requests that came, as METHOD PATH.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn serve(stream: TcpStream, asked: &Mutex<BTreeSet<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let line = request.head.lines().next().unwrap_or_default();
        let what = line.trim_end_matches(" HTTP/1.1").to_owned();
        asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(what);
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let text = body["messages"][0]["content"].as_str().unwrap_or_default();
        let odd = ODD_ANSWERS.iter().find(|answer| answer.name == text);
        let Some(odd) = odd else {
            stream.write_all(good().as_bytes()).await?;
            stream.flush().await?;
            continue;
        };
        stream.write_all(odd.bytes.as_bytes()).await?;
        stream.flush().await?;
        if let Some(repeated) = odd.endless {
            let repeated = repeated.repeat(REPEATED_BYTES / repeated.len());
            // Ends when the node hangs up, and only then.
            loop {
                stream.write_all(repeated.as_bytes()).await?;
            }
        }
        if odd.bytes.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn good() -> String {
    let body = json!({
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": GOOD}}],
        "data": [],
    });
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    format!("{head}{}\r\n\r\n{body}", body.len())
}
