//! What is done to files. A file is `open` while it is written, `complete`, or `removed` until its pieces
//! are swept.

use bytes::Bytes;

use super::super::{FileRecord, PIECE_BYTES, StoreError, limits};
use super::link::{Cell, DatabaseLink, Row, Trouble, damaged};
use super::record::{json, parse, ulid};
use super::sweep::remove_parts;
use super::tasks::plain;
use crate::id::Id;

/// Pieces that one write removes at most: 16 MiB, so that nobody else's waits for long.
const PIECES_AT_ONCE: u64 = 64;

pub(super) async fn put_piece(
    link: &mut DatabaseLink,
    file: &Id,
    number: u32,
    piece: Bytes,
) -> Result<(), Trouble> {
    let cells = vec![Cell::text(file.as_str()), Cell::text(ulid(file))];
    link.execute(
        "INSERT INTO files (id, ulid, state, touched_at) VALUES ($1, $2, 'open', @now) \
         ON CONFLICT DO NOTHING",
        cells,
    )
    .await?;
    let Some((seq, state)) = locked(link, file).await? else {
        return Err(gone(file));
    };
    match state.as_str() {
        "open" => {}
        "complete" => return Ok(()),
        _ => return Err(gone(file)),
    }
    let cells = vec![
        Cell::Integer(Some(seq)),
        Cell::count(u64::from(number)),
        Cell::Bytes(Some(piece.into())),
    ];
    link.execute(
        "INSERT INTO pieces (file, number, content) VALUES ($1, $2, $3) \
         ON CONFLICT (file, number) DO UPDATE SET content = excluded.content",
        cells,
    )
    .await?;
    let touch = "UPDATE files SET touched_at = @now WHERE seq = $1";
    link.execute(touch, vec![Cell::Integer(Some(seq))]).await?;
    Ok(())
}

pub(super) async fn complete(link: &mut DatabaseLink, file: &FileRecord) -> Result<(), Trouble> {
    let cells = vec![Cell::text(file.id.as_str()), Cell::text(ulid(&file.id))];
    // A file without a byte has no piece that could have made its row.
    link.execute(
        "INSERT INTO files (id, ulid, state, touched_at) VALUES ($1, $2, 'open', @now) \
         ON CONFLICT DO NOTHING",
        cells,
    )
    .await?;
    let Some((seq, state)) = locked(link, &file.id).await? else {
        return Err(gone(&file.id));
    };
    match state.as_str() {
        "open" => check_pieces(link, seq, file).await?,
        "complete" => return Ok(()),
        _ => return Err(gone(&file.id)),
    }
    let expiry = file.expires_at.map(|time| time.0);
    let cells = vec![
        Cell::Integer(Some(seq)),
        expiry.map_or(Cell::Integer(None), Cell::count),
        Cell::Text(file.key.as_deref().map(plain)),
        Cell::text(json(file)?),
        Cell::text(plain(&file.account)),
        Cell::count(file.bytes),
    ];
    link.execute(
        "UPDATE files SET state = 'complete', touched_at = @now, expires_at = $2, submitter = $3, \
         record = $4, account = $5, bytes = $6 WHERE seq = $1",
        cells,
    )
    .await?;
    Ok(())
}

/// Whether the pieces are those of a file as long as `file` says: none missing, none short, none too many.
async fn check_pieces(link: &mut DatabaseLink, seq: i64, file: &FileRecord) -> Result<(), Trouble> {
    let wanted = limits::pieces(file.bytes);
    let cells = vec![
        Cell::Integer(Some(seq)),
        Cell::count(wanted.saturating_sub(1)),
    ];
    let text = format!(
        "SELECT COUNT(*), CAST(COALESCE(SUM(octet_length(content)), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN number < $2 AND octet_length(content) <> {PIECE_BYTES} \
         THEN 1 ELSE 0 END), 0) AS BIGINT), COALESCE(MAX(number), -1) FROM pieces WHERE file = $1"
    );
    let Some(row) = link.row(&text, cells).await? else {
        return Err(damaged("a count of pieces gave no row".to_owned()));
    };
    let (pieces, bytes, short) = (row.count(0)?, row.count(1)?, row.count(2)?);
    let last = row.integer(3)?.unwrap_or(-1);
    let is_whole = pieces == wanted
        && bytes == file.bytes
        && short == 0
        && i128::from(last) == i128::from(wanted) - 1;
    match is_whole {
        true => Ok(()),
        false => Err(damaged(format!(
            "file {} was to have {} bytes in {wanted} pieces and has {bytes} in {pieces}, \
             {short} of them too short",
            file.id, file.bytes
        ))),
    }
}

