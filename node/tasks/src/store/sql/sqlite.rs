//! SQLite: one file, written by one connection and read by a few.
//!
//! WAL, so that reading never waits for writing; `synchronous=FULL`, so that a commit is on disk when it
//! returns. Writing goes through the [`writer`](super::writer), which commits what came meanwhile together.

use std::path::Path;
use std::sync::Arc;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::SqlitePool;
use tokio::time::timeout;
use tracing::warn;

use super::super::open_error::OpenError;
use super::super::{PATIENCE, StoreError};
use super::database_file::{DatabaseFile, LOCK_PATIENCE};
use super::link::{DatabaseLink, QueryStep};
use super::writer::Writer;

/// Connections that read.
const READERS_MAX: u32 = 4;

/// A store in a file.
pub(super) struct Sqlite {
    file: Arc<DatabaseFile>,
    writer: Writer,
    readers: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, OpenError> {
        let file = Arc::new(DatabaseFile {
            path: path.to_owned(),
        });
        file.create()?;
        let first = match file.connect(true).await {
            Ok(first) => Some(first),
            Err(StoreError::Damaged { detail }) => return Err(OpenError::Damaged { detail }),
            Err(error) => {
                warn!(%error, "task store opened, but it cannot be used yet");
                None
            }
        };
        let readers = PoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(LOCK_PATIENCE)
            .connect_lazy_with(file.options().read_only(true));
        Ok(Self {
            writer: Writer::start(Arc::clone(&file), first),
            file,
            readers,
        })
    }

    pub(super) async fn read<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = async {
            let mut link = DatabaseLink::SqliteReader(self.readers.acquire().await?);
            work(&mut link).await
        };
        match timeout(PATIENCE, read).await {
            Ok(outcome) => outcome.map_err(|trouble| self.file.explain(trouble)),
            Err(_) => Err(self.file.silent()),
        }
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = timeout(PATIENCE, self.writer.write(work)).await;
        written.unwrap_or_else(|_| Err(self.file.silent()))
    }
}
