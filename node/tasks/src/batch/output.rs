//! The files of a batch: lines that succeeded, and lines that failed, each in the order of the input.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::super::id::{Id, Kind};
use super::super::store::{FileRecord, Note, PIECE_BYTES, Store, StoreError};
use super::super::task::{Task, TaskState, Timestamp};
use super::input::Lines;
use super::line::{self, LineEnd};
use super::{BatchJob, LINES_MAX, marks};

/// Which of a batch's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Answers.
    Output,
    /// Lines that failed.
    Errors,
}

impl Which {
    const fn word(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Errors => "error",
        }
    }
}

/// The name of a batch's file, whether there is one or not: it follows from the batch's own.
pub(crate) fn id(batch: &Id, which: Which) -> Id {
    batch.derived(Kind::File, which.word())
}

/// Whether `file` is the name of a file of `batch`.
pub(crate) fn is_output(batch: &Id, file: &Id) -> bool {
    [Which::Output, Which::Errors]
        .into_iter()
        .any(|which| id(batch, which) == *file)
}

/// Writes both files from the notes of the batch; one without lines is not made. Returns how many lines
/// succeeded and failed.
pub(super) async fn write(task: &Task, store: &dyn Store) -> Result<(u64, u64), StoreError> {
    let mut output = Writer::new(task, Which::Output, store);
    let mut errors = Writer::new(task, Which::Errors, store);
    let mut from = 0;
    loop {
        let page = store.notes(&task.new.id, from).await?;
        let Some(last) = page.last() else {
            break;
        };
        from = last.number + 1;
        for note in page.iter().filter(|note| !marks::is_mark(note.number)) {
            let end = read(task, note)?;
            let writer = if end.is_good {
                &mut output
            } else {
                &mut errors
            };
            writer.line(end.json()).await?;
        }
    }
    let counts = (output.lines, errors.lines);
    output.complete().await?;
    errors.complete().await?;
    Ok(counts)
}

/// The same for a batch that no worker ended; where its time was over, the error file reports the lines without a
/// note.
pub(super) async fn settle(
    task: &Task,
    job: &BatchJob,
    store: &dyn Store,
) -> Result<(), StoreError> {
    let has_input = store.file(&job.input_file_id).await?.is_some();
    if task.state != TaskState::Expired || !has_input {
        return write(task, store).await.map(drop);
    }
    let mut output = Writer::new(task, Which::Output, store);
    let mut errors = Writer::new(task, Which::Errors, store);
    let mut lines = Lines::of(store, &job.input_file_id);
    let mut notes: VecDeque<Note> = VecDeque::new();
    let mut from = Some(0);
    for _ in 0..LINES_MAX {
        let Some((number, line)) = lines.next().await? else {
            break;
        };
        if let (true, Some(next)) = (notes.is_empty(), from) {
            notes.extend(store.notes(&task.new.id, next).await?);
            from = notes.back().map(|last| last.number + 1);
        }
        let end = match notes.front() {
            Some(note) if note.number == number => read(task, note)?,
            _ => line::expired(&line, &job.endpoint),
        };
        notes.pop_front_if(|note| note.number <= number);
        let writer = match end.is_good {
            true => &mut output,
            false => &mut errors,
        };
        writer.line(end.json()).await?;
    }
    output.complete().await?;
    errors.complete().await
}

fn read(task: &Task, note: &Note) -> Result<LineEnd, StoreError> {
    LineEnd::read(&note.content).ok_or_else(|| StoreError::Damaged {
        detail: format!("note {} of {} cannot be read", note.number, task.new.id),
    })
}

/// Writes lines into pieces.
struct Writer<'a> {
    task: &'a Task,
    which: Which,
    store: &'a dyn Store,
    id: Id,
    buffer: BytesMut,
    piece: u32,
    bytes: u64,
    lines: u64,
}

impl<'a> Writer<'a> {
    fn new(task: &'a Task, which: Which, store: &'a dyn Store) -> Self {
        Self {
            task,
            which,
            store,
            id: id(&task.new.id, which),
            buffer: BytesMut::new(),
            piece: 0,
            bytes: 0,
            lines: 0,
        }
    }

    async fn line(&mut self, json: &Bytes) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(json);
        self.buffer.extend_from_slice(b"\n");
        self.lines += 1;
        while self.buffer.len() >= PIECE_BYTES {
            let piece = self.buffer.split_to(PIECE_BYTES).freeze();
            self.put(piece).await?;
        }
        Ok(())
    }

    async fn put(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.bytes += piece.len() as u64;
        self.store.put_piece(&self.id, self.piece, piece).await?;
        self.piece += 1;
        Ok(())
    }

    async fn complete(mut self) -> Result<(), StoreError> {
        if self.lines == 0 {
            return Ok(());
        }
        if !self.buffer.is_empty() {
            let piece = self.buffer.split().freeze();
            self.put(piece).await?;
        }
        let new = &self.task.new;
        let record = FileRecord {
            filename: format!("{}_{}.jsonl", new.id, self.which.word()),
            purpose: "batch_output".to_owned(),
            key: new.submitter.key.as_deref().map(str::to_owned),
            // It counts to its submitter's quota, and is never refused for it: what is in it was paid for.
            account: new.submitter.account(),
            regions: new.regions.clone(),
            bytes: self.bytes,
            created_at: Timestamp::now(),
            expires_at: None,
            id: self.id,
        };
        self.store.complete_file(record).await
    }
}
