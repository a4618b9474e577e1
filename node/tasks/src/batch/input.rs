//! The lines of a file, piece by piece: a file is never whole in memory.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::super::id::Id;
use super::super::lenient::BYTE_ORDER_MARK;
use super::super::pace::ask_patiently;
use super::super::store::{Store, StoreError};
use super::LINE_BYTES_MAX;

/// Reads the lines of one file; blank ones are skipped, and counted.
pub(super) struct Lines<'a> {
    store: &'a dyn Store,
    file: &'a Id,
    piece: u32,
    buffer: BytesMut,
    ended: bool,
    /// The line that comes next, from 1.
    number: u64,
}

/// A line, or what stands in for one that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without its end.
    Whole(Bytes),
    /// It is longer than a line may be; the rest of it was skipped.
    TooLong,
}

impl<'a> Lines<'a> {
    pub(super) fn of(store: &'a dyn Store, file: &'a Id) -> Self {
        Self {
            store,
            file,
            piece: 0,
            buffer: BytesMut::new(),
            ended: false,
            number: 0,
        }
    }

    /// The next line that is not blank, with its number.
    pub(super) async fn next(&mut self) -> Result<Option<(u64, Line)>, StoreError> {
        while let Some(line) = self.any().await? {
            self.number += 1;
            let line = match line {
                Line::Whole(line) if self.number == 1 => Line::Whole(without_mark(line)),
                line => line,
            };
            let is_blank = |line: &Bytes| line.iter().all(u8::is_ascii_whitespace);
            match line {
                Line::Whole(line) if is_blank(&line) => {}
                line => return Ok(Some((self.number, line))),
            }
        }
        Ok(None)
    }

    async fn any(&mut self) -> Result<Option<Line>, StoreError> {
        let mut seen = 0;
        let mut too_long = false;
        loop {
            if let Some(end) = memchr(b'\n', &self.buffer[seen..]) {
                let mut line = self.buffer.split_to(seen + end + 1).freeze();
                line.truncate(line.len() - 1);
                return Ok(Some(whole(line, too_long)));
            }
            seen = self.buffer.len();
            if seen > LINE_BYTES_MAX {
                too_long = true;
                self.buffer.clear();
                seen = 0;
            }
            if self.ended {
                let line = self.buffer.split().freeze();
                return Ok((!line.is_empty() || too_long).then(|| whole(line, too_long)));
            }
            // Lines in flight would be lost with the attempt.
            let ask = || self.store.piece(self.file, self.piece);
            match ask_patiently(ask).await? {
                Some(piece) => {
                    self.piece += 1;
                    self.buffer.extend_from_slice(&piece);
                }
                None => self.ended = true,
            }
        }
    }
}

/// A file's first line, whose byte order mark is none of it.
fn without_mark(mut line: Bytes) -> Bytes {
    if line.starts_with(BYTE_ORDER_MARK) {
        line.advance(BYTE_ORDER_MARK.len());
    }
    line
}

fn whole(line: Bytes, too_long: bool) -> Line {
    match too_long || line.len() > LINE_BYTES_MAX {
        true => Line::TooLong,
        false => Line::Whole(line),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::id::Kind;
    use super::super::super::store::FileRecord;
    use super::super::super::task::Timestamp;
    use super::super::super::tests::support::{Scratch, owner};
    use super::*;

    /// The lines of a file, each with its number.
    async fn lines(content: &[u8]) -> Vec<(u64, String)> {
        let scratch = Scratch::new().await;
        let store = scratch.store.as_ref();
        let file = Id::new(Kind::File, Some(&owner()));
        let piece = Bytes::copy_from_slice(content);
        store.put_piece(&file, 0, piece).await.expect("kept");
        let record = FileRecord {
            id: file.clone(),
            filename: "a.jsonl".to_owned(),
            purpose: "batch".to_owned(),
            key: None,
            account: String::new(),
            regions: Vec::new(),
            bytes: content.len() as u64,
            created_at: Timestamp::now(),
            expires_at: None,
        };
        store.complete_file(record).await.expect("kept");
        let (mut lines, mut found) = (Lines::of(store, &file), Vec::new());
        while let Some((number, line)) = lines.next().await.expect("a store") {
            let Line::Whole(line) = line else {
                panic!("a short line");
            };
            let text = String::from_utf8(line.to_vec()).expect("text");
            found.push((number, text.trim_end_matches('\r').to_owned()));
        }
        found
    }

    fn numbered(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        let line = |(number, line): &(u64, &str)| (*number, (*line).to_owned());
        lines.iter().map(line).collect()
    }

    #[tokio::test]
    async fn byte_order_mark_is_no_part_of_the_first_line() {
        let both = numbered(&[(1, "{1}"), (2, "{2}")]);
        assert_eq!(lines(b"\xef\xbb\xbf{1}\n{2}\n").await, both);
        assert_eq!(lines(b"\xef\xbb\xbf{1}\r\n{2}").await, both);
        let second = numbered(&[(2, "{2}")]);
        assert_eq!(lines(b"\xef\xbb\xbf\n{2}\n").await, second);
        let within = numbered(&[(1, "{1}"), (2, "\u{feff}{2}")]);
        assert_eq!(lines("{1}\n\u{feff}{2}".as_bytes()).await, within);
    }

    #[tokio::test]
    async fn lines_end_with_lf_or_crlf_and_the_last_may_have_no_end() {
        let found = lines(b"{1}\r\n\r\n \t\n{4}\n\n{6}").await;
        assert_eq!(found, numbered(&[(1, "{1}"), (4, "{4}"), (6, "{6}")]));
        assert_eq!(lines(b"{1}").await, numbered(&[(1, "{1}")]));
        assert!(lines(b"\n\r\n").await.is_empty());
        assert!(lines(b" ").await.is_empty());
    }
}
