//! Tasks that the store ended by itself: their services still have something to do, such as to write a batch's
//! files or to deliver a workflow's end.
//!
//! Done at the node that swept, right after. Should the node die in between, it is made up for when it starts
//! again: the newest of what ended in each way is settled once more, which changes nothing where it was done.

use std::collections::VecDeque;

use tracing::warn;

use super::hub::Hub;
use super::id::Id;
use super::store::{PAGE_MAX, StoreError, TaskQuery};
use super::task::{CheckedText, TaskState};

/// Tasks that wait to be settled at most; the oldest are dropped, and settled when the node starts again.
const WAITING_MAX: usize = 10_000;

/// Tasks settled after one sweep, so that none waits for long.
const AT_ONCE: usize = 400;

/// What is to be settled.
pub(super) struct Settling {
    hub: Hub,
    waiting: VecDeque<Id>,
    /// Whether leftovers of an earlier incarnation of this node were looked for.
    caught_up: bool,
}

impl Settling {
    pub(super) fn new(hub: Hub) -> Self {
        Self {
            hub,
            waiting: VecDeque::new(),
            caught_up: false,
        }
    }

    /// Settles what has `ended`, and leftovers of earlier times. What cannot be settled now is retried the next time.
    pub(super) async fn settle(&mut self, ended: Vec<Id>) {
        if !self.caught_up {
            match self.leftovers().await {
                Ok(left) => {
                    self.waiting.extend(left);
                    self.caught_up = true;
                }
                Err(error) => {
                    warn!(%error, "tasks that ended without a worker cannot be looked for")
                }
            }
        }
        self.waiting.extend(ended);
        let extra = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..extra);
        for _ in 0..self.waiting.len().min(AT_ONCE) {
            let Some(id) = self.waiting.pop_front() else {
                return;
            };
            if let Err(error) = self.settle_one(&id).await {
                warn!(task.id = %id, %error, "a task that ended without a worker is not settled yet");
                self.waiting.push_back(id);
            }
        }
    }

    async fn settle_one(&self, id: &Id) -> Result<(), StoreError> {
        let store = self.hub.store().as_ref();
        let task = store.get(id).await?;
        // One that was requeued meanwhile ends again.
        let Some(task) = task.filter(|task| task.state.is_final()) else {
            return Ok(());
        };
        match self.hub.services().get(&task.new.service.0) {
            Some(service) => service.settle(&task, store).await,
            None => Ok(()),
        }
    }

    /// The newest tasks of each service that may have ended without a worker.
    async fn leftovers(&self) -> Result<Vec<Id>, StoreError> {
        let mut left = Vec::new();
        for (key, _) in self.hub.services().iter() {
            for state in [TaskState::Dead, TaskState::Cancelled, TaskState::Expired] {
                let query = TaskQuery {
                    service: Some(CheckedText(key.clone())),
                    state: Some(state),
                    max: PAGE_MAX,
                    ..TaskQuery::default()
                };
                let ended = self.hub.store().list(&query).await?;
                left.extend(ended.into_iter().map(|task| task.new.id));
            }
        }
        Ok(left)
    }
}
