//! Heads and bodies of HTTP/1.1, read with few instructions: trusted programs on one machine, nothing else.

use anyhow::{Context, bail, ensure};

/// How the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(usize),
    /// With the chunk of no bytes.
    Chunked,
}

/// The head of a request or an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its bytes, with the empty line.
    pub(crate) length: usize,
    pub(crate) framing: Framing,
    /// Whether the connection ends with this message.
    pub(crate) closes: bool,
}

/// The head at the front of `bytes`; none when it is not whole yet.
pub(crate) fn head(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut head = Head {
        length: end + 4,
        framing: Framing::Length(0),
        closes: false,
    };
    let mut start = memchr::memchr(b'\n', bytes).map_or(end, |line| line + 1);
    while start < end {
        let stop = memchr::memchr(b'\n', &bytes[start..]).map_or(end, |line| start + line - 1);
        let line = &bytes[start..stop];
        start = stop + 2;
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            continue;
        }
        if let Some(value) = value(line, "content-length") {
            head.framing = Framing::Length(value.parse().context("a content-length")?);
        } else if value(line, "transfer-encoding").is_some_and(|value| value == "chunked") {
            head.framing = Framing::Chunked;
        } else if value(line, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            head.closes = true;
        }
    }
    Ok(Some(head))
}

fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    let is_named = found.eq_ignore_ascii_case(name.as_bytes());
    is_named.then(|| std::str::from_utf8(value).unwrap_or_default().trim())
}

/// A body as far as it has come.
#[derive(Debug)]
pub(crate) struct Body {
    step: Step,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// So many bytes of a body without chunks are left.
    Plain(usize),
    /// The digits of a chunk's size, read so far.
    Size(usize),
    /// The rest of the line after a chunk's size.
    SizeEnd(usize),
    /// So many bytes of a chunk are left.
    Chunk(usize),
    /// The line end after a chunk, so many bytes of it.
    ChunkEnd(usize),
    /// The line end after the last chunk, so many bytes of it.
    LastEnd(usize),
    Whole,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let step = match framing {
            Framing::Length(0) => Step::Whole,
            Framing::Length(length) => Step::Plain(length),
            Framing::Chunked => Step::Size(0),
        };
        Self { step }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.step == Step::Whole
    }

    /// Reads `bytes`, gives each piece of the body to `take`, and returns how many bytes belong to the message.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> anyhow::Result<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.step {
                Step::Plain(left) => {
                    let piece = left.min(rest.len());
                    take(&rest[..piece]);
                    at += piece;
                    self.step = match left - piece {
                        0 => Step::Whole,
                        left => Step::Plain(left),
                    };
                }
                Step::Chunk(left) => {
                    let piece = left.min(rest.len());
                    take(&rest[..piece]);
                    at += piece;
                    self.step = match left - piece {
                        0 => Step::ChunkEnd(2),
                        left => Step::Chunk(left),
                    };
                }
                Step::Whole => break,
                _ => {
                    self.line(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// Reads one byte between chunks.
    fn line(&mut self, byte: u8) -> anyhow::Result<()> {
        self.step = match (&self.step, byte) {
            (Step::Size(size), b'\r' | b';') => Step::SizeEnd(*size),
            (Step::Size(size), digit) => {
                let digit = char::from(digit)
                    .to_digit(16)
                    .context("a digit of a chunk's size")?;
                ensure!(*size < 1 << 32, "a chunk is too large");
                Step::Size(size * 16 + digit as usize)
            }
            (Step::SizeEnd(0), b'\n') => Step::LastEnd(2),
            (Step::SizeEnd(size), b'\n') => Step::Chunk(*size),
            (Step::SizeEnd(size), _) => Step::SizeEnd(*size),
            (Step::ChunkEnd(2), b'\r') => Step::ChunkEnd(1),
            (Step::ChunkEnd(1), b'\n') => Step::Size(0),
            (Step::LastEnd(2), b'\r') => Step::LastEnd(1),
            (Step::LastEnd(1), b'\n') => Step::Whole,
            (step, byte) => {
                bail!("byte {byte} after {step:?}: trailers and bare line ends are not read")
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wire: &[u8], step: usize) -> (String, usize, bool) {
        let mut body = Body::new(Framing::Chunked);
        let (mut text, mut used) = (Vec::new(), 0);
        for part in wire.chunks(step) {
            used += body
                .read(part, |piece| text.extend_from_slice(piece))
                .unwrap();
        }
        (String::from_utf8(text).unwrap(), used, body.is_whole())
    }

    #[test]
    fn chunks_cut_anywhere_give_the_same_body() {
        let wire = b"5\r\nhello\r\nA;x=y\r\n, 16 bytes\r\n0\r\n\r\n";
        for step in 1..=wire.len() {
            assert_eq!(
                text(wire, step),
                ("hello, 16 bytes".to_owned(), wire.len(), true)
            );
        }
    }

    #[test]
    fn body_without_its_last_chunk_is_not_whole() {
        assert_eq!(text(b"5\r\nhello\r\n", 3), ("hello".to_owned(), 10, false));
        assert_eq!(
            text(b"5\r\nhello\r\n0\r\n", 3),
            ("hello".to_owned(), 13, false)
        );
    }

    #[test]
    fn what_follows_a_body_is_left() {
        let mut body = Body::new(Framing::Length(2));
        assert_eq!(body.read(b"okHTTP/1.1", |_| ()).unwrap(), 2);
        assert!(body.is_whole());
    }

    #[test]
    fn bad_size_is_an_error() {
        let mut body = Body::new(Framing::Chunked);
        assert!(body.read(b"xyz\r\n", |_| ()).is_err());
    }

    #[test]
    fn names_are_read_in_any_case() {
        let read = |text: &str| head(text.as_bytes()).unwrap().unwrap();
        let chunked =
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: Close\r\n\r\n");
        assert_eq!((chunked.framing, chunked.closes), (Framing::Chunked, true));
        let wire = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length:7\r\ntx: y\r\n\r\n1234567";
        let plain = read(wire);
        assert_eq!((plain.framing, plain.closes), (Framing::Length(7), false));
        assert_eq!(&wire[plain.length..], "1234567");
        assert_eq!(head(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
    }
}
