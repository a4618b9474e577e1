//! Answers for the tasks that this node keeps, when a peer asks: the other end of
//! [`Remote`](super::remote::Remote).
//!
//! The certificate proves who asks, so that a lease is held in the name of the peer that asked for it, and
//! nobody else can report on it. The nearest peers get tasks first, as defined by core's [`handover`]: the
//! others get none until the tasks have waited long enough for them.
//!
//! | for | a peer may |
//! | --- | --- |
//! | itself | be lent tasks of services that its signed value publishes, in the region that it publishes, within their fence |
//! | a task that it runs | renew, note, end it; read what its submitter may; write the files of a batch; add the delivery of a run's end |
//! | a client | see, cancel and requeue what came with the client's key, by id; list that key's tasks; add a batch of its file |
//!
//! Whatever is sent is permitted in the peer's region, and no question is answered for a client that may not be
//! known there.
//! Only the node's own operator sees everybody's tasks, at the node's admin port.

mod read;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::exchange::ServeInside;
use grapevine_core::Instant;
use grapevine_core::handover::{self, Queues};
use grapevine_core::ids::NodeName;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Semaphore;
use tracing::warn;

use super::behalf::Behalf;
use super::hub::Hub;
use super::id::Id;
use super::question::{
    Ask, ERROR_STATUS, PIECE_PATH, PUT_PATH, Question, STORE_PATH, TaskPage, WAIT_MAX, fitting,
};
use super::rights::{Reader, is_held_by, refused};
use super::store::{Lease, LeaseHold, PAGE_MAX, StoreError};
use super::task::{ServiceKeyText, Task};

/// Peers' waits for tasks at once, over all peers.
const WAITS_MAX: usize = 64;

/// Between two log lines about peers that are refused.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What this node keeps, for its peers. Cheap to clone.
#[derive(Clone)]
pub struct TaskOwner {
    hub: Hub,
    /// Whether a client without a key sees everything here; a reload may change it.
    is_open: Arc<AtomicBool>,
    queues: Arc<Mutex<Queues>>,
    waits: Arc<Semaphore>,
    /// When a refused peer was last logged.
    complained: Arc<Mutex<Option<Instant>>>,
}

type Answer = (StatusCode, Bytes);

impl TaskOwner {
    /// Answers for the own store of `hub`, whose view has the regions and services of peers. `is_open` where this
    /// node's own API needs no keys.
    pub fn new(hub: Hub, is_open: Arc<AtomicBool>) -> Self {
        Self {
            hub,
            is_open,
            queues: Arc::default(),
            waits: Arc::new(Semaphore::new(WAITS_MAX)),
            complained: Arc::default(),
        }
    }

    /// Answers a call of `peer`; `None` when `path` is about something else.
    pub async fn answer(&self, peer: &NodeName, path: &str, body: Bytes) -> Option<Answer> {
        if path == STORE_PATH {
            let Some(question) = Question::read(&body) else {
                return Some((StatusCode::BAD_REQUEST, Bytes::new()));
            };
            return Some(self.store(peer, question).await);
        }
        if let Some(rest) = path.strip_prefix(PUT_PATH) {
            let (task, rest) = rest.strip_prefix('/')?.split_once('/')?;
            let (task, (file, number)) = (task.parse().ok()?, piece(rest)?);
            return Some(match self.put(peer, &task, &file, number, body).await {
                Ok(()) => (StatusCode::NO_CONTENT, Bytes::new()),
                Err(error) => failed(&error),
            });
        }
        let (file, number) = piece(path.strip_prefix(PIECE_PATH)?.strip_prefix('/')?)?;
        let Ok(behalf) = serde_json::from_slice(&body) else {
            return Some((StatusCode::BAD_REQUEST, Bytes::new()));
        };
        Some(match self.piece(peer, &behalf, &file, number).await {
            Ok(Some(piece)) => (StatusCode::OK, piece),
            Ok(None) => (StatusCode::NO_CONTENT, Bytes::new()),
            Err(error) => failed(&error),
        })
    }

    async fn store(&self, peer: &NodeName, question: Question) -> Answer {
        let answer = self.answer_question(peer, question).await;
        if answer.0 == ERROR_STATUS {
            self.complain(peer, &answer.1);
        }
        answer
    }

