//! Bodies that are sent encoded (`Content-Encoding`, RFC 9110 8.4), decoded piece by piece.
//!
//! What a few bytes decode to has no bound but the caller's: each step gives at most [`PIECE_BYTES_MAX`] bytes, so that
//! the caller can count them, stop at its limit, and let others run in between. The memory of a decoder is bounded by
//! what the codings permit on the web: a window of 8 MiB for zstd (RFC 9659), 16 MiB for brotli, of which no more is
//! ever touched than was decoded.

use std::borrow::Cow;
use std::io;

use bytes::{Buf, Bytes};
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder};
use http::header::{self, HeaderMap};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

/// The most bytes that one step decodes.
pub const PIECE_BYTES_MAX: usize = 32 * 1_024;

/// The largest window of zstd, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How brotli's large windows begin, which RFC 7932 does not have: seven bits.
const BROTLI_LARGE_WINDOW: u8 = 0b001_0001;

/// How much longer than what it decodes to a body may be: one that is flushed after every byte has six times its length.
const OVERHEAD_MAX: u64 = 16;

/// The same, in addition, in bytes: gzip's head may hold a comment.
const EMPTY_BYTES_MAX: u64 = 64 * 1_024;

/// The first byte of gzip, and of a frame of zstd, are not looked at: the decoders do that. zlib's is, since some
/// senders leave its head out where they name the coding `deflate`.
const ZLIB_METHOD: u8 = 8;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`, with the head of zlib or without.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// The coding is not known here.
    #[error("Content-Encoding must be gzip, deflate, br or zstd, or left out; {0:?} is not known")]
    Unknown(String),
    /// It was encoded more than once.
    #[error("Content-Encoding must name one coding; encode the body once")]
    Layered,
    /// It is not what its coding says.
    #[error("the body cannot be decoded as Content-Encoding says: {0}")]
    Corrupt(Cow<'static, str>),
    /// It ends too early.
    #[error("the body breaks off before the end of its Content-Encoding")]
    Truncated,
    /// It decodes to more than its reader takes.
    #[error("the body decodes to more than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
}

/// The longest name of a coding that an error repeats.
const SHOWN_MAX: usize = 64;

impl Coding {
    /// The coding that `headers` name; `None` for a body as it is.
    ///
    /// # Errors
    /// When it is unknown, or there is more than one.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, CodingError> {
        let mut coding = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for name in value.as_bytes().split(|byte| *byte == b',') {
                let name = name.trim_ascii().to_ascii_lowercase();
                let named = match &*name {
                    b"" | b"identity" => continue,
                    b"gzip" | b"x-gzip" => Self::Gzip,
                    b"deflate" => Self::Deflate,
                    b"br" => Self::Brotli,
                    b"zstd" => Self::Zstd,
                    other => {
                        let shown = &other[..other.len().min(SHOWN_MAX)];
                        let shown = String::from_utf8_lossy(shown).into_owned();
                        return Err(CodingError::Unknown(shown));
                    }
                };
                if coding.replace(named).is_some() {
                    return Err(CodingError::Layered);
                }
            }
        }
        Ok(coding)
    }
}

/// Decodes one body.
pub struct Decoder {
    kind: Kind,
    input: Bytes,
    output: Box<[u8]>,
    /// Whether the last step filled the output, so that there may be more without further input.
    may_have_more: bool,
    state: State,
    read_bytes: u64,
    written_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing arrived.
    Empty,
    Within,
    /// At the end of a stream, after which another may follow in gzip and zstd.
    Ended,
}

enum Kind {
    Gzip(Box<GzipDecoder>),
    /// Not known before its first byte.
    Deflate,
    Zlib(ZlibDecoder),
    RawDeflate(DeflateDecoder),
    Brotli(BrotliDecoder),
    Zstd(zstd::stream::raw::Decoder<'static>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Decoder")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder of `coding`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(coding: Coding) -> Result<Self, CodingError> {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::default()),
            Coding::Deflate => Kind::Deflate,
            Coding::Brotli => Kind::Brotli(BrotliDecoder::new()),
            Coding::Zstd => Kind::Zstd(zstd_decoder().map_err(corrupt)?),
        };
        Ok(Self {
            kind,
            input: Bytes::new(),
            output: vec![0; PIECE_BYTES_MAX].into(),
            may_have_more: false,
            state: State::Empty,
            read_bytes: 0,
            written_bytes: 0,
        })
    }

    /// Takes the next piece of the encoded body, once [`Decoder::step`] has used up the one before.
    pub fn feed(&mut self, piece: Bytes) {
        debug_assert!(self.input.is_empty(), "the last piece is used up");
        self.input = piece;
    }

    /// Decodes some more; `None` when the next piece is needed.
    ///
    /// # Errors
    /// When the body is not what its coding says.
    pub fn step(&mut self) -> Result<Option<&[u8]>, CodingError> {
        while !self.input.is_empty() || self.may_have_more {
            self.begin()?;
            let (read, written, has_ended) = self.kind.decode(&self.input, &mut self.output)?;
            self.input.advance(read);
            self.count(read, written)?;
            self.may_have_more = written == self.output.len() && !has_ended;
            self.state = if has_ended {
                State::Ended
            } else {
                State::Within
            };
            if written > 0 {
                return Ok(Some(&self.output[..written]));
            }
            if read == 0 && !has_ended && !self.input.is_empty() {
                return Err(CodingError::Corrupt("its decoder stands still".into()));
            }
        }
        Ok(None)
    }

    /// Whether the body may end here, all of it being decoded.
    ///
    /// # Errors
    /// When it may not.
    pub fn finish(&mut self) -> Result<(), CodingError> {
        let has_ended = match self.state {
            State::Empty | State::Ended => true,
            State::Within => self.kind.has_ended(&mut self.output),
        };
        has_ended.then_some(()).ok_or(CodingError::Truncated)
    }

    /// A body may be without an end and decode to nothing, which no limit on what it decodes to would notice.
    fn count(&mut self, read: usize, written: usize) -> Result<(), CodingError> {
        self.read_bytes += read as u64;
        self.written_bytes += written as u64;
        let most = self.written_bytes.saturating_mul(OVERHEAD_MAX) + EMPTY_BYTES_MAX;
        if self.read_bytes > most {
            return Err(CodingError::Corrupt("it decodes to next to nothing".into()));
        }
        Ok(())
    }

    /// Prepares for input at the beginning, and after the end of a stream.
    fn begin(&mut self) -> Result<(), CodingError> {
        let Some(first) = self.input.first() else {
            return Ok(());
        };
        match (&mut self.kind, self.state) {
            (_, State::Within) | (Kind::Gzip(_) | Kind::Zstd(_), State::Empty) => Ok(()),
            (Kind::Gzip(decoder), State::Ended) => decoder.reinit().map_err(corrupt),
            (Kind::Zstd(decoder), State::Ended) => decoder.reinit().map_err(corrupt),
            (Kind::Brotli(_), State::Empty) if first & 0x7f == BROTLI_LARGE_WINDOW => {
                Err(CodingError::Corrupt("its window is too large".into()))
            }
            (Kind::Deflate, _) => {
                self.kind = if first & 0x0f == ZLIB_METHOD {
                    Kind::Zlib(ZlibDecoder::new())
                } else {
                    Kind::RawDeflate(DeflateDecoder::new())
                };
                Ok(())
            }
            (_, State::Empty) => Ok(()),
            (_, State::Ended) => Err(CodingError::Corrupt("more follows after its end".into())),
        }
    }
}

impl Kind {
    /// The bytes read and written, and whether a stream ended with them.
    fn decode(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(usize, usize, bool), CodingError> {
        match self {
            Self::Gzip(decoder) => decode(&mut **decoder, input, output),
            Self::Zlib(decoder) => decode(decoder, input, output),
            Self::RawDeflate(decoder) => decode(decoder, input, output),
            Self::Brotli(decoder) => decode(decoder, input, output),
            Self::Zstd(decoder) => {
                let mut read = InBuffer::around(input);
                let mut written = OutBuffer::around(output);
                let left = decoder.run(&mut read, &mut written).map_err(corrupt)?;
                Ok((read.pos(), written.pos(), left == 0))
            }
            // Another kind once there is input.
            Self::Deflate => Ok((0, 0, false)),
        }
    }

    /// Whether the last input ended the stream, where its last output came after that.
    fn has_ended(&mut self, output: &mut [u8]) -> bool {
        let mut output = WriteBuffer::new_initialized(output);
        let ended = match self {
            Self::Gzip(decoder) => decoder.finish(&mut output),
            Self::Zlib(decoder) => decoder.finish(&mut output),
            Self::RawDeflate(decoder) => decoder.finish(&mut output),
            Self::Brotli(decoder) => decoder.finish(&mut output),
            Self::Zstd(_) | Self::Deflate => Ok(false),
        };
        ended.unwrap_or(false)
    }
}

fn decode(
    decoder: &mut impl DecodeV2,
    input: &[u8],
    output: &mut [u8],
) -> Result<(usize, usize, bool), CodingError> {
    let mut read = PartialBuffer::new(input);
    let mut written = WriteBuffer::new_initialized(output);
    let has_ended = if input.is_empty() {
        // What is left of an earlier piece; whether the stream ended is known with the next.
        decoder.flush(&mut written).map_err(corrupt)?;
        false
    } else {
        decoder.decode(&mut read, &mut written).map_err(corrupt)?
    };
    Ok((read.written_len(), written.written_len(), has_ended))
}

fn zstd_decoder() -> io::Result<zstd::stream::raw::Decoder<'static>> {
    let mut decoder = zstd::stream::raw::Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

fn corrupt(error: io::Error) -> CodingError {
    CodingError::Corrupt(error.to_string().into())
}

/// All that `body` decodes to, up to `max` bytes. For small bodies, such as a list of models: it does not let others run.
///
/// # Errors
/// When it cannot be decoded, or is larger.
pub fn decoded(coding: Coding, body: Bytes, max: usize) -> Result<Bytes, CodingError> {
    let mut decoder = Decoder::new(coding)?;
    let mut whole = Vec::new();
    decoder.feed(body);
    while let Some(piece) = decoder.step()? {
        if whole.len() + piece.len() > max {
            return Err(CodingError::TooLarge { max });
        }
        whole.extend_from_slice(piece);
    }
    decoder.finish()?;
    Ok(Bytes::from(whole))
}

#[cfg(test)]
mod tests;
