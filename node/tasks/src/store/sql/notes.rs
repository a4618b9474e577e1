//! What is done to the notes of tasks.

use super::super::{Lease, LeaseHold, NOTES_PAGE, Note};
use super::link::{Cell, DatabaseLink, Row, Trouble};
use super::tasks::{fence, held};
use crate::id::Id;

/// Bytes of notes read at once at most, unless the first alone has more.
const NOTES_BYTES_MAX: u64 = 8 * 1_024 * 1_024;

/// Notes written by one statement: three values each, below every engine's limit of values.
const NOTES_AT_ONCE: usize = 64;

/// In a transaction with the lock of its task.
pub(super) async fn save(
    link: &mut DatabaseLink,
    lease: &Lease,
    notes: &[Note],
) -> Result<LeaseHold, Trouble> {
    let row = link.row(
        "SELECT cancel_requested, seq FROM tasks \
         WHERE id = $1 AND attempt = $2 AND state = 'running' @lock",
        fence(lease),
    );
    let Some(row) = row.await? else {
        return Ok(LeaseHold::Lost);
    };
    let seq = row.integer(1)?;
    for some in notes.chunks(NOTES_AT_ONCE) {
        let mut cells = vec![Cell::Integer(seq)];
        let mut text = "INSERT INTO notes (task, number, content) VALUES ".to_owned();
        for note in some {
            let number = cells.len() + 1;
            let comma = if number > 2 { ", " } else { "" };
            text.push_str(&format!("{comma}($1, ${number}, ${})", number + 1));
            cells.push(Cell::count(note.number));
            cells.push(Cell::Bytes(Some(note.content.to_vec())));
        }
        text.push_str(" ON CONFLICT DO NOTHING");
        link.execute(&text, cells).await?;
    }
    held(Some(&row), 0)
}

pub(super) async fn notes(
    link: &mut DatabaseLink,
    id: &Id,
    from: u64,
) -> Result<Vec<Note>, Trouble> {
    let text = format!(
        "SELECT number, CAST(octet_length(content) AS BIGINT) FROM notes \
         WHERE task = (SELECT seq FROM tasks WHERE id = $1) AND number >= $2 \
         ORDER BY number LIMIT {NOTES_PAGE}"
    );
    let cells = |last| {
        vec![
            Cell::text(id.as_str()),
            Cell::count(from),
            Cell::count(last),
        ]
    };
    let from_on = vec![Cell::text(id.as_str()), Cell::count(from)];
    let (mut last, mut bytes) = (None, 0);
    for row in link.rows(&text, from_on).await? {
        bytes += row.count(1)?;
        if last.is_some() && bytes > NOTES_BYTES_MAX {
            break;
        }
        last = Some(row.count(0)?);
    }
    let Some(last) = last else {
        return Ok(Vec::new());
    };
    let rows = link.rows(
        "SELECT number, content FROM notes WHERE task = (SELECT seq FROM tasks WHERE id = $1) \
         AND number BETWEEN $2 AND $3 ORDER BY number",
        cells(last),
    );
    let note = |row: &Row| {
        Ok(Note {
            number: row.count(0)?,
            content: row.bytes(1)?,
        })
    };
    rows.await?.iter().map(note).collect()
}
