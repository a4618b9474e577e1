//! The file of a SQLite store: created, opened, checked, and recognized when it was replaced.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Error};

use super::super::open_error::OpenError;
use super::super::{PATIENCE, StoreError};
use super::link::{DatabaseLink, Trouble};
use super::schema;

/// How long SQLite waits for another process's lock. Twice this is below [`PATIENCE`], since a job may
/// come while the one before it waits.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Files up to this are checked whole before they are used; it takes a second per gigabyte or so.
const CHECKED_BYTES_MAX: u64 = 512 * 1_024 * 1_024;

/// Bytes that the log keeps on disk after it was written into the file.
const LOG_BYTES_KEPT: &str = "16777216";

/// The file, by its path.
pub(super) struct DatabaseFile {
    pub(super) path: PathBuf,
}

/// Which file it is, whatever its name: device and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl DatabaseFile {
    /// Makes the file, for its owner's eyes only; one that is there is left as it is.
    pub(super) fn create(&self) -> Result<(), OpenError> {
        let mut options = OpenOptions::new();
        let made = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path);
        match made {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(OpenError::Path {
                path: self.path.clone(),
                problem: error.to_string(),
            }),
        }
    }

    pub(super) fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .busy_timeout(LOCK_PATIENCE)
            .foreign_keys(false)
            .disable_statement_logging()
    }

    /// A connection that writes, to tables of this version. With `check`, the content of the file is checked.
    pub(super) async fn connect(
        &self,
        check: bool,
    ) -> Result<(DatabaseLink, Identity), StoreError> {
        let connect = async {
            // Before the connection: a file that is replaced in between is then seen as another.
            let identity = self.identity();
            let options = self
                .options()
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                // For files that are created now: it changes nothing in one that exists.
                .auto_vacuum(SqliteAutoVacuum::Incremental)
                .pragma("journal_size_limit", LOG_BYTES_KEPT);
            let mut link = DatabaseLink::SqliteWriter(options.connect().await?);
            if check {
                self.look_through(&mut link).await?;
            }
            schema::bring_up(&mut link).await?;
            Ok((link, identity))
        };
        let (link, identity) = connect
            .await
            .map_err(|trouble: Trouble| self.explain(trouble))?;
        Ok((link, identity.ok_or_else(|| self.displaced())?))
    }

    async fn look_through(&self, link: &mut DatabaseLink) -> Result<(), Trouble> {
        let bytes = fs::metadata(&self.path).map_or(0, |file| file.len());
        if bytes > CHECKED_BYTES_MAX {
            return Ok(());
        }
        match link.row("PRAGMA quick_check(1)", vec![]).await? {
            Some(row) if row.word(0)? != "ok" => Err(Trouble::Store(self.damaged(&row.word(0)?))),
            _ => Ok(()),
        }
    }

    /// Which file has the path now; `None` when none has.
    pub(super) fn identity(&self) -> Option<Identity> {
        let file = fs::metadata(&self.path).ok()?;
        Some(Identity(file.dev(), file.ino()))
    }

    /// What an error means for the caller and for the operator.
    pub(super) fn explain(&self, trouble: Trouble) -> StoreError {
        let error = match trouble {
            Trouble::Store(StoreError::Damaged { detail }) => return self.damaged(&detail),
            Trouble::Store(error) => return error,
            Trouble::Engine(error) => error,
        };
        let code = match &error {
            Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
            Error::ColumnDecode { .. } | Error::Decode(_) => {
                return self.damaged(&error.to_string());
            }
            _ => None,
        };
        let problem = match code.map(|code| code & 0xFF) {
            Some(1 | 11 | 26) => return self.damaged(&error.to_string()),
            Some(5 | 6) => "is locked by another process".to_owned(),
            Some(8) => "is read-only".to_owned(),
            Some(13) => "lies on a disk that is full".to_owned(),
            Some(14) => "cannot be opened".to_owned(),
            _ => error.to_string(),
        };
        self.unavailable(&problem)
    }

    /// The file is not where it was: what is written to it now would be found by nobody.
    pub(super) fn displaced(&self) -> StoreError {
        self.unavailable(
            "was removed or replaced while it was open; put it back, or start the node again",
        )
    }

    pub(super) fn silent(&self) -> StoreError {
        self.unavailable(&format!("gave no answer within {PATIENCE:?}"))
    }

    pub(super) fn damaged(&self, problem: &str) -> StoreError {
        StoreError::Damaged {
            detail: format!(
                "{}: {problem}; stop the node, then put back a copy of the file or move it away (with its \
                 -wal and -shm) to begin with an empty one",
                self.path.display()
            ),
        }
    }

    fn unavailable(&self, problem: &str) -> StoreError {
        StoreError::Unavailable {
            detail: format!("{} {problem}", self.path.display()),
        }
    }
}
