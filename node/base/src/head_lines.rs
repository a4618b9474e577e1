//! Header lines that are written as they are made.
//!
//! A dozen headers of a node's own go with every answer. In a map each is hashed, has memory of its own, and is then
//! copied into the head: four times what it costs to write them as lines at once. They come to HTTP/2 as a map all the same.

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Room for a node's own headers, so that they are not moved while they are written.
const EXPECTED_BYTES: usize = 640;

/// What stands for a value that no header can have.
const NOTHING: &str = "-";

/// Lines of a head, each with its end. None of them is about the answer's length or its connection, and none has the
/// name of a header in the map beside them: the caller sees to that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadLines(Vec<u8>);

impl HeadLines {
    /// None yet, and room for those of a node.
    pub fn begun() -> Self {
        Self(Vec::with_capacity(EXPECTED_BYTES))
    }

    /// Adds a line. A value with other characters than visible ASCII and blanks is written as `-`.
    pub fn push(&mut self, name: &HeaderName, value: &str) {
        let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        self.line(name, if is_plain { value } else { NOTHING }.as_bytes());
    }

    /// Adds a line of a value that was a header's before.
    pub fn push_value(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        for text in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.0.extend_from_slice(text);
        }
    }

    /// As they stand in a head.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Moves them into `headers`, in the place of those of the same names.
    pub fn move_into(self, headers: &mut HeaderMap) {
        let lines = self.0.split(|byte| *byte == b'\n');
        for line in lines.filter_map(|line| line.strip_suffix(b"\r")) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.insert(name, value);
            }
        }
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
        lines.push_value(&HeaderName::from_static("x-a"), &value);
        let mut headers = HeaderMap::new();
        lines.move_into(&mut headers);
        assert_eq!(headers["x-a"], value);
    }
}
