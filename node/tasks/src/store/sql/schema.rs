//! The tables, and how a store of an earlier version becomes one of this.
//!
//! `tasks` holds what its statements search by in columns of its own; `fixed` is the accepted task without
//! its payload, as JSON, and never changes. `seq` is the order of acceptance. `attempt` counts every lease
//! ever given on the task: the fence. `due` is 1 once a waiting task's delay is over, so that the index
//! of what can be leased holds nothing else, and 2 for one that is suspect of ending its workers. Nodes of a
//! version that knows no 2 leave those alone, so it is no step. `account` is what turns and quotas count by.

use super::link::{Cell, DatabaseLink, Dialect, Trouble, damaged};

/// The newest version: how many steps there are.
pub(super) const VERSION: u64 = STEPS.len() as u64;

/// Each takes the version before it to the next. A step that was released is never changed.
const STEPS: [&str; 2] = [FIRST, ACCOUNTS];

const FIRST: &str = "
CREATE TABLE tasks (
  seq @serial,
  id TEXT NOT NULL UNIQUE,
  ulid TEXT NOT NULL,
  service TEXT NOT NULL,
  state TEXT NOT NULL,
  due BIGINT NOT NULL,
  priority BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  not_before BIGINT NOT NULL,
  expires_at BIGINT,
  started_at BIGINT,
  ended_at BIGINT,
  lease_until BIGINT,
  attempt BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  worker TEXT,
  cancel_requested BIGINT NOT NULL,
  submitter TEXT,
  idempotency_key @bytes,
  regions TEXT NOT NULL,
  fixed TEXT NOT NULL,
  payload TEXT NOT NULL,
  progress TEXT,
  output TEXT,
  fault TEXT,
  history TEXT NOT NULL
);
CREATE INDEX tasks_newest ON tasks (ulid);
CREATE INDEX tasks_by_state ON tasks (state, service, ulid);
CREATE INDEX tasks_due ON tasks (service, priority DESC, seq) WHERE state = 'waiting' AND due = 1;
CREATE INDEX tasks_delayed ON tasks (service, not_before) WHERE state = 'waiting' AND due = 0;
CREATE INDEX tasks_expiring ON tasks (expires_at)
  WHERE expires_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX tasks_once ON tasks (service, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE TABLE notes (
  task BIGINT NOT NULL,
  number BIGINT NOT NULL,
  content @bytes NOT NULL,
  PRIMARY KEY (task, number)
);
CREATE TABLE files (
  seq @serial,
  id TEXT NOT NULL UNIQUE,
  ulid TEXT NOT NULL,
  state TEXT NOT NULL,
  touched_at BIGINT NOT NULL,
  expires_at BIGINT,
  submitter TEXT,
  record TEXT
);
CREATE INDEX files_newest ON files (state, ulid);
CREATE INDEX files_by_age ON files (state, touched_at);
CREATE TABLE pieces (
  file BIGINT NOT NULL,
  number BIGINT NOT NULL,
  content @bytes NOT NULL,
  PRIMARY KEY (file, number)
);
";

/// Who asked, for turns and quotas: `account` is a submitter's as its task and its files name it. What can be
/// leased is found by it; what waits and what is stored is counted by it.
const ACCOUNTS: &str = "
ALTER TABLE tasks ADD COLUMN account TEXT NOT NULL DEFAULT '';
UPDATE tasks SET account = 'key ' || submitter WHERE submitter IS NOT NULL;
DROP INDEX tasks_due;
CREATE INDEX tasks_turns ON tasks (service, account, priority DESC, seq)
  WHERE state = 'waiting' AND due = 1;
CREATE INDEX tasks_waiting ON tasks (account) WHERE state = 'waiting';
ALTER TABLE files ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE files ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
UPDATE files SET account = 'key ' || submitter WHERE submitter IS NOT NULL;
UPDATE files SET bytes = @length_in_record WHERE record IS NOT NULL;
CREATE INDEX files_by_account ON files (account, bytes) WHERE state = 'complete';
";

/// Made where it is missing, by no step: nodes of an earlier version work beside it.
const SUSPECTS: &str = "
CREATE INDEX tasks_suspect ON tasks (service, priority DESC, seq)
  WHERE state = 'waiting' AND due = 2;
";

/// Nodes that start at once take turns by this lock of the server's; the number is this program's own.
const TURN: &str = "SELECT pg_advisory_xact_lock(7166188275139)";

/// Brings the store to this version, in one transaction.
///
/// # Errors
/// When the engine cannot, or the store is of a later version.
pub(super) async fn bring_up(link: &mut DatabaseLink) -> Result<(), Trouble> {
    match link.dialect() {
        Dialect::Sqlite => link.command("BEGIN IMMEDIATE").await?,
        Dialect::Postgres => {
            link.command("BEGIN").await?;
            link.command(TURN).await?;
            link.command("CREATE SCHEMA IF NOT EXISTS grapevine")
                .await?;
        }
    }
    let outcome = step_up(link).await;
    match &outcome {
        Ok(()) => link.command("COMMIT").await?,
        // The transaction may be over already; the connection is dropped after an error anyway.
        Err(_) => link.command("ROLLBACK").await.unwrap_or_default(),
    }
    outcome
}

async fn step_up(link: &mut DatabaseLink) -> Result<(), Trouble> {
    link.command("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        .await?;
    let row = link.row("SELECT version FROM schema_version", vec![]);
    let found = match row.await? {
        Some(row) => row.count(0)?,
        None => {
            link.command("INSERT INTO schema_version VALUES (0)")
                .await?;
            0
        }
    };
    if found > VERSION {
        return Err(damaged(format!(
            "it was written by a later version of grapevine (schema {found}, this one knows {VERSION}): \
             start that version, or choose another location at tasks.queue"
        )));
    }
    for step in STEPS.iter().skip(found as usize) {
        link.command(step).await?;
    }
    if !has_suspects(link).await? {
        link.command(SUSPECTS).await?;
    }
    if found < VERSION {
        let version = vec![Cell::count(VERSION)];
        link.execute("UPDATE schema_version SET version = $1", version)
            .await?;
    }
    Ok(())
}

/// Asked first, since making what is there would wait for all that write.
async fn has_suspects(link: &mut DatabaseLink) -> Result<bool, Trouble> {
    let text = match link.dialect() {
        Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE name = 'tasks_suspect'",
        Dialect::Postgres => {
            "SELECT COUNT(*) FROM pg_indexes \
             WHERE schemaname = 'grapevine' AND indexname = 'tasks_suspect'"
        }
    };
    let row = link.row(text, vec![]).await?;
    row.map_or(Ok(false), |row| Ok(row.count(0)? > 0))
}
