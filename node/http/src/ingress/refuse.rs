//! Refuses a client for which there is no room, with an answer where possible.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Clients that are refused with an answer at a time, on one thread; more are closed without one, since an
/// answer holds the resources that are short.
const ANSWERED_MAX: usize = 4;

/// How long a refused client may take to read the answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// The refusal, as a whole answer of HTTP/1.
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 146\r\n\r\n\
    {\"error\":{\"message\":\"this node has no room for another connection; try again in a moment\",\
    \"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";

/// Refuses clients.
#[derive(Debug)]
pub(super) struct Refusals {
    answered: Arc<Semaphore>,
    /// Behind TLS no answer is possible before a handshake.
    can_speak: bool,
}

impl Refusals {
    /// For a listener whose clients speak plain HTTP, or not.
    pub(super) fn new(can_speak: bool) -> Self {
        Self {
            answered: Arc::new(Semaphore::new(ANSWERED_MAX)),
            can_speak,
        }
    }

    /// Closes `stream`, with an answer where there is room for that.
    pub(super) fn refuse(&self, mut stream: TcpStream) {
        let permit = Arc::clone(&self.answered).try_acquire_owned();
        let Some(permit) = permit.ok().filter(|_| self.can_speak) else {
            return;
        };
        tokio::spawn(async move {
            let _permit = permit;
            let answer = async {
                stream.write_all(ANSWER).await?;
                stream.shutdown().await?;
                // Closed before the request was read, the connection would be reset, and the answer lost.
                let mut request = [0; 1_024];
                while stream.read(&mut request).await? > 0 {}
                std::io::Result::Ok(())
            };
            // A client that does not read the answer in time does not get it.
            let _ = timeout(PATIENCE, answer).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_whole() {
        let text = std::str::from_utf8(ANSWER).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"]["code"], "overloaded");
    }
}