pub(super) async fn get(link: &mut DatabaseLink, id: &Id) -> Result<Option<FileRecord>, Trouble> {
    let text = "SELECT record FROM files WHERE id = $1 AND state = 'complete'";
    let row = link.row(text, vec![Cell::text(id.as_str())]).await?;
    row.as_ref().map(record).transpose()
}

pub(super) async fn piece(
    link: &mut DatabaseLink,
    id: &Id,
    number: u32,
) -> Result<Option<Bytes>, Trouble> {
    let cells = vec![Cell::text(id.as_str()), Cell::count(u64::from(number))];
    let row = link.row(
        "SELECT content FROM pieces WHERE number = $2 \
         AND file = (SELECT seq FROM files WHERE id = $1 AND state = 'complete')",
        cells,
    );
    row.await?.map(|row| row.bytes(0)).transpose()
}

pub(super) async fn list(
    link: &mut DatabaseLink,
    key: Option<&str>,
    before: Option<&Id>,
    max: usize,
) -> Result<Vec<FileRecord>, Trouble> {
    let mut text = "SELECT record FROM files WHERE state = 'complete'".to_owned();
    let mut cells = Vec::new();
    if let Some(key) = key {
        cells.push(Cell::text(plain(key)));
        text.push_str(" AND submitter = $1");
    }
    if let Some(before) = before {
        cells.push(Cell::text(ulid(before)));
        text.push_str(&format!(" AND ulid < ${}", cells.len()));
    }
    text.push_str(&format!(" ORDER BY ulid DESC LIMIT {max}"));
    link.rows(&text, cells).await?.iter().map(record).collect()
}

pub(super) async fn delete(link: &mut DatabaseLink, id: &Id) -> Result<bool, Trouble> {
    let removed = link.execute(
        "UPDATE files SET state = 'removed', record = NULL WHERE id = $1 AND state = 'complete'",
        vec![Cell::text(id.as_str())],
    );
    Ok(removed.await? == 1)
}

/// Marks a file that is still written as removed, so that no piece of it is taken any more; one of which nothing
/// came yet is marked too, since its first piece may be on its way.
pub(super) async fn discard(link: &mut DatabaseLink, id: &Id) -> Result<(), Trouble> {
    let cells = vec![Cell::text(id.as_str()), Cell::text(ulid(id))];
    link.execute(
        "INSERT INTO files (id, ulid, state, touched_at) VALUES ($1, $2, 'removed', @now) \
         ON CONFLICT (id) DO UPDATE SET state = 'removed' WHERE files.state = 'open'",
        cells,
    )
    .await
    .map(drop)
}

/// Removes some pieces of a file that is marked as removed; whether there may be more.
pub(super) async fn remove_pieces(link: &mut DatabaseLink, id: &Id) -> Result<bool, Trouble> {
    let text = "SELECT seq FROM files WHERE id = $1 AND state = 'removed'";
    let Some(row) = link.row(text, vec![Cell::text(id.as_str())]).await? else {
        return Ok(false);
    };
    let seq = row.integer(0)?;
    let removed = remove_parts(link, "pieces", "file", seq, PIECES_AT_ONCE).await?;
    Ok(removed == PIECES_AT_ONCE)
}

async fn locked(link: &mut DatabaseLink, id: &Id) -> Result<Option<(i64, String)>, Trouble> {
    let text = "SELECT seq, state FROM files WHERE id = $1 @lock";
    let row = link.row(text, vec![Cell::text(id.as_str())]).await?;
    row.map(|row| Ok((row.integer(0)?.unwrap_or_default(), row.word(1)?)))
        .transpose()
}

fn record(row: &Row) -> Result<FileRecord, Trouble> {
    parse("a file's record", &row.word(0)?)
}

fn gone(id: &Id) -> Trouble {
    Trouble::Store(StoreError::Damaged {
        detail: format!("file {id} was removed while it was written"),
    })
}
