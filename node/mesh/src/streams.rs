//! Reading frames and messages from streams, within limits.

use std::hint::black_box;
use std::ops::Deref;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::share::ShareExceeded;
use grapevine_proto::frame::{self, DecodeError, LENGTH_BYTES};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream};
use tokio::time::Instant;

use super::halves::{RecvHalf, SendHalf};
use grapevine_base::bodies::{BodyBuffer, Charge};
use grapevine_base::coarse::timeout_at;

/// The most bytes allocated at once for a frame's announced length.
const FRAME_ROOM: usize = 4 * 1_024;

/// How long a peer may pause within a body.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why a frame or a body did not come in whole.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer reset or stopped the stream with this code.
    #[error("stream was reset with code {0:#x}")]
    Reset(u64),
    /// The connection ended.
    #[error("connection ended: {0}")]
    Lost(quinn::ConnectionError),
    /// The stream ended in the middle, or went on beyond its announced end.
    #[error("stream did not hold what its length announced")]
    WrongLength,
    /// The frame's length is beyond its limit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It paused for too long, or trickled.
    #[error("stream came too slowly")]
    TooSlow,
    /// Its sender holds as much memory as it may.
    #[error("no memory is left for bodies of this sender")]
    NoRoom(ShareExceeded),
}

impl From<ReadError> for ReceiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code.into_inner()),
            ReadError::ConnectionLost(error) => Self::Lost(error),
            // The rest cannot happen here: ordered reads of an open stream, and no 0-RTT.
            _ => Self::WrongLength,
        }
    }
}

impl From<ReadExactError> for ReceiveError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::WrongLength,
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

/// A frame's payload, zeroed when dropped: heads hold what clients sent as headers. Freed memory of their size goes
/// next to QUIC's buffers of received pieces, which live as long as their link and are never filled, so that parts of
/// old headers would stay in them.
#[derive(Debug)]
pub struct FramePayload(Vec<u8>);

impl Deref for FramePayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for FramePayload {
    fn drop(&mut self) {
        self.0.fill(0);
        // Or the compiler may leave out what nobody reads.
        black_box(self.0.as_mut_slice());
    }
}

/// Reads a frame's payload of at most `max` bytes, and nothing after it. Takes memory for what comes, not for what is
/// announced.
///
/// # Errors
/// See [`ReceiveError`]; an oversize frame costs four bytes of reading.
pub async fn read_frame(stream: &mut RecvStream, max: usize) -> Result<FramePayload, ReceiveError> {
    let mut prefix = [0; LENGTH_BYTES];
    stream.read_exact(&mut prefix).await?;
    let length = frame::payload_length(prefix, max)?;
    let mut payload = Vec::with_capacity(length.min(FRAME_ROOM));
    while payload.len() < length {
        let chunk = stream.read_chunk(length - payload.len(), true).await?;
        let chunk = chunk.ok_or(ReceiveError::WrongLength)?;
        payload.extend_from_slice(&chunk.bytes);
    }
    Ok(FramePayload(payload))
}

/// Reads a body of exactly `length` bytes up to the stream's end, until `deadline` at the latest. A body
/// that came in one piece is not copied. What comes is charged to `charge` until the body is dropped.
///
/// # Errors
/// [`ReceiveError::WrongLength`] when the stream ends before that length or continues after it: a sender
/// that vanished within an upload must not look as if it had finished.
pub async fn read_body(
    stream: &mut CallStream,
    length: usize,
    charge: Charge,
    deadline: Instant,
) -> Result<Bytes, ReceiveError> {
    let mut buffer = BodyBuffer::begin(charge, Some(length), PAUSE_MAX);
    loop {
        let due = buffer.due().min(deadline);
        let chunk = pin!(stream.chunk());
        let chunk = timeout_at(due, chunk)
            .await
            .ok_or(ReceiveError::TooSlow)??;
        let Some(chunk) = chunk else { break };
        if buffer.len() + chunk.len() > length {
            return Err(ReceiveError::WrongLength);
        }
        buffer.take(chunk).map_err(ReceiveError::NoRoom)?;
    }
    if buffer.len() != length {
        return Err(ReceiveError::WrongLength);
    }
    Ok(buffer.finish())
}

