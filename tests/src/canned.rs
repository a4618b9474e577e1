//! An upstream in the test's own process that sends given bytes and keeps what it received, byte for
//! byte: for what must not change on the way, in either direction.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::wait::must;

/// The most requests that are kept.
const REQUESTS_MAX: usize = 1_000;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The request line and the header lines, each ended by CRLF.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a header's first line, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    }
}

/// A running upstream. Dropping it ends it.
#[derive(Debug)]
pub struct Canned {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _server: JoinSet<()>,
}

impl Canned {
    /// Starts an upstream that answers every POST with an event stream of these parts, one HTTP chunk
    /// each, and every GET with an empty list of models.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(parts: Vec<Vec<u8>>) -> Self {
        Self::start_with(parts, None).await
    }

    /// The same; each part waits for a permit of `gate`.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn gated(parts: Vec<Vec<u8>>, gate: Arc<Semaphore>) -> Self {
        Self::start_with(parts, Some(gate)).await
    }

    async fn start_with(parts: Vec<Vec<u8>>, gate: Option<Arc<Semaphore>>) -> Self {
        let any = (std::net::Ipv4Addr::LOCALHOST, 0);
        let listener = must("listening", TcpListener::bind(any).await);
        let address = must("the listener's address", listener.local_addr());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let parts = Arc::new(parts);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (parts, kept) = (Arc::clone(&parts), Arc::clone(&kept));
                let gate = gate.clone();
                connections.spawn(async move {
                    // A client that hangs up ends its connection and nothing else.
                    drop(serve(stream, &parts, gate.as_deref(), &kept).await);
                });
            }
        });
        Self {
            address,
            received,
            _server: server,
        }
    }

    /// What a client is given: the URL up to and with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// This upstream as written in a node's config.
    #[must_use]
    pub fn upstream(&self, name: &str, api_key: &str, models: &[&str]) -> Value {
        json!({"name": name, "base_url": self.base_url(), "api_key": api_key, "models": models})
    }

    /// The requests with a body so far, in the order of their arrival.
    #[must_use]
    pub fn posts(&self) -> Vec<Received> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let posts = received
            .iter()
            .filter(|request| request.head.starts_with("POST "));
        posts.cloned().collect()
    }
}

async fn serve(
    stream: TcpStream,
    parts: &[Vec<u8>],
    gate: Option<&Semaphore>,
    kept: &Mutex<Vec<Received>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let is_post = request.head.starts_with("POST ");
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < REQUESTS_MAX {
                kept.push(request);
            }
        }
        if is_post {
            write_stream(&mut stream, parts, gate).await?;
        } else {
            let body = r#"{"object":"list","data":[]}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + body).as_bytes()).await?;
        }
        stream.flush().await?;
    }
    Ok(())
}

/// The next request of a connection; `None` at its end.
///
/// # Errors
///
/// When the connection breaks, or what comes is no request.
pub async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Received>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let mut request = Received {
        head,
        body: Vec::new(),
    };
    if request
        .header("transfer-encoding")
        .eq_ignore_ascii_case("chunked")
    {
        read_chunks(stream, &mut request.body).await?;
    } else {
        request
            .body
            .resize(request.header("content-length").parse().unwrap_or(0), 0);
        stream.read_exact(&mut request.body).await?;
    }
    Ok(Some(request))
}

async fn read_chunks(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let start = body.len();
        // A chunk is followed by CRLF, the last one (of no bytes) too.
        body.resize(start + length + 2, 0);
        stream.read_exact(&mut body[start..]).await?;
        body.truncate(start + length);
        if length == 0 {
            return Ok(());
        }
    }
}

async fn write_stream(
    stream: &mut BufReader<TcpStream>,
    parts: &[Vec<u8>],
    gate: Option<&Semaphore>,
) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\nx-request-id: canned\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for part in parts {
        if let Some(gate) = gate {
            gate.acquire()
                .await
                .map_err(std::io::Error::other)?
                .forget();
        }
        stream
            .write_all(format!("{:x}\r\n", part.len()).as_bytes())
            .await?;
        stream.write_all(part).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{http, try_post};

    #[tokio::test]
    async fn what_is_sent_and_received_is_kept_byte_for_byte() {
        let upstream = Canned::start(vec![b"data: one\n".to_vec(), b"\n".to_vec()]).await;
        let url = format!("{}/chat/completions", upstream.base_url());
        let body = json!({"model": "m"});
        let answer = try_post(&http(), &url, &body).await.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, &b"data: one\n\n"[..])
        );
        let posts = upstream.posts();
        assert_eq!(posts[0].body, body.to_string().into_bytes());
        assert_eq!(posts[0].header("Content-Type"), "application/json");
    }
}
