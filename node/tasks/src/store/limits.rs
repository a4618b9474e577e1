//! What is too long to be kept. Every engine asks here before it keeps anything.

use serde_json::Value;

use super::{
    End, FILE_BYTES_MAX, FileRecord, LeaseAsk, NOTE_BYTES_MAX, Note, PIECE_BYTES, StoreError,
};
use crate::task::{IDEMPOTENCY_KEY_BYTES_MAX, NewTask, OUTPUT_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// The longest name of a worker in bytes.
pub const WORKER_BYTES_MAX: usize = 128;

/// The longest name of a file in bytes.
pub const FILENAME_BYTES_MAX: usize = 255;

/// The highest number of a note: what a signed 64-bit column holds.
pub const NOTE_NUMBER_MAX: u64 = i64::MAX as u64;

/// A task's payload as it is kept.
///
/// # Errors
/// When the payload or the idempotency key is longer than its limit.
pub fn new_task(task: &NewTask) -> Result<String, StoreError> {
    let payload = task.payload.to_string();
    check("the payload", payload.len(), PAYLOAD_BYTES_MAX)?;
    let key = task.idempotency_key.as_deref().unwrap_or_default();
    check("the idempotency key", key.len(), IDEMPOTENCY_KEY_BYTES_MAX)?;
    Ok(payload)
}

/// Checks who asks for leases.
///
/// # Errors
/// When the worker's name is longer than [`WORKER_BYTES_MAX`].
pub fn ask(ask: &LeaseAsk) -> Result<(), StoreError> {
    check("the worker's name", ask.worker.len(), WORKER_BYTES_MAX)
}

/// Checks notes.
///
/// # Errors
/// When one is longer than [`NOTE_BYTES_MAX`] or its number higher than [`NOTE_NUMBER_MAX`].
pub fn notes(notes: &[Note]) -> Result<(), StoreError> {
    for note in notes {
        check("a note", note.content.len(), NOTE_BYTES_MAX)?;
        if note.number > NOTE_NUMBER_MAX {
            return Err(too_long("a note's number", 8));
        }
    }
    Ok(())
}

/// Checks an end's output.
///
/// # Errors
/// When it is longer than [`OUTPUT_BYTES_MAX`].
pub fn end(end: &End) -> Result<(), StoreError> {
    match end {
        End::Completed(Value::Null) => Ok(()),
        End::Completed(output) => check("the output", output.to_string().len(), OUTPUT_BYTES_MAX),
        End::Failed { .. } | End::Cancelled | End::Returned => Ok(()),
    }
}

/// Checks piece `number` of a file.
///
/// # Errors
/// When it is longer than [`PIECE_BYTES`] or lies beyond [`FILE_BYTES_MAX`].
pub fn piece(number: u32, bytes: usize) -> Result<(), StoreError> {
    check("a piece of a file", bytes, PIECE_BYTES)?;
    match u64::from(number) * PIECE_BYTES as u64 >= FILE_BYTES_MAX {
        true => Err(too_long("the file", FILE_BYTES_MAX)),
        false => Ok(()),
    }
}

/// Checks a file's record.
///
/// # Errors
/// When its name is longer than [`FILENAME_BYTES_MAX`] or the file than [`FILE_BYTES_MAX`].
pub fn file(file: &FileRecord) -> Result<(), StoreError> {
    check("the file's name", file.filename.len(), FILENAME_BYTES_MAX)?;
    match file.bytes > FILE_BYTES_MAX {
        true => Err(too_long("the file", FILE_BYTES_MAX)),
        false => Ok(()),
    }
}

/// How many pieces a file of `bytes` has.
pub fn pieces(bytes: u64) -> u64 {
    bytes.div_ceil(PIECE_BYTES as u64)
}

fn check(what: &str, bytes: usize, max: usize) -> Result<(), StoreError> {
    match bytes > max {
        true => Err(too_long(what, max as u64)),
        false => Ok(()),
    }
}

fn too_long(what: &str, max: u64) -> StoreError {
    StoreError::TooLong {
        what: what.to_owned(),
        max,
    }
}
