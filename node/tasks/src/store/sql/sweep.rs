//! Takes back, expires and removes: a bounded batch of each per sweep, so that none blocks for long.
//! Many nodes may sweep at once: a row that another holds is left to it.

use std::time::Duration;

use super::super::Swept;
use super::super::transition::{self, AfterLoss};
use super::link::{Cell, DatabaseLink, Dialect, Trouble};
use super::record::{COLUMNS, Stored};

/// Tasks and files that one sweep changes at most, of each kind.
const BATCH: usize = 200;

/// Notes that one sweep removes at most.
const NOTES_REMOVED_MAX: u64 = 2_000;

/// Pieces that one sweep removes at most: 64 MiB.
const PIECES_REMOVED_MAX: u64 = 256;

/// Pages that one sweep gives back at most: 8 MiB.
const PAGES_GIVEN_BACK_MAX: u64 = 2_048;

/// How long a file may be written without a new piece: then it never will be complete. A piece at the least rate
/// that uploads must have takes four minutes. Who gives an upload up has it removed at once; this is for what a
/// process left that died.
const UNFINISHED: Duration = Duration::from_secs(3_600);

/// Leases that ran out, and tasks whose time is over.
pub(super) async fn take_back(link: &mut DatabaseLink) -> Result<Swept, Trouble> {
    let mut swept = Swept::default();
    // Their time first: a task whose lease ran out as well is not to run again.
    let late = "expires_at IS NOT NULL AND ended_at IS NULL AND expires_at <= @now";
    for mut stored in some(link, late).await? {
        transition::expire(&mut stored.task, stored.attempt, stored.now);
        let task = stored.write(link, false).await?;
        swept.expired += 1;
        swept.ended.push(task.new.id);
    }
    for mut stored in some(link, "state = 'running' AND lease_until <= @now").await? {
        match transition::lose(&mut stored.task, stored.attempt, stored.now) {
            AfterLoss::Waits | AfterLoss::Cancelled => swept.lost += 1,
            AfterLoss::Dead => swept.dead += 1,
        }
        let task = stored.write(link, false).await?;
        if task.state.is_final() {
            swept.ended.push(task.new.id);
        }
    }
    Ok(swept)
}

async fn some(link: &mut DatabaseLink, which: &str) -> Result<Vec<Stored>, Trouble> {
    let text = format!("SELECT {COLUMNS} FROM tasks WHERE {which} LIMIT {BATCH} @lock_free");
    link.rows(&text, vec![])
        .await?
        .iter()
        .map(Stored::read)
        .collect()
}

/// Tasks that ended longer than `retention` ago, with their notes; how many are gone.
pub(super) async fn remove_tasks(
    link: &mut DatabaseLink,
    retention: Duration,
) -> Result<u64, Trouble> {
    let text = format!(
        "SELECT seq FROM tasks WHERE ended_at IS NOT NULL AND ended_at <= @now - $1 \
         ORDER BY ended_at LIMIT {BATCH} @lock_free"
    );
    let (mut removed, mut notes) = (0, 0);
    for row in link.rows(&text, vec![span(retention)]).await? {
        let seq = row.integer(0)?;
        let left = NOTES_REMOVED_MAX - notes;
        let parts = remove_parts(link, "notes", "task", seq, left).await?;
        notes += parts;
        if parts == left {
            break;
        }
        removed += link
            .execute("DELETE FROM tasks WHERE seq = $1", vec![Cell::Integer(seq)])
            .await?;
    }
    Ok(removed)
}

/// Files that are over or were never completed, with their pieces; how many are gone.
pub(super) async fn remove_files(
    link: &mut DatabaseLink,
    retention: Duration,
) -> Result<u64, Trouble> {
    let old = link
        .execute(
            "UPDATE files SET state = 'removed', record = NULL WHERE (state = 'complete' \
             AND (expires_at <= @now OR (expires_at IS NULL AND touched_at <= @now - $1))) \
             OR (state = 'open' AND touched_at <= @now - $2)",
            vec![span(retention), span(UNFINISHED)],
        )
        .await?;
    let text = format!("SELECT seq FROM files WHERE state = 'removed' LIMIT {BATCH} @lock_free");
    let mut pieces = 0;
    for row in link.rows(&text, vec![]).await? {
        let seq = row.integer(0)?;
        let left = PIECES_REMOVED_MAX - pieces;
        let parts = remove_parts(link, "pieces", "file", seq, left).await?;
        pieces += parts;
        if parts == left {
            break;
        }
        link.execute("DELETE FROM files WHERE seq = $1", vec![Cell::Integer(seq)])
            .await?;
    }
    Ok(old)
}

/// Removes at most `left` rows of `table` whose `whole` is `seq`; how many those were.
pub(super) async fn remove_parts(
    link: &mut DatabaseLink,
    table: &str,
    whole: &str,
    seq: Option<i64>,
    left: u64,
) -> Result<u64, Trouble> {
    let text = format!(
        "DELETE FROM {table} WHERE {whole} = $1 AND number IN \
         (SELECT number FROM {table} WHERE {whole} = $1 ORDER BY number LIMIT $2)"
    );
    link.execute(&text, vec![Cell::Integer(seq), Cell::count(left)])
        .await
}

/// Gives pages that nothing uses any more back to the file system, where the file was made so that it can.
pub(super) async fn give_back(link: &mut DatabaseLink) -> Result<(), Trouble> {
    match link.dialect() {
        Dialect::Sqlite => {
            let text = format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK_MAX})");
            link.rows(&text, vec![]).await.map(drop)
        }
        // The server reuses them, and gives back what lies at the end.
        Dialect::Postgres => Ok(()),
    }
}

fn span(span: Duration) -> Cell {
    Cell::count(
        u64::try_from(span.as_millis())
            .unwrap_or(u64::MAX)
            .min(i64::MAX as u64 / 4),
    )
}
