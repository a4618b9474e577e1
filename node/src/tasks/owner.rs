//! Answers for the tasks that this node keeps, when a peer asks: the other end of
//! [`Remote`](super::remote::Remote).
//!
//! Who asks is proven by its certificate, so that a lease is held in the name of the peer that asked for
//! it. Peers are given tasks the nearest first, as core's [`handover`] says: the others are told that
//! there is nothing, until the tasks have waited long enough for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_core::handover::{self, Queues};
use grapevine_core::ids::{NodeName, ServiceKey};
use http::StatusCode;
use serde::Serialize;

use super::id::Id;
use super::nudge::Nudges;
use super::remote::{
    Ask, ERROR_STATUS, PIECE_PATH, PUT_PATH, STORE_PATH, TaskPage, WAIT_MAX, fitting,
};
use super::store::{LEASES_MAX, Lease, LeaseAsk, PAGE_MAX, Store, StoreError};
use super::task::{Checked, Task};
use crate::driver::Desk;
use crate::exchange::ServeInside;

/// The longest name of a worker in bytes.
const WORKER_BYTES_MAX: usize = 128;

/// Leases given to a peer at once: with the longest payloads they fill half of a message.
const LEASES_AT_ONCE: usize = LEASES_MAX / 2;

/// What this node keeps, for its peers. Cheap to clone.
#[derive(Clone)]
pub struct Owner {
    store: Arc<dyn Store>,
    desk: Desk,
    nudges: Nudges,
    queues: Arc<Mutex<Queues>>,
}

type Answer = (StatusCode, Bytes);

impl Owner {
    /// Answers for `store`; the view of `desk` says which peer is the nearest, and workers whose tasks are to be
    /// cancelled are told through `nudges`.
    pub fn new(store: Arc<dyn Store>, desk: Desk, nudges: Nudges) -> Self {
        Self {
            store,
            desk,
            nudges,
            queues: Arc::default(),
        }
    }

    /// Answers a call of `peer`; `None` when `path` is about something else.
    pub async fn answer(&self, peer: &NodeName, path: &str, body: Bytes) -> Option<Answer> {
        if path == STORE_PATH {
            let Ok(ask) = serde_json::from_slice(&body) else {
                return Some((StatusCode::BAD_REQUEST, Bytes::new()));
            };
            return Some(self.store(peer, ask).await);
        }
        if let Some(place) = path.strip_prefix(PUT_PATH) {
            let (file, number) = piece(place)?;
            return Some(match self.store.put_piece(&file, number, body).await {
                Ok(()) => (StatusCode::NO_CONTENT, Bytes::new()),
                Err(error) => failed(&error),
            });
        }
        let (file, number) = piece(path.strip_prefix(PIECE_PATH)?)?;
        Some(match self.store.piece(&file, number).await {
            Ok(Some(piece)) => (StatusCode::OK, piece),
            Ok(None) => (StatusCode::NO_CONTENT, Bytes::new()),
            Err(error) => failed(&error),
        })
    }

    async fn store(&self, peer: &NodeName, ask: Ask) -> Answer {
        let store = &self.store;
        match ask {
            Ask::Add(task) => told(store.add(task).await),
            Ask::Get(id) => told(store.get(&id).await),
            Ask::List(query) => {
                let max = query.max.min(PAGE_MAX);
                told(store.list(&query).await.map(|tasks| page(tasks, max)))
            }
            Ask::Lease(ask) => told(self.lease(peer, ask).await),
            Ask::Wait { service, at_most } => {
                store.wait(&service.0, at_most.min(WAIT_MAX)).await;
                told(Ok(()))
            }
            Ask::Renew {
                lease,
                span,
                progress,
            } => told(store.renew(&lease, span, progress).await),
            Ask::Save { lease, notes } => told(store.save(&lease, &notes).await),
            Ask::Notes { id, from } => told(store.notes(&id, from).await.map(|mut notes| {
                notes.truncate(fitting(&notes, |note| note.content.len()));
                notes
            })),
            Ask::Finish { lease, end } => told(store.finish(&lease, end).await),
            Ask::Cancel(id) => {
                let cancelled = store.cancel(&id).await;
                if let Ok(Some(task)) = &cancelled {
                    self.nudges.tell(task);
                }
                told(cancelled)
            }
            Ask::Requeue(id) => told(store.requeue(&id).await),
            Ask::Counts => told(store.counts().await),
            Ask::CompleteFile(file) => told(store.complete_file(file).await),
            Ask::File(id) => told(store.file(&id).await),
            Ask::Files { key, before, max } => {
                let max = max.min(PAGE_MAX);
                told(store.files(key.as_deref(), before.as_ref(), max).await)
            }
            Ask::DeleteFile(id) => told(store.delete_file(&id).await),
            Ask::Check => told(store.check().await),
        }
    }

    /// Gives tasks to a peer, unless a nearer one is to have them first.
    async fn lease(
        &self,
        peer: &NodeName,
        ask: LeaseAsk,
    ) -> Result<Vec<(Lease, Task)>, StoreError> {
        let rank = handover::rank(&self.desk.view(), &ask.service.0, peer);
        let hold = handover::hold(rank);
        if !hold.is_zero()
            && self
                .waited(&ask.service.0)
                .await?
                .is_none_or(|waited| waited < hold)
        {
            return Ok(Vec::new());
        }
        let ask = LeaseAsk {
            worker: worker(peer, &ask.worker),
            max: ask.max.min(LEASES_AT_ONCE),
            ..ask
        };
        self.store.lease(&ask).await
    }

    /// For how long tasks of `service` have been waiting here; `None` when there are none.
    async fn waited(&self, service: &ServiceKey) -> Result<Option<Duration>, StoreError> {
        let counts = self.store.counts().await?;
        let waiting = counts.get(&Checked(service.clone()));
        let waiting = waiting.map_or(0, |counts| counts.waiting);
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(queues.seen(self.desk.now(), service, waiting))
    }
}

#[async_trait]
impl ServeInside for Owner {
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> Answer {
        let answer = self.answer(peer, path, body).await;
        answer.unwrap_or((StatusCode::NOT_FOUND, Bytes::new()))
    }
}

/// The name that a lease is held in: the peer's own, and behind it that of a program beside the peer.
fn worker(peer: &NodeName, called: &str) -> String {
    if called.is_empty() || called == peer.as_str() {
        return peer.to_string();
    }
    let mut worker = format!("{peer}/{called}");
    worker.truncate(worker.floor_char_boundary(WORKER_BYTES_MAX));
    worker
}

/// The file and the number in `/FILE/NUMBER`.
fn piece(place: &str) -> Option<(Id, u32)> {
    let (file, number) = place.strip_prefix('/')?.split_once('/')?;
    Some((file.parse().ok()?, number.parse().ok()?))
}

/// As many of `tasks` as fit; `max` were asked for.
fn page(mut tasks: Vec<Task>, max: usize) -> TaskPage {
    let length = |task: &Task| serde_json::to_vec(task).map_or(0, |json| json.len());
    let fitting = fitting(&tasks, length);
    let more = fitting < tasks.len().min(max);
    tasks.truncate(fitting.min(max));
    TaskPage { tasks, more }
}

fn told<T: Serialize>(result: Result<T, StoreError>) -> Answer {
    match result {
        Ok(value) => json(StatusCode::OK, &value),
        Err(error) => failed(&error),
    }
}

fn failed(error: &StoreError) -> Answer {
    json(ERROR_STATUS, error)
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => (status, body.into()),
        // Every type of the trait can be written.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
    }
}
