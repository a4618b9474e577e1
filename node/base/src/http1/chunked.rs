//! Reads a body that is sent in chunks (RFC 9112, 7.1).
//!
//! Strict: lines end with CRLF, a size is of hexadecimal digits alone, and what follows it is an extension. Who is
//! lenient here and whoever reads the same bytes elsewhere could disagree on where the body ends.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use httparse::{EMPTY_HEADER, Status};
use memchr::{memchr, memchr_iter};

use super::{header_map, take};

/// The longest line with a size, of which extensions take all but a few bytes.
const SIZE_LINE_MAX: usize = 4 * 1_024;

/// The digits of the largest size.
const SIZE_DIGITS_MAX: usize = 16;

/// What may follow the last chunk.
const TRAILER_BYTES_MAX: usize = 16 * 1_024;

/// The most trailers.
const TRAILERS_MAX: usize = 64;

/// What is wrong with the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Its size is no hexadecimal number of at most 16 digits.
    #[error("a chunk's size is none")]
    Size,
    /// A bare line feed, or none.
    #[error("a chunk's line does not end with CRLF")]
    LineEnd,
    /// Extensions included.
    #[error("a chunk's line is too long")]
    LineTooLong,
    /// No line ends behind its data.
    #[error("a chunk is longer than its size")]
    DataEnd,
    /// What follows the last chunk.
    #[error("the trailers are none, or too many")]
    Trailers,
}

/// Where in the body it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkDecoder {
    /// Before a line with a size.
    #[default]
    Size,
    /// Within a chunk, of which so much is left.
    Data(u64),
    /// Behind a chunk's data, before the end of its line.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// Behind all of it.
    Over,
}

/// What came next.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Some of a chunk's data.
    Data(Bytes),
    /// What followed the last chunk; the body is over.
    Trailers(HeaderMap),
    /// The body is over.
    End,
    /// More bytes are needed.
    Unfinished,
}

impl ChunkDecoder {
    /// Takes the next part of the body from the beginning of `incoming`.
    ///
    /// # Errors
    /// The body is broken; nothing more can be read of it.
    pub fn next(&mut self, incoming: &mut BytesMut) -> Result<Chunk, ChunkError> {
        loop {
            match *self {
                Self::Size => {
                    let Some(end) = memchr(b'\n', incoming).map(|at| at + 1) else {
                        return match incoming.len() > SIZE_LINE_MAX {
                            true => Err(ChunkError::LineTooLong),
                            false => Ok(Chunk::Unfinished),
                        };
                    };
                    let size = size_of(&incoming[..end])?;
                    let _ = incoming.split_to(end);
                    *self = match size {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Data(_) if incoming.is_empty() => return Ok(Chunk::Unfinished),
                Self::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX);
                    let data = take(incoming, here.min(incoming.len()));
                    *self = match left - data.len() as u64 {
                        0 => Self::DataEnd,
                        left => Self::Data(left),
                    };
                    return Ok(Chunk::Data(data));
                }
                Self::DataEnd => match &incoming[..] {
                    [b'\r', b'\n', ..] => {
                        let _ = incoming.split_to(2);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(Chunk::Unfinished),
                    _ => return Err(ChunkError::DataEnd),
                },
                Self::Trailers => return self.trailers(incoming),
                Self::Over => return Ok(Chunk::End),
            }
        }
    }

    /// What follows the last chunk: trailers, most often none, and an empty line.
    fn trailers(&mut self, incoming: &mut BytesMut) -> Result<Chunk, ChunkError> {
        match &incoming[..] {
            [b'\r', b'\n', ..] => {
                let _ = incoming.split_to(2);
                *self = Self::Over;
                return Ok(Chunk::End);
            }
            [] | [b'\r'] => return Ok(Chunk::Unfinished),
            [b'\n', ..] => return Err(ChunkError::LineEnd),
            _ => {}
        }
        let mut fields = [EMPTY_HEADER; TRAILERS_MAX];
        let (length, fields) = match httparse::parse_headers(incoming, &mut fields) {
            Ok(Status::Complete(whole)) => whole,
            Ok(Status::Partial) if incoming.len() <= TRAILER_BYTES_MAX => {
                return Ok(Chunk::Unfinished);
            }
            _ => return Err(ChunkError::Trailers),
        };
        let mut ends = memchr_iter(b'\n', &incoming[..length]);
        if ends.any(|at| at == 0 || incoming[at - 1] != b'\r') {
            return Err(ChunkError::LineEnd);
        }
        let trailers = header_map(fields, HeaderValue::from_bytes);
        let trailers = trailers.map_err(|_| ChunkError::Trailers)?;
        let _ = incoming.split_to(length);
        *self = Self::Over;
        Ok(Chunk::Trailers(trailers))
    }
}

/// The size that `line` announces.
fn size_of(line: &[u8]) -> Result<u64, ChunkError> {
    let line = line.strip_suffix(b"\r\n").ok_or(ChunkError::LineEnd)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, rest) = line.split_at(digits.count());
    let is_extension = |rest: &[u8]| rest.is_empty() || rest.starts_with(b";");
    if !is_extension(rest.trim_ascii_start())
        || rest
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(ChunkError::Size);
    }
    if !(1..=SIZE_DIGITS_MAX).contains(&digits.len()) {
        return Err(ChunkError::Size);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| ChunkError::Size)?;
    u64::from_str_radix(digits, 16).map_err(|_| ChunkError::Size)
}
