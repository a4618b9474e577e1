//! The ledger: one line of JSON for each finished request of this node, in an append-only file.
//!
//! Rows go over a bounded queue to a thread of their own, since a disk may stop for seconds. What finds no room there,
//! or cannot be written (a full disk), is counted and lost; requests go on. A row is handed to the system as soon as
//! the thread gets to it, so that the end of the process loses none that was written; it is forced to disk once a
//! second, so that a power failure loses about a second.
//!
//! A full file is renamed beside itself. Each request is in the ledger of the node that its client called, once,
//! whichever node served it.

mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use grapevine_base::clock;
use tracing::{error, info};

use super::ledger_row::LedgerRow;
use super::usage_book::UsageBook;

use writer::LedgerWriter;

/// Rows that wait for the disk.
const ROWS_MAX: usize = 16_384;

/// Rows that are written together.
const BATCH_MAX: usize = 1_024;

/// How often what was written is forced to disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Where and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The file that lines are appended to.
    pub file: PathBuf,
    /// The size in bytes at which it is full.
    pub bytes_max: u64,
    /// The age at which it counts as full.
    pub age_max: Duration,
    /// How long full files are kept.
    pub retention: Duration,
}

/// Takes rows. Cheap to clone; the thread ends with the last handle.
#[derive(Clone, Debug)]
pub struct Ledger {
    rows: SyncSender<LedgerMessage>,
    lost: Arc<AtomicU64>,
}

enum LedgerMessage {
    Row(Box<LedgerRow>),
    /// Everything before it is on disk when the answer comes.
    Flush(SyncSender<()>),
}

impl Ledger {
    /// Opens the file, and has its rows of the last days counted in `book`.
    ///
    /// # Errors
    /// When it cannot be opened, or no thread can be started.
    pub fn open(settings: LedgerSettings, book: UsageBook) -> io::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = LedgerWriter::open(settings, clock::wall())?;
        let (rows, waiting) = sync_channel(ROWS_MAX);
        let counted = Arc::clone(&lost);
        let work = move || {
            match writer.replay(&book, clock::wall()) {
                Ok(0) => {}
                Ok(unreadable) => info!(unreadable, "lines of the ledger are not rows"),
                Err(error) => error!(%error, "the ledger cannot be read: sums begin at zero"),
            }
            run(&mut writer, &waiting, &counted);
        };
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(work)?;
        Ok(Self { rows, lost })
    }

    /// Takes a row; never waits.
    pub fn record(&self, row: LedgerRow) {
        let sent = self.rows.try_send(LedgerMessage::Row(Box::new(row)));
        if sent.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rows lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until every row taken so far is on disk, at most `limit`. Blocks its thread.
    pub fn flush(&self, limit: Duration) {
        let (done, waiting) = sync_channel(1);
        if self.rows.try_send(LedgerMessage::Flush(done)).is_ok() {
            // Late or never: nothing more can be done about it.
            let _ = waiting.recv_timeout(limit);
        }
    }
}

fn run(writer: &mut LedgerWriter, rows: &Receiver<LedgerMessage>, lost: &AtomicU64) {
    let mut synced = Instant::now();
    let mut fails = false;
    loop {
        let first = match rows.recv_timeout(SYNC_INTERVAL) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let (mut batch, mut flushes) = (Vec::new(), Vec::new());
        let more = std::iter::from_fn(|| rows.try_recv().ok());
        for message in first.into_iter().chain(more).take(BATCH_MAX) {
            match message {
                LedgerMessage::Row(row) => batch.push(*row),
                LedgerMessage::Flush(done) => flushes.push(done),
            }
        }
        let mut written = writer.append(&batch, clock::wall());
        if written.is_err() {
            lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        if !flushes.is_empty() || synced.elapsed() >= SYNC_INTERVAL {
            written = written.and_then(|()| writer.sync());
            synced = Instant::now();
        }
        match written {
            // Said once for each failure, not once for each row.
            Err(error) if !fails => {
                fails = true;
                error!(%error, "the ledger cannot be written: rows are lost, requests go on");
            }
            Ok(()) if fails && !batch.is_empty() => {
                fails = false;
                info!("the ledger can be written again");
            }
            _ => {}
        }
        for done in flushes {
            let _ = done.try_send(());
        }
    }
    // The last handle is gone; nobody is left to be told of an error.
    let _ = writer.sync();
}

#[cfg(test)]
mod tests;
