//! grapevine's store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use grapevine_core::ids::{RegionName, ServiceKey};
use grapevine_node::tasks::id::{Id, Kind};
use grapevine_node::tasks::store::sql::SqlStore;
use grapevine_node::tasks::store::{End, LeaseAsk, LeaseHold, Store, TaskQuery};
use grapevine_node::tasks::task::{CheckedText, NewTask, Submitter, TaskPriority};
use serde_json::json;

use crate::faults::{ATTEMPTS_MAX, Work};

const KEEP: Duration = Duration::from_secs(86_400);

pub fn task(payload: u64) -> NewTask {
    NewTask {
        id: Id::new(Kind::Task, None),
        service: CheckedText(ServiceKey::new("bench").expect("a key")),
        payload: json!(payload),
        priority: TaskPriority(0),
        attempts_max: ATTEMPTS_MAX as u32,
        delay: Duration::ZERO,
        expires_after: None,
        idempotency_key: None,
        submitter: Submitter::default(),
        regions: Vec::new(),
    }
}

fn ask(worker: &str, span: Duration, max: usize) -> LeaseAsk {
    LeaseAsk {
        service: CheckedText(ServiceKey::new("bench").expect("a key")),
        worker: worker.to_owned(),
        region: CheckedText(RegionName::new("here").expect("a name")),
        span,
        max,
        suspects: true,
    }
}

async fn open(file: &Path) -> Result<SqlStore> {
    SqlStore::sqlite(file).await.map_err(|error| anyhow!(error))
}

pub async fn add_one(file: &Path) -> Result<()> {
    open(file).await?.add(task(1)).await?;
    Ok(())
}

pub async fn record(file: &Path) -> Result<String> {
    let query = TaskQuery {
        max: 1,
        ..TaskQuery::default()
    };
    let tasks = open(file).await?.list(&query).await?;
    let task = tasks.first().ok_or_else(|| anyhow!("no task"))?;
    let history: Vec<_> = task.history.iter().map(|end| (end.attempt, end.how.as_str())).collect();
    let output = task.output.as_ref().map_or("none".to_owned(), ToString::to_string);
    Ok(format!(
        "{}, attempts {} of {ATTEMPTS_MAX}, output {output}, history {history:?}",
        task.state.as_str(),
        task.attempts
    ))
}

/// Works on one task after another, as the runner does; its lease is short.
pub async fn work(file: &str, name: &str, work: Work) -> Result<()> {
    let store = open(Path::new(file)).await?;
    let span = Duration::from_secs(2);
    let ask = ask(name, span, 1);
    loop {
        store.sweep(KEEP).await?;
        let given = store.lease(&ask).await?;
        for (lease, _) in given {
            let mut running = std::pin::pin!(work.run());
            let output = loop {
                tokio::select! {
                    output = &mut running => break Some(output),
                    () = tokio::time::sleep(span / 4) => {
                        if store.renew(&lease, span, None).await? == LeaseHold::Lost {
                            break None;
                        }
                    }
                }
            };
            if let Some(output) = output {
                store.finish(&lease, End::Completed(json!(output))).await?;
            }
        }
        store.wait(&ask.service.0, Duration::from_secs(1)).await;
    }
}

/// Leases and completes until `done` reaches `number`.
pub async fn drain(store: Arc<dyn Store>, number: usize, done: Arc<AtomicUsize>) {
    let ask = ask("drain", Duration::from_secs(60), 16);
    while done.load(Ordering::Relaxed) < number {
        let given = store.lease(&ask).await.expect("a lease");
        if given.is_empty() {
            store.wait(&ask.service.0, Duration::from_millis(100)).await;
        }
        let ends = given.into_iter().map(|(lease, _)| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            tokio::spawn(async move {
                let held = store.finish(&lease, End::Completed(json!(null))).await;
                assert_eq!(held, Ok(LeaseHold::Kept));
                done.fetch_add(1, Ordering::Relaxed);
            })
        });
        for end in ends.collect::<Vec<_>>() {
            end.await.expect("an end");
        }
    }
}
