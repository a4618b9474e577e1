//! What is done to tasks. Each function is one transaction's worth of statements.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::ids::ServiceKey;

use super::super::{
    Added, End, Lease, LeaseHold, PAGE_MAX, StoreError, TaskCounts, TaskQuery, Usage, transition,
};
use super::link::{Cell, DatabaseLink, Row, Trouble, damaged};
use super::record::{
    COLUMNS, COLUMNS_WITHOUT_PAYLOAD, Stored, fixed, json, parse, state_cell, ulid,
};
use crate::id::Id;
use crate::task::{CheckedText, NewTask, RegionText, ServiceKeyText, Task, TaskProgress};

/// The shortest and the longest span of a lease.
pub(super) const LEASE_SPANS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3_600)];

/// Tries to end an attempt: somebody may want it cancelled in between, and that only once.
const FINISH_TRIES: usize = 4;

/// Tries to find the task of an idempotency key, while tasks with it come and go.
const KEY_TRIES: usize = 3;

pub(super) async fn add(
    link: &mut DatabaseLink,
    task: &NewTask,
    payload: &str,
) -> Result<Added, Trouble> {
    for _ in 0..KEY_TRIES {
        if insert(link, task, payload).await? {
            return Ok(Added::New);
        }
        if let Some((id, is_same)) = find_twin(link, task, payload).await? {
            return match is_same {
                true => Ok(Added::Same(id)),
                false => Err(StoreError::Conflict { id }.into()),
            };
        }
    }
    Err(Trouble::Store(StoreError::Unavailable {
        detail: "the idempotency key comes and goes".to_owned(),
    }))
}

async fn insert(link: &mut DatabaseLink, task: &NewTask, payload: &str) -> Result<bool, Trouble> {
    let cells = vec![
        Cell::text(task.id.as_str()),
        Cell::text(ulid(&task.id)),
        service_cell(&task.service),
        Cell::Integer(Some(i64::from(task.delay.is_zero()))),
        Cell::Integer(Some(i64::from(task.priority.0))),
        span_cell(Some(task.delay)),
        span_cell(task.expires_after),
        Cell::Text(task.submitter.key.as_deref().map(plain)),
        key_cell(task),
        Cell::text(regions(&task.regions)),
        Cell::text(fixed(task)?),
        Cell::text(payload),
        Cell::text(plain(&task.submitter.account())),
    ];
    let added = link
        .execute(
            "INSERT INTO tasks (id, ulid, service, state, due, priority, created_at, not_before, \
             expires_at, attempt, attempts, cancel_requested, submitter, idempotency_key, regions, \
             fixed, payload, account, history) \
             VALUES ($1, $2, $3, 'waiting', $4, $5, @now, @now + $6, @now + $7, 0, 0, 0, $8, $9, \
             $10, $11, $12, $13, '[]') ON CONFLICT DO NOTHING",
            cells,
        )
        .await?;
    Ok(added == 1)
}

/// The task that has the id or the idempotency key already, and whether it was asked for the same.
async fn find_twin(
    link: &mut DatabaseLink,
    task: &NewTask,
    payload: &str,
) -> Result<Option<(Id, bool)>, Trouble> {
    let cells = vec![
        Cell::text(task.id.as_str()),
        service_cell(&task.service),
        key_cell(task),
    ];
    let row = link.row(
        "SELECT id, payload FROM tasks WHERE id = $1 OR (service = $2 AND idempotency_key = $3)",
        cells,
    );
    let Some(row) = row.await? else {
        return Ok(None);
    };
    let kept = row.word(1)?;
    let is_same =
        kept == payload || parse::<serde_json::Value>("the payload", &kept)? == task.payload;
    Ok(Some((id(&row, 0)?, is_same)))
}

pub(super) async fn get(link: &mut DatabaseLink, id: &Id) -> Result<Option<Task>, Trouble> {
    let text = format!("SELECT {COLUMNS} FROM tasks WHERE id = $1");
    let row = link.row(&text, vec![Cell::text(id.as_str())]).await?;
    row.map(|row| Ok(Stored::read(&row)?.task)).transpose()
}

