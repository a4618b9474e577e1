//! apalis, used as its own documentation does, but for what its durability needs.
//!
//! `SqliteStorage::setup` sets `synchronous = OFF` on the connection that it gets: what was pushed there is
//! not on disk. So its migrations are run without it, and every connection has WAL and FULL.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use apalis::prelude::*;
use apalis_core::task::builder::TaskBuilder;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::SqliteStorage;
use sqlx::postgres::PgPool;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::faults::{ATTEMPTS_MAX, Work};

pub async fn sqlite(file: &Path, connections: u32) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new().max_connections(connections);
    let pool = pool.connect_with(options).await?;
    SqliteStorage::migrations().run(&pool).await?;
    Ok(pool)
}

fn config() -> apalis_sqlite::Config {
    let config = apalis_sqlite::Config::default().queue("bench");
    config.heartbeat_interval(Duration::from_secs(1))
}

pub async fn add_one(file: &Path) -> Result<()> {
    let pool = sqlite(file, 1).await?;
    let mut storage = SqliteStorage::<u64>::new(&pool).with_config(config());
    let task = TaskBuilder::new(1_u64).max_attempts(ATTEMPTS_MAX).build();
    storage.push_task(task).await.map_err(|error| anyhow!("{error}"))?;
    pool.close().await;
    Ok(())
}

pub async fn record(file: &Path) -> Result<String> {
    let pool = sqlite(file, 1).await?;
    let text = "SELECT status, attempts, max_attempts, COALESCE(last_result, 'none') FROM Jobs";
    let row: (String, i64, i64, String) = sqlx::query_as(text).fetch_one(&pool).await?;
    pool.close().await;
    Ok(format!("{}, attempts {} of {}, result {}", row.0, row.1, row.2, row.3))
}

/// A worker as its documentation builds one, with a short heartbeat.
pub async fn work(file: &str, name: &str, work: Work) -> Result<()> {
    let pool = sqlite(Path::new(file), 4).await?;
    let storage = SqliteStorage::<u64>::new(&pool).with_config(config());
    let worker = WorkerBuilder::new(name)
        .backend(storage)
        .data(work)
        .build(run);
    worker.run().await.map_err(|error| anyhow!("{error}"))
}

async fn run(_: u64, work: Data<Work>) -> Result<String, BoxDynError> {
    Ok(work.run().await)
}

async fn count(_: u64, done: Data<Arc<AtomicUsize>>) -> Result<(), BoxDynError> {
    done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Adds `number` tasks to a file, each durable by itself.
pub fn sqlite_storage(pool: &SqlitePool) -> SqliteStorage<u64> {
    let config = apalis_sqlite::Config::default().queue("bench").batch_size(64);
    SqliteStorage::new(pool).with_config(config)
}

pub fn postgres_storage(pool: &PgPool) -> PostgresStorage<u64> {
    let config = apalis_postgres::Config::default().queue("bench").batch_size(64);
    PostgresStorage::new(pool).with_config(config)
}

/// Works on everything in the file, until dropped.
pub async fn drain_sqlite(pool: SqlitePool, done: Arc<AtomicUsize>) -> Result<()> {
    let strategy = Strategy::new().interval(Duration::from_millis(10));
    let worker = WorkerBuilder::new("drain")
        .backend(sqlite_storage(&pool).poll_with_strategy(strategy))
        .concurrency(64)
        .data(done)
        .build(count);
    worker.run().await.map_err(|error| anyhow!("{error}"))
}

/// The same for a server.
pub async fn drain_postgres(pool: PgPool, done: Arc<AtomicUsize>) -> Result<()> {
    let strategy = Strategy::new().interval(Duration::from_millis(10));
    let worker = WorkerBuilder::new("drain")
        .backend(postgres_storage(&pool).poll_with_strategy(strategy))
        .concurrency(64)
        .data(done)
        .build(count);
    worker.run().await.map_err(|error| anyhow!("{error}"))
}
