//! What accepting and running tasks costs: each system alone, the same durability, in turns, three times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use apalis::prelude::*;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::SqliteStorage;
use grapevine_node::config::secret::Secret;
use grapevine_node::tasks::store::Store;
use grapevine_node::tasks::store::jetstream::JetStore;
use grapevine_node::tasks::store::sql::SqlStore;
use grapevine_tests::nats::Nats;
use grapevine_tests::postgres::Postgres;
use grapevine_tests::scratch::Scratch;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::SqlitePool;
use tokio::time::{sleep, timeout};

use crate::{bare, ours};

/// Tasks in one measurement.
const TASKS: usize = 2_000;

/// How often all are measured.
const ROUNDS: usize = 3;

/// Concurrent adders.
const ADDERS: usize = 32;

/// How long a measurement may take.
const LIMIT: Duration = Duration::from_secs(180);

/// Connections of apalis; as many as grapevine has.
const CONNECTIONS: u32 = 8;

/// What is measured.
#[derive(Clone)]
enum System {
    Ours(Arc<dyn Store>),
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

struct Figures {
    enqueue: f64,
    p50: Duration,
    p99: Duration,
    whole: f64,
}

pub async fn show() -> Result<()> {
    println!("## {TASKS} tasks from {ADDERS} adders; durable when accepted (see the README for what that is at each)");
    println!("{:28} {:>10} {:>9} {:>9} {:>12}", "", "enqueue/s", "p50", "p99", "end to end/s");
    let postgres = Postgres::start("bench-postgres").await;
    for round in 1..=ROUNDS {
        let scratch = Scratch::new("bench-sqlite");
        let store: Arc<dyn Store> = Arc::new(SqlStore::sqlite(&scratch.path().join("ours.db")).await?);
        let ours = measure("grapevine sqlite", System::Ours(store)).await?;
        let pool = bare::sqlite(&scratch.path().join("bare.db"), CONNECTIONS).await?;
        let bare = measure("apalis sqlite", System::Sqlite(pool)).await?;
        compare(round, "sqlite", &ours, &bare);
        let _ = postgres.sql("DROP SCHEMA IF EXISTS grapevine CASCADE; DROP SCHEMA IF EXISTS apalis CASCADE; \
            DROP TABLE IF EXISTS _sqlx_migrations");
        let store: Arc<dyn Store> = Arc::new(SqlStore::postgres(&Secret::new(&postgres.url()))?);
        let ours = measure("grapevine postgres", System::Ours(store)).await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&postgres.url()).await?;
        PostgresStorage::setup(&pool).await?;
        let bare = measure("apalis postgres", System::Postgres(pool)).await?;
        compare(round, "postgres", &ours, &bare);
        // apalis has no JetStream: beside its Postgres, the other engine that nodes share.
        for (name, server) in [
            ("jetstream", Nats::start("bench-jetstream").await),
            ("jetstream, synced", Nats::start_synced("bench-synced").await),
        ] {
            let store: Arc<dyn Store> = Arc::new(JetStore::open(&Secret::new(&server.url())).await?);
            let ours = measure(&format!("grapevine {name}"), System::Ours(store)).await?;
            compare(round, &format!("{name} beside apalis postgres"), &ours, &bare);
        }
    }
    Ok(())
}

fn compare(round: usize, engine: &str, ours: &Figures, bare: &Figures) {
    println!(
        "round {round}, {engine}: grapevine / apalis: enqueue {:.2}, p99 {:.2}, end to end {:.2}",
        ours.enqueue / bare.enqueue,
        ours.p99.as_secs_f64() / bare.p99.as_secs_f64(),
        ours.whole / bare.whole
    );
}

async fn measure(name: &str, system: System) -> Result<Figures> {
    // Accepting alone; the tasks are then run before the second part.
    let began = Instant::now();
    let mut times = add_all(&system).await?;
    let enqueue = TASKS as f64 / began.elapsed().as_secs_f64();
    let done = Arc::new(AtomicUsize::new(0));
    let workers = work(&system, &done);
    until(&done, TASKS).await?;
    // Accepting and running at once.
    let began = Instant::now();
    add_all(&system).await?;
    until(&done, 2 * TASKS).await?;
    let whole = TASKS as f64 / began.elapsed().as_secs_f64();
    workers.iter().for_each(|worker| worker.abort());
    times.sort();
    let figures = Figures {
        enqueue,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        whole,
    };
    println!(
        "{name:28} {:>10.0} {:>7.2}ms {:>7.2}ms {:>12.0}",
        figures.enqueue,
        figures.p50.as_secs_f64() * 1e3,
        figures.p99.as_secs_f64() * 1e3,
        figures.whole
    );
    Ok(figures)
}

async fn add_all(system: &System) -> Result<Vec<Duration>> {
    let adders = (0..ADDERS).map(|adder| {
        let mut sink = system.sink();
        tokio::spawn(async move {
            let mut times = Vec::new();
            for number in (adder..TASKS).step_by(ADDERS) {
                let began = Instant::now();
                sink.add(number as u64).await?;
                times.push(began.elapsed());
            }
            anyhow::Ok(times)
        })
    });
    let mut all = Vec::with_capacity(TASKS);
    for adder in adders.collect::<Vec<_>>() {
        all.extend(adder.await??);
    }
    Ok(all)
}

fn work(system: &System, done: &Arc<AtomicUsize>) -> Vec<tokio::task::JoinHandle<()>> {
    let done = Arc::clone(done);
    match system.clone() {
        System::Ours(store) => (0..4)
            .map(|_| tokio::spawn(ours::drain(Arc::clone(&store), usize::MAX, Arc::clone(&done))))
            .collect(),
        System::Sqlite(pool) => vec![tokio::spawn(async move {
            report(bare::drain_sqlite(pool, done).await);
        })],
        System::Postgres(pool) => vec![tokio::spawn(async move {
            report(bare::drain_postgres(pool, done).await);
        })],
    }
}

fn report(outcome: Result<()>) {
    if let Err(error) = outcome {
        println!("apalis's worker ended: {error}");
    }
}

async fn until(done: &AtomicUsize, number: usize) -> Result<()> {
    let wait = async {
        while done.load(Ordering::Relaxed) < number {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = timeout(LIMIT, wait).await;
    waited.map_err(|_| anyhow!("{} of {number} done in {LIMIT:?}", done.load(Ordering::Relaxed)))
}

impl System {
    fn sink(&self) -> Sink {
        match self {
            Self::Ours(store) => Sink::Ours(Arc::clone(store)),
            Self::Sqlite(pool) => Sink::Sqlite(bare::sqlite_storage(pool)),
            Self::Postgres(pool) => Sink::Postgres(bare::postgres_storage(pool)),
        }
    }
}

/// Where one adder puts its tasks.
enum Sink {
    Ours(Arc<dyn Store>),
    Sqlite(SqliteStorage<u64>),
    Postgres(PostgresStorage<u64>),
}

impl Sink {
    async fn add(&mut self, number: u64) -> Result<()> {
        match self {
            Self::Ours(store) => store.add(ours::task(number)).await.map(drop)?,
            Self::Sqlite(storage) => {
                let pushed = storage.push(number).await;
                pushed.map_err(|error| anyhow!("{error}"))?;
            }
            Self::Postgres(storage) => {
                let pushed = storage.push(number).await;
                pushed.map_err(|error| anyhow!("{error}"))?;
            }
        }
        Ok(())
    }
}
