//! The lines of a file, piece by piece: a file is never whole in memory.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::super::id::Id;
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

fn whole(line: Bytes, too_long: bool) -> Line {
    match too_long || line.len() > LINE_BYTES_MAX {
        true => Line::TooLong,
        false => Line::Whole(line),
    }
}
