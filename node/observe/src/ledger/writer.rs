//! The ledger's files: appended to, renamed when full, deleted when old, read again at a start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::ledger_row::LedgerRow;
use super::super::usage_book::{UsageBook, UsageEntry};
use super::LedgerSettings;

/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 64 * 1_024;

/// Files that are kept at most, whatever their age.
const FILES_MAX: usize = 4_096;

pub(super) struct LedgerWriter {
    settings: LedgerSettings,
    /// `None` after it could not be opened again.
    pub(super) file: Option<File>,
    pub(super) bytes: u64,
    /// When the file was begun, since the Unix epoch.
    began: Duration,
    is_dirty: bool,
}

impl LedgerWriter {
    pub(super) fn open(settings: LedgerSettings, now: Duration) -> io::Result<Self> {
        let mut writer = Self {
            settings,
            file: None,
            bytes: 0,
            began: now,
            is_dirty: false,
        };
        writer.reopen(now)?;
        Ok(writer)
    }

    fn reopen(&mut self, now: Duration) -> io::Result<&mut File> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(&self.settings.file)?;
        self.bytes = file.seek(SeekFrom::End(0))?;
        self.began = first_time(&mut file)?.unwrap_or(now);
        if !ends_with_a_line(&mut file, self.bytes)? {
            // A line that a crash cut is a line of its own, which is skipped when it is read.
            file.write_all(b"\n")?;
            self.bytes += 1;
        }
        Ok(self.file.insert(file))
    }

    /// Appends `rows`, all of them or none.
    pub(super) fn append(&mut self, rows: &[LedgerRow], now: Duration) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.rotate_when_full(now)?;
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, row)?;
            lines.push(b'\n');
        }
        let before = self.bytes;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.reopen(now)?,
        };
        if let Err(error) = file.write_all(&lines) {
            // A part may be there: what follows must begin on a line of its own.
            let _ = file.set_len(before);
            return Err(error);
        }
        self.bytes = before + lines.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let (true, Some(file)) = (self.is_dirty, &self.file) {
            file.sync_data()?;
            self.is_dirty = false;
        }
        Ok(())
    }

    fn rotate_when_full(&mut self, now: Duration) -> io::Result<()> {
        let is_old = now.saturating_sub(self.began) >= self.settings.age_max;
        if self.bytes == 0 || (self.bytes < self.settings.bytes_max && !is_old) {
            return Ok(());
        }
        self.sync()?;
        let path = &self.settings.file;
        let seconds = now.as_secs();
        let free = (0..).map(|more| numbered(path, seconds + more));
        let Some(free) = free.take(FILES_MAX).find(|path| !path.exists()) else {
            return Err(io::Error::other(
                "there are too many full files of the ledger",
            ));
        };
        fs::rename(path, free)?;
        self.file = None;
        self.reopen(now)?;
        self.began = now;
        self.delete_old(now)
    }

    fn delete_old(&self, now: Duration) -> io::Result<()> {
        let full = full_files(&self.settings.file)?;
        let beyond = full.len().saturating_sub(FILES_MAX);
        for (index, (seconds, path)) in full.into_iter().enumerate() {
            let age = now.saturating_sub(Duration::from_secs(seconds));
            if age > self.settings.retention || index < beyond {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Counts the rows of all files in `book`, the oldest first; how many lines are not rows.
    pub(super) fn replay(&self, book: &UsageBook, now: Duration) -> io::Result<usize> {
        let full = full_files(&self.settings.file)?;
        let paths = full.into_iter().map(|(_, path)| path);
        let mut unreadable = 0;
        for path in paths.chain([self.settings.file.clone()]) {
            let mut reader = BufReader::new(File::open(path)?);
            let mut line = Vec::new();
            loop {
                line.clear();
                let mut part = io::Read::take(&mut reader, LINE_BYTES_MAX);
                if part.read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                match serde_json::from_slice::<LedgerRow>(&line) {
                    Ok(row) => book.count(now, &UsageEntry::from(&row)),
                    Err(_) if line.trim_ascii().is_empty() => {}
                    Err(_) => unreadable += 1,
                }
            }
        }
        Ok(unreadable)
    }
}

/// When the first row of a file was written.
fn first_time(file: &mut File) -> io::Result<Option<Duration>> {
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    let part = io::Read::take(&mut *file, LINE_BYTES_MAX);
    BufReader::new(part).read_until(b'\n', &mut line)?;
    let row: Option<LedgerRow> = serde_json::from_slice(&line).ok();
    Ok(row.map(|row| Duration::from_millis(row.time_ms)))
}

fn ends_with_a_line(file: &mut File, bytes: u64) -> io::Result<bool> {
    let Some(last) = bytes.checked_sub(1) else {
        return Ok(true);
    };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [0];
    io::Read::read_exact(file, &mut byte)?;
    Ok(byte == *b"\n")
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The full files beside `path`, the oldest first, with the second since the Unix epoch that each was full at.
fn full_files(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let other = entry.file_name();
        let number = other
            .to_str()
            .and_then(|other| other.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
        found.extend(number.map(|number: u64| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}
