//! What both sides of HTTP/1.1 read alike: bytes that arrive, chunks, and parsed heads as maps.

mod chunked;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use httparse::Header;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

pub use chunked::{Chunk, ChunkDecoder, ChunkError};

/// Takes the first `count` bytes of `incoming`; all of them without a copy or a counter.
pub fn take(incoming: &mut BytesMut, count: usize) -> Bytes {
    if count < incoming.len() {
        return incoming.split_to(count).freeze();
    }
    std::mem::take(incoming).freeze()
}

/// What was parsed, as a map with room for `more`; `value` makes a value of its bytes.
///
/// # Errors
/// What is wrong with one of them.
pub fn header_map<'b, E>(
    fields: &[Header<'b>],
    more: usize,
    value: impl Fn(&'b [u8]) -> Result<HeaderValue, E>,
) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::with_capacity(fields.len() + more);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| "a header's name is none")?;
        let value = value(field.value).map_err(|_| "a header's value is none")?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What is read at once, at the most.
pub const READ_BYTES: usize = 64 * 1_024;

thread_local! {
    /// Where every connection of a thread reads into, so that none holds a buffer while it waits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Appends what has arrived on `stream` to `incoming`, at most [`READ_BYTES`]; zero is the end.
///
/// # Errors
/// The stream is broken.
pub fn fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    incoming: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if incoming.is_empty() {
            // Memory of its own, of just this size: the last piece keeps none.
            *incoming = BytesMut::from(read);
        } else {
            incoming.extend_from_slice(read);
        }
        Poll::Ready(Ok(read.len()))
    })
}

/// Fills `incoming`, which is empty, with at most `left` bytes, straight into its own memory; zero is the end.
///
/// # Errors
/// The stream is broken.
pub fn fill_at_most<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    incoming: &mut BytesMut,
    left: u64,
) -> Poll<io::Result<usize>> {
    let room = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
    if incoming.capacity() < room {
        *incoming = BytesMut::with_capacity(room);
    }
    let mut limited = incoming.limit(room);
    pin!(stream.read_buf(&mut limited)).poll(context)
}
