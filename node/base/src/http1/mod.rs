//! What both sides of HTTP/1.1 read alike: bytes that arrive, chunks, and parsed heads as maps.

mod chunked;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use httparse::Header;
use memchr::memchr_iter;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

pub use chunked::{Chunk, ChunkDecoder, ChunkError};

/// Takes the first `count` bytes of `incoming`; all of them without a copy or a counter.
pub fn take(incoming: &mut BytesMut, count: usize) -> Bytes {
    if count < incoming.len() {
        return incoming.split_to(count).freeze();
    }
    std::mem::take(incoming).freeze()
}

/// What was parsed, as a map; `value` makes a value of its bytes.
///
/// # Errors
/// What is wrong with one of them.
pub fn header_map<'b, E>(
    fields: &[Header<'b>],
    value: impl Fn(&'b [u8]) -> Result<HeaderValue, E>,
) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::with_capacity(fields.len());
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

/// Finds the end of a head in what arrives.
#[derive(Debug, Default)]
pub struct HeadEnd {
    /// How far the bytes at hand were looked at before: a head that arrives byte by byte is looked at once.
    looked_at: usize,
}

impl HeadEnd {
    /// Where the head at the beginning of `incoming` ends, behind its empty line; `None` where more must arrive.
    pub fn find(&mut self, incoming: &[u8]) -> Option<usize> {
        // The line feed before may be the last that was looked at, or the one before that.
        let from = self.looked_at.saturating_sub(2);
        self.looked_at = incoming.len();
        let ends = memchr_iter(b'\n', &incoming[from..]).map(|at| from + at);
        let mut ends = ends.filter_map(|at| match &incoming[at + 1..] {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        });
        ends.next()
    }

    /// Whether nothing was looked at yet.
    pub const fn is_new(&self) -> bool {
        self.looked_at == 0
    }

    /// So many bytes were taken from the beginning.
    pub fn taken(&mut self, count: usize) {
        self.looked_at = self.looked_at.saturating_sub(count);
    }
}

/// Whether `Connection` names `option`.
pub fn names_option(headers: &HeaderMap, option: &str) -> bool {
    let mut values = headers.get_all(header::CONNECTION).iter();
    values.any(|value| lists(value.as_bytes(), option))
}

/// Whether a list of words, parted by commas, has this one.
pub fn lists(value: &[u8], word: &str) -> bool {
    let mut words = value.split(|byte| *byte == b',');
    words.any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}
