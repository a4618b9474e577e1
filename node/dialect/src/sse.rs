//! Server-sent events out of bytes that are cut anywhere, and back.
//!
//! The rules are those of the HTML standard (9.2.6): lines end with LF, CR or CRLF, a BOM at the front is skipped,
//! `data` lines are joined, comments are skipped, and an event that is not followed by an empty line has not come.

use crate::grammar::ServerEvent;

/// The largest event of a stream, in bytes. A provider may put a whole image into one.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An event as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawEvent {
    pub(crate) name: Option<String>,
    pub(crate) data: String,
}

/// An event exceeds the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Cuts bytes into events.
#[derive(Debug)]
pub(crate) struct SseReader {
    bytes_max: usize,
    line: Vec<u8>,
    name: Option<String>,
    data: Option<Vec<u8>>,
    after_cr: bool,
    is_begun: bool,
}

impl SseReader {
    /// Reads events of at most `bytes_max` bytes.
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            name: None,
            data: None,
            after_cr: false,
            is_begun: false,
        }
    }

    /// Takes bytes, and gives each event that they complete to `each`.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        events: &mut Vec<RawEvent>,
    ) -> Result<(), TooLarge> {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = tail;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let length = end.unwrap_or(rest.len());
            let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
            if held + length > self.bytes_max {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(&rest[..length]);
            if end.is_none() {
                return Ok(());
            }
            self.after_cr = rest[length] == b'\r';
            rest = &rest[length + 1..];
            events.extend(self.end_line());
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<RawEvent> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.is_begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            let name = self.name.take();
            let data = self.data.take()?;
            let data = String::from_utf8_lossy(&data).into_owned();
            return Some(RawEvent { name, data });
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            _ => {}
        }
        None
    }
}

/// Writes an event.
pub(crate) fn write(event: &ServerEvent, out: &mut Vec<u8>) {
    if let Some(name) = &event.name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(event.data.as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let mut reader = SseReader::new(64);
        let mut events = Vec::new();
        for piece in pieces {
            reader.push(piece, &mut events).unwrap();
        }
        events
            .into_iter()
            .map(|event| (event.name, event.data))
            .collect()
    }

    #[test]
    fn every_line_end_is_one() {
        for text in [
            "event: a\ndata: 1\n\n",
            "event: a\rdata: 1\r\r",
            "event: a\r\ndata: 1\r\n\r\n",
        ] {
            let expected = vec![(Some("a".to_string()), "1".to_string())];
            assert_eq!(events(&[text.as_bytes()]), expected);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(events(&pieces), expected);
        }
    }

    #[test]
    fn comments_and_events_without_data_are_skipped() {
        let text = b"\xef\xbb\xbf: alive\n\nevent: a\n\ndata:1\ndata: 2\n\n";
        assert_eq!(events(&[text]), [(None, "1\n2".to_string())]);
    }

    #[test]
    fn event_without_its_empty_line_has_not_come() {
        assert!(events(&[b"data: 1\n"]).is_empty());
    }

    #[test]
    fn event_larger_than_the_limit_is_refused() {
        let mut reader = SseReader::new(8);
        assert_eq!(
            reader.push(b"data: 123456789", &mut Vec::new()),
            Err(TooLarge)
        );
    }
}