    /// Logs a peer that asks for what it may not have, at most once per interval.
    fn complain(&self, peer: &NodeName, error: &[u8]) {
        let Ok(StoreError::Refused { detail }) = serde_json::from_slice(error) else {
            return;
        };
        let now = self.hub.driver().now();
        let mut last = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.since(last) < COMPLAINT_INTERVAL) {
            return;
        }
        *last = Some(now);
        warn!(peer.name = %peer, why = %detail, "the task store refuses a peer");
    }

    async fn answer_question(&self, peer: &NodeName, question: Question) -> Answer {
        let Question { behalf, ask } = question;
        let store = self.hub.store();
        match ask {
            Ask::Add(task) => answered(self.add(peer, &behalf, task).await),
            Ask::Get(id) => answered(self.task(peer, &behalf, &id).await),
            Ask::List(query) => {
                let max = query.max.min(PAGE_MAX);
                answered(
                    self.list(peer, &behalf, query)
                        .await
                        .map(|tasks| page(tasks, max)),
                )
            }
            Ask::Lease(ask) => answered(self.lease(peer, ask).await),
            Ask::Wait { service, at_most } => {
                // One wait too many returns at once: a wait may return early at any time.
                if let Ok(_permit) = self.waits.try_acquire() {
                    store.wait(&service.0, at_most.min(WAIT_MAX)).await;
                }
                answered(Ok(()))
            }
            Ask::Renew {
                lease,
                span,
                progress,
            } => match self.holds(peer, &behalf, &lease).await {
                Ok(true) => answered(store.renew(&lease, span, progress).await),
                other => answered(other.map(|_| LeaseHold::Lost)),
            },
            Ask::Save { lease, notes } => match self.holds(peer, &behalf, &lease).await {
                Ok(true) => answered(store.save(&lease, &notes).await),
                other => answered(other.map(|_| LeaseHold::Lost)),
            },
            Ask::Finish { lease, end } => match self.holds(peer, &behalf, &lease).await {
                Ok(true) => answered(store.finish(&lease, end).await),
                other => answered(other.map(|_| LeaseHold::Lost)),
            },
            Ask::Notes { id, from } => answered(self.notes(peer, &behalf, &id, from).await),
            Ask::Cancel(id) => answered(self.cancel(peer, &behalf, &id).await),
            Ask::Requeue(id) => answered(self.requeue(peer, &behalf, &id).await),
            Ask::CompleteFile(file) => answered(self.complete(peer, &behalf, file).await),
            Ask::File(id) => answered(self.file(peer, &behalf, &id).await),
            Ask::DeleteFile(id) => answered(self.delete_file(peer, &behalf, &id).await),
        }
    }

    /// Who reads when `peer` asks on this behalf.
    async fn reader(&self, peer: &NodeName, behalf: &Behalf) -> Result<Reader, StoreError> {
        let view = self.hub.driver().view();
        let region = handover::region_of(&view, peer).cloned();
        let (key, services) = match behalf {
            Behalf::Node => {
                return refused("a node reads for a client, or for a task that it runs");
            }
            Behalf::Worker(id) => {
                let task = self.lent(peer, id).await?;
                let key = task.new.submitter.key;
                (key.as_deref().map(str::to_owned), None)
            }
            Behalf::Client(client) => {
                behalf.check_way(self.hub.node(), Some(self.hub.region()))?;
                let serves =
                    |service: &ServiceKeyText| handover::runs_in(&view, &service.0, peer).is_some();
                // It could lease these, and no others.
                let services = client.services.as_ref();
                let services = services
                    .map(|services| services.iter().filter(|it| serves(it)).cloned().collect());
                (client.key.clone(), services)
            }
        };
        Ok(Reader {
            key,
            services,
            is_open: self.is_open.load(Ordering::Relaxed),
            region,
        })
    }

    /// The same where only a client may ask.
    async fn client(&self, peer: &NodeName, behalf: &Behalf) -> Result<Reader, StoreError> {
        match behalf {
            Behalf::Client(_) => self.reader(peer, behalf).await,
            Behalf::Node | Behalf::Worker(_) => refused("only a client may ask for that"),
        }
    }

    /// The task `id`, which runs at `peer`.
    async fn lent(&self, peer: &NodeName, id: &Id) -> Result<Task, StoreError> {
        let task = self.hub.store().get(id).await?;
        match task.filter(|task| is_held_by(task, peer)) {
            Some(task) => Ok(task),
            None => refused(format!("{id} does not run at {peer}")),
        }
    }

    /// Whether `peer` holds the lease that it names, as far as the store's own fence does not check it.
    async fn holds(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        lease: &Lease,
    ) -> Result<bool, StoreError> {
        match behalf {
            Behalf::Worker(id) if *id == lease.id => {}
            _ => return Ok(false),
        }
        let task = self.hub.store().get(&lease.id).await?;
        Ok(task.is_some_and(|task| is_held_by(&task, peer)))
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ServeInside for TaskOwner {
    async fn serve(&self, peer: &NodeName, path: &str, body: Bytes) -> Answer {
        let answer = self.answer(peer, path, body).await;
        answer.unwrap_or((StatusCode::NOT_FOUND, Bytes::new()))
    }
}

/// The file and the number in `FILE/NUMBER`.
fn piece(path: &str) -> Option<(Id, u32)> {
    let (file, number) = path.split_once('/')?;
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

fn answered<T: Serialize>(result: Result<T, StoreError>) -> Answer {
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
