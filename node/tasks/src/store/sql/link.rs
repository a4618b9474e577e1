//! One connection to either engine, and the little that their SQL differs in.
//!
//! Statements are written once, with `$1` for values (both engines take that) and with words that begin
//! with `@` where the engines differ; see [`Dialect::words`]. No value is ever written into a statement.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Postgres, Row as _, Sqlite, SqliteConnection};

use super::super::StoreError;

/// A step of work on a connection.
pub(super) type QueryStep<'c, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'c>>;

/// Why a step was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The engine's error.
    Engine(sqlx::Error),
    /// The store's error.
    Store(StoreError),
}

/// A connection.
pub(super) enum DatabaseLink {
    /// The one that writes the file.
    SqliteWriter(SqliteConnection),
    /// One that reads it.
    SqliteReader(PoolConnection<Sqlite>),
    /// One of the server's.
    Postgres(PoolConnection<Postgres>),
}

/// A value for a statement.
pub(super) enum Cell {
    /// A number or nothing.
    Integer(Option<i64>),
    /// Text or nothing.
    Text(Option<String>),
    /// Bytes or nothing.
    Bytes(Option<Vec<u8>>),
}

/// A row of an answer.
pub(super) enum Row {
    /// Of the file.
    Sqlite(SqliteRow),
    /// Of the server.
    Postgres(PgRow),
}

/// Which engine's SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// SQLite's.
    Sqlite,
    /// Postgres's.
    Postgres,
}

impl Dialect {
    /// What stands for each word. Longer words come before those they begin with.
    const fn words(self) -> [(&'static str, &'static str); 7] {
        match self {
            Self::Sqlite => [
                ("@now", "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"),
                ("@lock_free", ""),
                ("@lock", ""),
                ("@serial", "INTEGER PRIMARY KEY AUTOINCREMENT"),
                ("@bytes", "BLOB"),
                ("@length_in_record", "json_extract(record, '$.bytes')"),
                // It would read every waiting task otherwise.
                ("@by_delay", "INDEXED BY tasks_delayed"),
            ],
            Self::Postgres => [
                (
                    "@now",
                    "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)",
                ),
                ("@lock_free", "FOR UPDATE SKIP LOCKED"),
                ("@lock", "FOR UPDATE"),
                ("@serial", "BIGSERIAL PRIMARY KEY"),
                ("@bytes", "BYTEA"),
                (
                    "@length_in_record",
                    "CAST(CAST(record AS json) ->> 'bytes' AS BIGINT)",
                ),
                ("@by_delay", ""),
            ],
        }
    }

    fn statement(self, text: &str) -> String {
        let mut statement = text.to_owned();
        for (word, meaning) in self.words() {
            if statement.contains(word) {
                statement = statement.replace(word, meaning);
            }
        }
        statement
    }
}

macro_rules! bound {
    ($text:expr, $cells:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($text));
        for cell in $cells {
            query = match cell {
                Cell::Integer(value) => query.bind(value),
                Cell::Text(value) => query.bind(value),
                Cell::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

impl DatabaseLink {
    /// The SQL dialect of its engine.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::SqliteWriter(_) | Self::SqliteReader(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; how many rows it touched.
    pub(super) async fn execute(&mut self, text: &str, cells: Vec<Cell>) -> Result<u64, Trouble> {
        let text = self.dialect().statement(text);
        let touched = match self {
            Self::SqliteWriter(connection) => {
                let query = bound!(text, cells);
                query.execute(connection).await?.rows_affected()
            }
            Self::SqliteReader(connection) => {
                let query = bound!(text, cells);
                query.execute(&mut **connection).await?.rows_affected()
            }
            Self::Postgres(connection) => {
                let query = bound!(text, cells);
                query.execute(&mut **connection).await?.rows_affected()
            }
        };
        Ok(touched)
    }

    /// Runs a statement for its rows, all of them in memory: the statement limits how many.
    pub(super) async fn rows(&mut self, text: &str, cells: Vec<Cell>) -> Result<Vec<Row>, Trouble> {
        let text = self.dialect().statement(text);
        Ok(match self {
            Self::SqliteWriter(connection) => {
                let rows = bound!(text, cells).fetch_all(connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::SqliteReader(connection) => {
                let rows = bound!(text, cells).fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(connection) => {
                let rows = bound!(text, cells).fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row of an answer, where there is one.
    pub(super) async fn row(
        &mut self,
        text: &str,
        cells: Vec<Cell>,
    ) -> Result<Option<Row>, Trouble> {
        Ok(self.rows(text, cells).await?.into_iter().next())
    }

    /// Runs statements that take no values and are not worth preparing, such as `BEGIN`.
    pub(super) async fn command(&mut self, text: &str) -> Result<(), Trouble> {
        let query = sqlx::raw_sql(AssertSqlSafe(self.dialect().statement(text)));
        match self {
            Self::SqliteWriter(connection) => query.execute(connection).await.map(drop)?,
            Self::SqliteReader(connection) => query.execute(&mut **connection).await.map(drop)?,
            Self::Postgres(connection) => query.execute(&mut **connection).await.map(drop)?,
        }
        Ok(())
    }
}

impl Row {
    /// A number or nothing in column `column`.
    pub(super) fn integer(&self, column: usize) -> Result<Option<i64>, Trouble> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A number that must be there and not below zero.
    pub(super) fn count(&self, column: usize) -> Result<u64, Trouble> {
        let number = self.integer(column)?;
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| damaged(format!("column {column} holds no count")))
    }

    /// Text or nothing.
    pub(super) fn text(&self, column: usize) -> Result<Option<String>, Trouble> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// Text that must be there.
    pub(super) fn word(&self, column: usize) -> Result<String, Trouble> {
        let text = self.text(column)?;
        text.ok_or_else(|| damaged(format!("column {column} holds no text")))
    }

    /// Bytes that must be there.
    pub(super) fn bytes(&self, column: usize) -> Result<Bytes, Trouble> {
        let bytes: Vec<u8> = match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        };
        Ok(bytes.into())
    }
}

impl Cell {
    /// Text that is there.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// A number; the highest that fits where it is higher.
    pub(super) fn count(number: u64) -> Self {
        Self::Integer(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The store holds what it cannot read.
pub(super) fn damaged(detail: String) -> Trouble {
    Trouble::Store(StoreError::Damaged { detail })
}
