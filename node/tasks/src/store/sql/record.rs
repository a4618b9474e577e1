//! A task's row: read into a [`Task`], and written back after a call changed it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::StoreError;
use super::link::{Cell, DatabaseLink, Row, Trouble, damaged};
use crate::id::Id;
use crate::task::{NewTask, Task, TaskState, Timestamp};

/// The columns that [`Stored::read`] takes, in its order.
pub(super) const COLUMNS: &str = "seq, id, attempt, state, created_at, started_at, ended_at, \
    not_before, attempts, worker, lease_until, cancel_requested, fixed, payload, progress, output, \
    fault, history, @now";

/// The same without the payload, which may be long, for calls that end an attempt.
pub(super) const COLUMNS_WITHOUT_PAYLOAD: &str = "seq, id, attempt, state, created_at, started_at, \
    ended_at, not_before, attempts, worker, lease_until, cancel_requested, fixed, 'null', progress, \
    output, fault, history, @now";

/// The column `due` of a waiting task whose time has not come.
pub(super) const DELAYED: i64 = 0;

/// Its time has come.
pub(super) const DUE: i64 = 1;

/// The same, for one that is suspect and given alone. It is so at once when its lease is lost, never later.
pub(super) const SUSPECT: i64 = 2;

/// Everything that a call can change. How far a task is, and when it began, is written elsewhere.
const CHANGE: &str = "UPDATE tasks SET state = $2, due = $3, not_before = $4, ended_at = $5, \
    lease_until = $6, attempts = $7, worker = $8, cancel_requested = $9, output = $10, fault = $11, \
    history = $12";

/// A task with what only its store knows.
pub(super) struct Stored {
    /// Its position in the order of acceptance.
    pub(super) seq: i64,
    /// The number of its latest lease.
    pub(super) attempt: u32,
    /// The store's clock when it was read.
    pub(super) now: Timestamp,
    /// The task.
    pub(super) task: Task,
}

impl Stored {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &Row) -> Result<Self, Trouble> {
        let id = row.word(1)?;
        read_columns(row).map_err(|trouble| match trouble {
            Trouble::Store(StoreError::Damaged { detail }) => {
                damaged(format!("task {id}: {detail}"))
            }
            other => other,
        })
    }

    /// Writes back everything that a call can change. With `renewed`, its time counts anew from now.
    pub(super) async fn write(
        self,
        link: &mut DatabaseLink,
        renewed: bool,
    ) -> Result<Task, Trouble> {
        let mut cells = self.cells()?;
        let expiry = self.task.new.expires_after.filter(|_| renewed);
        cells.push(time_cell(expiry.map(|span| self.now.after(span))));
        let text = format!("{CHANGE}, expires_at = COALESCE($13, expires_at) WHERE seq = $1");
        link.execute(&text, cells).await?;
        Ok(self.task)
    }

    /// The same for a task that ran when it was read, with its cancellation wanted or not; `None` where
    /// that was changed since, and then nothing is. So no lock is held between reading and writing.
    pub(super) async fn write_if_running(
        self,
        link: &mut DatabaseLink,
        cancel_requested: bool,
    ) -> Result<Option<Task>, Trouble> {
        let mut cells = self.cells()?;
        cells.push(Cell::count(u64::from(self.attempt)));
        cells.push(Cell::Integer(Some(i64::from(cancel_requested))));
        let text = format!(
            "{CHANGE} WHERE seq = $1 AND attempt = $13 AND state = 'running' AND cancel_requested = $14"
        );
        let written = link.execute(&text, cells).await?;
        Ok((written == 1).then_some(self.task))
    }

    /// The values of [`CHANGE`].
    fn cells(&self) -> Result<Vec<Cell>, Trouble> {
        let task = &self.task;
        let is_suspect = task.state == TaskState::Waiting && task.is_suspect();
        let due = match task.not_before <= self.now {
            true if is_suspect => SUSPECT,
            true => DUE,
            false => DELAYED,
        };
        Ok(vec![
            Cell::Integer(Some(self.seq)),
            Cell::text(task.state.as_str()),
            Cell::Integer(Some(due)),
            Cell::count(task.not_before.0),
            time_cell(task.ended_at),
            time_cell(task.lease_until),
            Cell::count(u64::from(task.attempts)),
            Cell::Text(task.worker.clone()),
            Cell::Integer(Some(i64::from(task.cancel_requested))),
            json_cell(task.output.as_ref())?,
            json_cell(task.fault.as_ref())?,
            json_cell(Some(&task.history))?,
        ])
    }
}

fn read_columns(row: &Row) -> Result<Stored, Trouble> {
    let mut new: NewTask = parse("the accepted task", &row.word(12)?)?;
    new.payload = parse("the payload", &row.word(13)?)?;
    let task = Task {
        new,
        state: parse("the state", &format!("{:?}", row.word(3)?))?,
        created_at: Timestamp(row.count(4)?),
        started_at: time(row, 5)?,
        ended_at: time(row, 6)?,
        not_before: Timestamp(row.count(7)?),
        attempts: small(row, 8)?,
        worker: row.text(9)?,
        lease_until: time(row, 10)?,
        cancel_requested: row.count(11)? != 0,
        progress: optional(row, 14, "the progress")?,
        output: optional(row, 15, "the output")?,
        fault: optional(row, 16, "the fault")?,
        history: parse("the history", &row.word(17)?)?,
    };
    Ok(Stored {
        seq: row.integer(0)?.unwrap_or_default(),
        attempt: small(row, 2)?,
        now: Timestamp(row.count(18)?),
        task,
    })
}

/// The accepted task as it is kept beside its payload.
pub(super) fn fixed(task: &NewTask) -> Result<String, Trouble> {
    let without = NewTask {
        payload: Value::Null,
        ..task.clone()
    };
    json(&without)
}

/// The part of an id that sorts by time, and what makes it whole: ids of all kinds in one order.
pub(super) fn ulid(id: &Id) -> &str {
    &id.as_str()[id.kind().prefix().len()..]
}

/// JSON, or why not: the types here have no maps with odd keys, so never.
pub(super) fn json(value: &impl Serialize) -> Result<String, Trouble> {
    serde_json::to_string(value).map_err(|error| damaged(error.to_string()))
}

/// Reads JSON that this store wrote.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| damaged(format!("{what} cannot be read: {error}")))
}

/// A state as its column holds it.
pub(super) fn state_cell(state: TaskState) -> Cell {
    Cell::text(state.as_str())
}

fn json_cell(value: Option<&impl Serialize>) -> Result<Cell, Trouble> {
    Ok(Cell::Text(value.map(json).transpose()?))
}

fn time_cell(time: Option<Timestamp>) -> Cell {
    match time {
        Some(Timestamp(time)) => Cell::count(time),
        None => Cell::Integer(None),
    }
}

fn time(row: &Row, column: usize) -> Result<Option<Timestamp>, Trouble> {
    match row.integer(column)? {
        Some(_) => Ok(Some(Timestamp(row.count(column)?))),
        None => Ok(None),
    }
}

fn small(row: &Row, column: usize) -> Result<u32, Trouble> {
    let number = row.count(column)?;
    u32::try_from(number).map_err(|_| damaged(format!("column {column} holds {number}")))
}

fn optional<T: DeserializeOwned>(
    row: &Row,
    column: usize,
    what: &str,
) -> Result<Option<T>, Trouble> {
    let text = row.text(column)?;
    text.map(|text| parse(what, &text)).transpose()
}
