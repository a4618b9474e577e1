//! Accepting tasks: a payload that lies apart first, then the idempotency key, then the record, which is
//! what makes the task be there. A node that dies on the way leaves nothing that counts, and nothing that
//! the next try could not finish.

use super::super::{Added, StoreError, limits};
use super::follow::Shared;
use super::link::{Expect, Put};
use super::record::{TaskRecord, read, write};
use super::subjects::Subjects;
use crate::id::Id;
use crate::task::NewTask;

/// Tries to find the task of an idempotency key, while tasks with it come and go.
const KEY_TRIES: usize = 4;

impl Shared {
    pub(super) async fn add(&self, task: &NewTask) -> Result<Added, StoreError> {
        let payload = limits::new_task(task)?;
        let subjects = self.ready().await?;
        if self.view().is_full() {
            return Err(self
                .link
                .away(&"the stream holds as many tasks as nodes can follow"));
        }
        let record = TaskRecord::new(task, payload.len(), self.now());
        if record.is_payload_apart {
            let part = subjects.payload(&task.id);
            // A part that is there is of this id, hence of an earlier try to add this very task.
            self.link.put(part, payload.into(), Expect::Own(0)).await?;
        }
        if task.idempotency_key.is_none() {
            return match self.accept(&subjects, &record).await? {
                true => Ok(Added::New),
                false => self
                    .same_or_conflict(&subjects, task, &task.id)
                    .await?
                    .ok_or_else(|| {
                        self.link
                            .away(&"a task of this id was removed a moment ago")
                    }),
            };
        }
        for _ in 0..KEY_TRIES {
            if let Some(added) = self.add_keyed(&subjects, task, &record).await? {
                return Ok(added);
            }
        }
        Err(self.link.away(&"the idempotency key comes and goes"))
    }

    /// Adds a task that has an idempotency key. The key is taken first, with the whole record: a node that
    /// dies in between leaves what the next one needs to finish it.
    async fn add_keyed(
        &self,
        subjects: &Subjects,
        task: &NewTask,
        record: &TaskRecord,
    ) -> Result<Option<Added>, StoreError> {
        let key = task.idempotency_key.as_deref().unwrap_or_default();
        let subject = subjects.key(&task.service.0, key);
        let put = self
            .link
            .put(subject.clone(), write(record)?, Expect::Own(0));
        if let Put::Done(_) = put.await? {
            self.accept(subjects, record).await?;
            return Ok(Some(Added::New));
        }
        let Some(found) = self.link.get(&subject).await? else {
            return Ok(None);
        };
        let first: TaskRecord = read("an idempotency key's record", &found.payload)?;
        self.accept(subjects, &first).await?;
        let id = first.id().clone();
        let added = self.same_or_conflict(subjects, task, &id).await?;
        if added.is_none() {
            // Its task was removed between the two looks, and the key is to follow.
            self.link.delete(found.sequence).await?;
        } else if id != task.id && record.is_payload_apart {
            self.link.purge(&subjects.parts(&task.id)).await?;
        }
        Ok(added)
    }

    /// Makes a record where there is none; whether there was none.
    async fn accept(&self, subjects: &Subjects, record: &TaskRecord) -> Result<bool, StoreError> {
        let subject = subjects.task(record.id());
        match self
            .link
            .put(subject, write(record)?, Expect::Own(0))
            .await?
        {
            Put::Done(sequence) => {
                self.wait_for(sequence).await;
                Ok(true)
            }
            Put::Conflict => Ok(false),
        }
    }

    async fn same_or_conflict(
        &self,
        subjects: &Subjects,
        task: &NewTask,
        id: &Id,
    ) -> Result<Option<Added>, StoreError> {
        let Some(twin) = self.get_in(subjects, id).await? else {
            return Ok(None);
        };
        match twin.new.payload == task.payload {
            true => Ok(Some(Added::Same(id.clone()))),
            false => Err(StoreError::Conflict { id: id.clone() }),
        }
    }
}