/// Both halves of a call's stream, with a code that both end with unless the call came to its end.
#[derive(Debug)]
pub struct CallStream {
    /// The sending half.
    pub send: SendHalf,
    /// The receiving half.
    pub recv: RecvHalf,
    /// What came with a head and was not read yet: most calls and answers come in one piece.
    pub(super) rest: Bytes,
}

impl CallStream {
    /// Resets and stops with `code` when dropped.
    pub const fn new(send: SendStream, recv: RecvStream, code: u32) -> Self {
        Self {
            send: SendHalf {
                stream: send,
                code: Some(code),
            },
            recv: RecvHalf {
                stream: recv,
                code: Some(code),
            },
            rest: Bytes::new(),
        }
    }

    /// The halves by themselves, and what was not read yet.
    pub fn into_halves(self) -> (SendHalf, RecvHalf, Bytes) {
        (self.send, self.recv, self.rest)
    }

    /// Reads a head: as [`read_frame`], but what came with it is kept for [`CallStream::chunk`]. `take` is called with
    /// the length of each piece of it, and may refuse.
    ///
    /// # Errors
    /// As [`read_frame`], and what `take` returns.
    pub async fn head(
        &mut self,
        max: usize,
        mut take: impl FnMut(usize) -> Result<(), ReceiveError>,
    ) -> Result<FramePayload, ReceiveError> {
        let mut prefix = [0; LENGTH_BYTES];
        let mut prefixed = 0;
        while prefixed < LENGTH_BYTES {
            let piece = self.piece(LENGTH_BYTES - prefixed).await?;
            prefix[prefixed..prefixed + piece.len()].copy_from_slice(&piece);
            prefixed += piece.len();
        }
        let length = frame::payload_length(prefix, max)?;
        let mut payload = FramePayload(Vec::with_capacity(length.min(FRAME_ROOM)));
        while payload.len() < length {
            let piece = self.piece(length - payload.len()).await?;
            take(piece.len())?;
            payload.0.extend_from_slice(&piece);
        }
        Ok(payload)
    }

    /// The next bytes, `max` of them at most; the rest of what came with them is kept.
    async fn piece(&mut self, max: usize) -> Result<Bytes, ReceiveError> {
        let chunk = self.chunk().await?;
        let mut piece = chunk.ok_or(ReceiveError::WrongLength)?;
        if piece.len() > max {
            self.rest = piece.split_off(max);
        }
        Ok(piece)
    }

    /// What comes next, what was kept first; `None` at the stream's end.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        if !self.rest.is_empty() {
            return Ok(Some(self.take_rest()));
        }
        let chunk = self.recv.read_chunk(usize::MAX, true).await?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    /// What came with the head and was not read yet.
    pub const fn take_rest(&mut self) -> Bytes {
        std::mem::replace(&mut self.rest, Bytes::new())
    }

    /// Resets and stops with `code` when dropped.
    pub const fn set_code(&mut self, code: u32) {
        self.send.code = Some(code);
        self.recv.code = Some(code);
    }

    /// The call came to its end: what was sent is delivered, whenever this is dropped.
    pub const fn complete(&mut self) {
        self.send.complete();
        self.recv.complete();
    }

    /// Where all was sent, the call came to its end.
    pub const fn settle(&mut self) {
        if self.is_complete() {
            self.complete();
        }
    }

    /// Whether the call came to its end.
    pub const fn is_complete(&self) -> bool {
        self.send.code.is_none()
    }
}

/// Reads a message of at most `max` bytes up to the stream's end, within `limit`.
pub async fn read_message(stream: &mut RecvStream, max: usize, limit: Duration) -> Option<Bytes> {
    let read = tokio::time::timeout(limit, stream.read_to_end(max));
    read.await.ok()?.ok().map(Bytes::from)
}
