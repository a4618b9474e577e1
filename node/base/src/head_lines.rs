//! Header lines that are written as they are made.
//!
//! A dozen headers of a node's own go with every answer. In a map each is hashed, has memory of its own, and is then
//! copied into the head: four times what it costs to write them as lines at once. They come to HTTP/2 as a map all the same.

use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Room for a node's own headers, so that they are not moved while they are written.
const EXPECTED_BYTES: usize = 640;

/// What stands for a value that no header can have.
const NOTHING: &[u8] = b"-";

/// Lines of a head, each with its end. None of them is about the answer's length or its connection, and none has the
/// name of a header in the map beside them: the caller sees to that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadLines {
    bytes: Vec<u8>,
    has_date: bool,
    /// The length of the answer's body; `None` where it is not known, or a header in the map says it.
    length: Option<u64>,
}

impl HeadLines {
    /// None yet, and room for those of a node.
    pub fn begun() -> Self {
        Self {
            bytes: Vec::with_capacity(EXPECTED_BYTES),
            ..Self::default()
        }
    }

    /// Adds a line. A value with other characters than visible ASCII and blanks is written as `-`.
    pub fn push(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        self.line(name, if is_plain { value } else { NOTHING });
    }

    /// Adds a line of a value that was a header's before, or is visible ASCII by its type.
    pub fn push_value(&mut self, name: &HeaderName, value: &[u8]) {
        self.line(name, value);
    }

    /// Adds a line of an upstream's: `name` is in lower case, and neither has what it may not have.
    pub(crate) fn pass(&mut self, name: &[u8], value: &[u8]) {
        self.has_date |= name == header::DATE.as_str().as_bytes();
        self.bytes.reserve(name.len() + value.len() + 4);
        for text in [name, b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(text);
        }
    }

    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        self.pass(name.as_str().as_bytes(), value);
    }

    /// States the length of the body.
    pub const fn set_length(&mut self, length: u64) {
        self.length = Some(length);
    }

    /// The length of the body, where that is stated.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether one of them is the date.
    pub(crate) const fn has_date(&self) -> bool {
        self.has_date
    }

    /// As they stand in a head.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Moves them into `headers`.
    pub fn move_into(self, headers: &mut HeaderMap) {
        if let Some(length) = self.length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        for (name, value) in self.pairs() {
            headers.append(name, value);
        }
    }

    /// Moves them into `headers`, in the place of those of the same names.
    pub fn move_over(self, headers: &mut HeaderMap) {
        for (name, value) in self.pairs() {
            headers.insert(name, value);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let lines = self.bytes.split(|byte| *byte == b'\n');
        lines.filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            Some((name, value))
        })
    }
}

/// What a request is answered with.
pub trait IntoReply {
    /// The body.
    type Body;

    /// The answer, and the lines that its head has beside its map.
    fn into_reply(self) -> (Response<Self::Body>, HeadLines);
}

impl<B> IntoReply for Response<B> {
    type Body = B;

    fn into_reply(self) -> (Self, HeadLines) {
        (self, HeadLines::default())
    }
}

impl<B> IntoReply for (Response<B>, HeadLines) {
    type Body = B;

    fn into_reply(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pairs: &[(&'static str, &str)]) -> HeadLines {
        let mut lines = HeadLines::begun();
        for (name, value) in pairs {
            lines.push(&HeaderName::from_static(name), value);
        }
        lines
    }

    #[test]
    fn lines_are_the_same_headers_in_a_map() {
        let lines = lines(&[("x-a", "1"), ("x-b", "two words: and more"), ("x-c", "")]);
        assert_eq!(
            lines.as_bytes(),
            b"x-a: 1\r\nx-b: two words: and more\r\nx-c: \r\n"
        );
        let mut headers = HeaderMap::new();
        lines.move_into(&mut headers);
        assert_eq!(headers.len(), 3);
        assert_eq!(headers["x-a"], "1");
        assert_eq!(headers["x-b"], "two words: and more");
        assert_eq!(headers["x-c"], "");
    }

    #[test]
    fn no_value_begins_another_line() {
        for value in ["a\r\nx-b: 1", "a\nb", "\0", "\u{e4}", "\t"] {
            assert_eq!(lines(&[("x-a", value)]).as_bytes(), b"x-a: -\r\n");
        }
    }

    #[test]
    fn value_of_another_header_stays_as_it_is() {
        let value = HeaderValue::from_bytes(b"caf\xe9").expect("a value");
        let mut lines = HeadLines::begun();
        lines.push_value(&HeaderName::from_static("x-a"), value.as_bytes());
        let mut headers = HeaderMap::new();
        lines.move_into(&mut headers);
        assert_eq!(headers["x-a"], value);
    }
}
