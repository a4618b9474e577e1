//! An HTTP/1.1 client on a bare socket, for tests in which the moment of hanging up matters.
//!
//! A client library closes a dropped request's connection when its own task is next scheduled; dropping
//! [`RawClient`] closes the socket at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::{must, within};

/// The most bytes kept of an answer.
const RECEIVED_BYTES_MAX: usize = 1 << 20;

/// One request on a connection of its own. Dropping it hangs up.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    received: Vec<u8>,
}

impl RawClient {
    /// Connects and sends a whole request with a JSON body.
    ///
    /// # Panics
    ///
    /// When the connection cannot be made or breaks.
    pub async fn post(address: SocketAddr, path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = must("connecting", TcpStream::connect(address).await);
        must("setting no delay", stream.set_nodelay(true));
        must(
            "sending a request",
            stream.write_all(request.as_bytes()).await,
        );
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Reads until everything received so far contains `wanted`.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`, or the connection ends before.
    pub async fn read_until(&mut self, wanted: &str, limit: Duration) {
        let what = format!("{wanted:?} in an answer");
        within(&what, limit, async {
            let mut buffer = [0; 16 * 1024];
            while !contains(&self.received, wanted.as_bytes()) {
                assert!(
                    self.received.len() < RECEIVED_BYTES_MAX,
                    "an answer without {wanted:?}"
                );
                let length = must(&what, self.stream.read(&mut buffer).await);
                assert!(
                    length > 0,
                    "{what}: the connection ended after {:?}",
                    String::from_utf8_lossy(&self.received)
                );
                self.received.extend_from_slice(&buffer[..length]);
            }
        })
        .await;
    }

    /// Closes the socket, and returns when.
    pub fn hang_up(self) -> Instant {
        let now = Instant::now();
        drop(self);
        now
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
