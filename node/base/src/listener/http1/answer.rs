//! An answer, as it is written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use tokio::io::AsyncWrite;

use crate::head_lines::HeadLines;

/// Room for what most heads have beside the lines that are made before.
const EXPECTED_BYTES: usize = 384;

/// What may wait to be written before no more is taken of a body.
const PENDING_BYTES_MAX: usize = 64 * 1_024;

/// What is written at once, in pieces.
const SLICES: usize = 32;

/// Bytes of a line with a chunk's size.
const SIZE_LINE_BYTES: usize = 18;

/// How an answer's body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, whatever the headers say.
    None,
    /// So much is left.
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
    /// The same, and from here on it is another protocol.
    Upgraded,
}

/// What is asked of an answer by its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) is_head: bool,
    pub(super) is_http10: bool,
}

impl Terms {
    pub(super) fn new(method: &Method, is_http10: bool) -> Self {
        Self {
            is_head: *method == Method::HEAD,
            is_http10,
        }
    }

    /// How a body of `length` bytes is sent, or one whose length is not known.
    pub(super) fn framing(
        self,
        status: StatusCode,
        (headers, lines): (&HeaderMap, &HeadLines),
        length: Option<u64>,
    ) -> Framing {
        let has_none = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if self.is_head || has_none {
            return Framing::None;
        }
        let stated = headers.get(header::CONTENT_LENGTH);
        let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
        match stated.or(lines.length()).or(length) {
            Some(length) => Framing::Length(length),
            None if self.is_http10 => Framing::Close,
            None => Framing::Chunked,
        }
    }
}

/// The head of an answer, of what is in the map and of `lines` beside it.
pub(super) fn head(
    status: StatusCode,
    (headers, lines): (&HeaderMap, &HeadLines),
    terms: Terms,
    framing: Framing,
    is_kept: bool,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(EXPECTED_BYTES + lines.as_bytes().len());
    head.extend_from_slice(match terms.is_http10 {
        true => b"HTTP/1.0 ",
        false => b"HTTP/1.1 ",
    });
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or("-").as_bytes());
    head.extend_from_slice(b"\r\n");
    let (mut has_length, mut has_date) = (false, lines.has_date());
    for (name, value) in headers {
        if !is_about_the_connection(name) {
            has_length |= *name == header::CONTENT_LENGTH;
            has_date |= *name == header::DATE;
            line(&mut head, name.as_str(), value.as_bytes());
        }
    }
    head.extend_from_slice(lines.as_bytes());
    let length = match framing {
        Framing::Length(length) => Some(length),
        // What there would be of it.
        Framing::None => lines.length(),
        Framing::Chunked | Framing::Close | Framing::Upgraded => None,
    };
    if let Some(length) = length.filter(|_| !has_length) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(length).as_bytes();
        line(&mut head, "content-length", digits);
    }
    match framing {
        Framing::Chunked => line(&mut head, "transfer-encoding", b"chunked"),
        Framing::Upgraded => {
            line(&mut head, "connection", b"upgrade");
            line(&mut head, "upgrade", b"websocket");
        }
        Framing::Length(_) | Framing::Close | Framing::None => {}
    }
    let is_kept = is_kept || framing == Framing::Upgraded;
    match (is_kept, terms.is_http10) {
        (false, false) => line(&mut head, "connection", b"close"),
        (true, true) => line(&mut head, "connection", b"keep-alive"),
        (true, false) | (false, true) => {}
    }
    if !has_date {
        head.extend_from_slice(b"date: ");
        write_date(&mut head);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn is_about_the_connection(name: &header::HeaderName) -> bool {
    *name == header::CONNECTION || *name == header::TRANSFER_ENCODING
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for text in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(text);
    }
}

/// The date, which is written anew once a second.
fn write_date(head: &mut Vec<u8>) {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    WRITTEN.with_borrow_mut(|(written, text)| {
        if *written != second {
            *text = httpdate::fmt_http_date(now);
            *written = second;
        }
        head.extend_from_slice(text.as_bytes());
    });
}

/// A part of what is to be written.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// A head, whose memory is nobody else's: as `Bytes` it would need a counter.
    Head(Vec<u8>),
    /// A line with a chunk's size.
    Size([u8; SIZE_LINE_BYTES], usize),
    Text(&'static [u8]),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Head(head) => head,
            Self::Size(line, length) => &line[..*length],
            Self::Text(text) => text,
        }
    }
}

/// What is still to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Bytes of the first piece that were written.
    written: usize,
    is_flushed: bool,
}

impl Pending {
    /// Whether more may be added.
    pub(super) const fn has_room(&self) -> bool {
        self.bytes < PENDING_BYTES_MAX
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.add(Piece::Bytes(bytes));
    }

    pub(super) fn push_head(&mut self, head: Vec<u8>) {
        self.add(Piece::Head(head));
    }

    pub(super) fn push_text(&mut self, text: &'static [u8]) {
        self.add(Piece::Text(text));
    }

    pub(super) fn push_chunk(&mut self, data: Bytes) {
        if data.is_empty() {
            // That would end the body.
            return;
        }
        let mut line = [0; SIZE_LINE_BYTES];
        let mut start = SIZE_LINE_BYTES;
        for byte in [b'\n', b'\r'] {
            start -= 1;
            line[start] = byte;
        }
        let mut left = data.len();
        while left > 0 {
            start -= 1;
            line[start] = b"0123456789abcdef"[left & 0xf];
            left >>= 4;
        }
        line.copy_within(start.., 0);
        self.add(Piece::Size(line, SIZE_LINE_BYTES - start));
        self.add(Piece::Bytes(data));
        self.push_text(b"\r\n");
    }

    fn add(&mut self, piece: Piece) {
        let length = piece.bytes().len();
        if length > 0 {
            self.bytes += length;
            self.pieces.push_back(piece);
        }
    }

    /// Writes all of it, and sends it on its way.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            self.is_flushed = false;
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let from = if count == 0 { self.written } else { 0 };
                *slice = IoSlice::new(&piece.bytes()[from..]);
                count += 1;
            }
            let written = Pin::new(&mut *stream).poll_write_vectored(context, &slices[..count]);
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if !self.is_flushed {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.is_flushed = true;
        }
        // Nothing is kept while a stream is silent.
        self.pieces = VecDeque::new();
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        self.bytes -= count;
        self.written += count;
        while let Some(first) = self.pieces.front() {
            let length = first.bytes().len();
            if self.written < length {
                return;
            }
            self.written -= length;
            self.pieces.pop_front();
        }
    }
}
