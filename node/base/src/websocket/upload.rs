//! The client's direction of a tunnel: where its bytes go.

use std::fmt;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Takes what a client sends through a tunnel. Dropping it breaks the direction off; [`TunnelUpload::finish`] ends it.
pub struct TunnelUpload(Box<dyn AsyncWrite + Send + Unpin>);

impl fmt::Debug for TunnelUpload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TunnelUpload")
    }
}

impl TunnelUpload {
    /// Writes to `to`, whose shutdown ends the direction.
    pub fn new(to: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(to))
    }

    /// Sends `bytes`; waits while the other side does not read.
    ///
    /// # Errors
    /// When nobody takes them any more.
    pub async fn send(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// The client sends nothing more.
    ///
    /// # Errors
    /// When nobody takes anything any more.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