pub(super) async fn list(link: &mut DatabaseLink, query: &TaskQuery) -> Result<Vec<Task>, Trouble> {
    let mut text = format!("SELECT {COLUMNS} FROM tasks WHERE 1 = 1");
    let mut cells = Vec::new();
    let mut narrow = |column: &str, cell: Option<Cell>| {
        if let Some(cell) = cell {
            cells.push(cell);
            text.push_str(&format!(" AND {column} ${}", cells.len()));
        }
    };
    narrow("service =", query.service.as_ref().map(service_cell));
    narrow("state =", query.state.map(state_cell));
    narrow(
        "submitter =",
        query.key.as_deref().map(|key| Cell::text(plain(key))),
    );
    narrow(
        "ulid <",
        query.before.as_ref().map(|id| Cell::text(ulid(id))),
    );
    if let Some(region) = &query.region {
        cells.push(region_cell(region));
        let permitted = permitted(cells.len());
        text.push_str(&format!(" AND {permitted}"));
    }
    text.push_str(&format!(
        " ORDER BY ulid DESC LIMIT {}",
        query.max.min(PAGE_MAX)
    ));
    let rows = link.rows(&text, cells).await?;
    rows.iter().map(|row| Ok(Stored::read(row)?.task)).collect()
}

pub(super) fn region_cell(region: &RegionText) -> Cell {
    Cell::text(format!(",{},", region.0))
}

/// Whether a task may be seen in the region of the cell with this number.
pub(super) fn permitted(cell: usize) -> String {
    format!("(regions = '' OR replace(regions, ${cell}, '') <> regions)")
}

pub(super) async fn renew(
    link: &mut DatabaseLink,
    lease: &Lease,
    span: Duration,
    progress: Option<TaskProgress>,
) -> Result<LeaseHold, Trouble> {
    let [shortest, longest] = LEASE_SPANS;
    let mut cells = fence(lease);
    cells.push(span_cell(Some(span.clamp(shortest, longest))));
    cells.push(Cell::Text(progress.as_ref().map(json).transpose()?));
    let row = link.row(
        "UPDATE tasks SET lease_until = @now + $3, progress = COALESCE($4, progress) \
         WHERE id = $1 AND attempt = $2 AND state = 'running' RETURNING cancel_requested",
        cells,
    );
    held(row.await?.as_ref(), 0)
}

/// Two statements and no transaction: the row is written only where nobody changed it since it was read.
/// The task that comes back has no payload.
pub(super) async fn finish(
    link: &mut DatabaseLink,
    lease: &Lease,
    end: End,
) -> Result<(LeaseHold, Option<Task>), Trouble> {
    let text = format!(
        "SELECT {COLUMNS_WITHOUT_PAYLOAD} FROM tasks \
         WHERE id = $1 AND attempt = $2 AND state = 'running'"
    );
    for _ in 0..FINISH_TRIES {
        let Some(row) = link.row(&text, fence(lease)).await? else {
            return Ok((LeaseHold::Lost, None));
        };
        let mut stored = Stored::read(&row)?;
        let is_wanted = stored.task.cancel_requested;
        transition::end(&mut stored.task, stored.attempt, end.clone(), stored.now);
        if let Some(task) = stored.write_if_running(link, is_wanted).await? {
            let held = match is_wanted {
                true => LeaseHold::CancelRequested,
                false => LeaseHold::Kept,
            };
            return Ok((held, Some(task)));
        }
    }
    Err(Trouble::Store(StoreError::Unavailable {
        detail: "a task is changed by others all the time".to_owned(),
    }))
}

pub(super) async fn cancel(link: &mut DatabaseLink, id: &Id) -> Result<Option<Task>, Trouble> {
    let Some(mut stored) = locked(link, id).await? else {
        return Ok(None);
    };
    transition::cancel(&mut stored.task, stored.now);
    stored.write(link, false).await.map(Some)
}

pub(super) async fn requeue(link: &mut DatabaseLink, id: &Id) -> Result<Option<Task>, Trouble> {
    let Some(mut stored) = locked(link, id).await? else {
        return Ok(None);
    };
    match transition::requeue(&mut stored.task, stored.now) {
        true => stored.write(link, true).await.map(Some),
        false => Ok(Some(stored.task)),
    }
}

async fn locked(link: &mut DatabaseLink, id: &Id) -> Result<Option<Stored>, Trouble> {
    let text = format!("SELECT {COLUMNS} FROM tasks WHERE id = $1 @lock");
    let row = link.row(&text, vec![Cell::text(id.as_str())]).await?;
    row.map(|row| Stored::read(&row)).transpose()
}

pub(super) async fn counts(
    link: &mut DatabaseLink,
) -> Result<BTreeMap<ServiceKeyText, TaskCounts>, Trouble> {
    let mut counts: BTreeMap<ServiceKeyText, TaskCounts> = BTreeMap::new();
    // Two questions that indexes alone can answer, rather than one that reads every waiting task.
    let all = "SELECT service, COUNT(*), state FROM tasks \
        WHERE state IN ('waiting', 'running', 'dead') GROUP BY state, service";
    for row in link.rows(all, vec![]).await? {
        let counts = counts.entry(service(&row, 0)?).or_default();
        match row.word(2)?.as_str() {
            "waiting" => counts.waiting = row.count(1)?,
            "running" => counts.running = row.count(1)?,
            _ => counts.dead = row.count(1)?,
        }
    }
    let delayed = "SELECT service, COUNT(*) FROM tasks @by_delay \
        WHERE state = 'waiting' AND due = 0 AND not_before > @now GROUP BY service";
    for row in link.rows(delayed, vec![]).await? {
        let counts = counts.entry(service(&row, 0)?).or_default();
        counts.delayed = row.count(1)?;
        counts.waiting = counts.waiting.saturating_sub(counts.delayed);
    }
    Ok(counts)
}

/// What the holder of `account` has here.
pub(super) async fn usage(link: &mut DatabaseLink, account: &str) -> Result<Usage, Trouble> {
    let cells = || vec![Cell::text(plain(account))];
    // Each is answered by an index alone.
    let waiting = "SELECT COUNT(*) FROM tasks WHERE account = $1 AND state = 'waiting'";
    let waiting = link.row(waiting, cells()).await?;
    let files = "SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM files \
        WHERE account = $1 AND state = 'complete'";
    let files = link.row(files, cells()).await?;
    let (Some(waiting), Some(files)) = (waiting, files) else {
        return Err(damaged("a count gave no row".to_owned()));
    };
    Ok(Usage {
        waiting: waiting.count(0)?,
        files: files.count(0)?,
        file_bytes: files.count(1)?,
    })
}

fn service(row: &Row, column: usize) -> Result<ServiceKeyText, Trouble> {
    let service = ServiceKey::new(&row.word(column)?);
    let service = service.map_err(|error| damaged(format!("a service's key {error}")))?;
    Ok(CheckedText(service))
}

pub(super) fn held(row: Option<&Row>, column: usize) -> Result<LeaseHold, Trouble> {
    Ok(match row.map(|row| row.count(column)).transpose()? {
        None => LeaseHold::Lost,
        Some(0) => LeaseHold::Kept,
        Some(_) => LeaseHold::CancelRequested,
    })
}

pub(super) fn fence(lease: &Lease) -> Vec<Cell> {
    let attempt = Cell::count(u64::from(lease.attempt));
    vec![Cell::text(lease.id.as_str()), attempt]
}

pub(super) fn service_cell(service: &ServiceKeyText) -> Cell {
    Cell::text(service.0.as_str())
}

pub(super) fn span_cell(span: Option<Duration>) -> Cell {
    // A century at most, so that no sum of times overflows.
    const LONGEST: u64 = 100 * 365 * 24 * 3_600 * 1_000;
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    match span {
        Some(span) => Cell::count(milliseconds(span).min(LONGEST)),
        None => Cell::Integer(None),
    }
}

/// Bytes, since a client's key may hold what Postgres's text cannot.
fn key_cell(task: &NewTask) -> Cell {
    let key = task.idempotency_key.as_ref();
    Cell::Bytes(key.map(|key| key.as_bytes().to_vec()))
}

/// Text without the one character that Postgres's text cannot hold.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// Regions such that one is found as `,name,`.
pub(super) fn regions(regions: &[RegionText]) -> String {
    match regions {
        [] => String::new(),
        regions => regions.iter().fold(",".to_owned(), |mut text, region| {
            text.push_str(region.0.as_str());
            text.push(',');
            text
        }),
    }
}

/// The id in column `column`.
pub(super) fn id(row: &Row, column: usize) -> Result<Id, Trouble> {
    let text = row.word(column)?;
    text.parse()
        .map_err(|_| damaged(format!("{text:?} is no id")))
}
