//! What is done to tasks. The record is the truth: each change replaces it only where nobody else has
//! since it was read, so of two reports on one attempt one is accepted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::super::{
    End, LEASES_MAX, Lease, LeaseAsk, LeaseHold, PAGE_MAX, StoreError, TaskQuery, limits,
    transition,
};
use super::follow::Shared;
use super::link::{Expect, Put};
use super::record::RecordEntry;
use super::record::{INLINE_BYTES_MAX, TaskRecord, is_removed, read, write};
use super::subjects::Subjects;
use crate::id::Id;
use crate::task::{Task, TaskProgress, TaskState, Timestamp};

/// The shortest and the longest span of a lease.
const LEASE_SPANS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3_600)];

/// Tries to change a record that others change as well.
const CHANGE_TRIES: usize = 32;

/// Looks for tasks that no other node takes first.
const LEASE_TRIES: usize = 16;

/// What to do with a record.
pub(super) enum RecordVerdict<T> {
    /// It is replaced by its changed form.
    Write(T),
    /// It stays.
    Leave(T),
}

impl Shared {
    pub(super) async fn get_task(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        let subjects = self.ready().await?;
        self.get_in(&subjects, id).await
    }

    pub(super) async fn get_in(
        &self,
        subjects: &Subjects,
        id: &Id,
    ) -> Result<Option<Task>, StoreError> {
        match self.entry(subjects, id).await? {
            Some(entry) => self.whole(subjects, &entry.record).await.map(Some),
            None => Ok(None),
        }
    }

    /// A task's record as the server has it.
    pub(super) async fn entry(
        &self,
        subjects: &Subjects,
        id: &Id,
    ) -> Result<Option<RecordEntry>, StoreError> {
        let found = self.link.get(&subjects.task(id)).await?;
        let Some(found) = found.filter(|found| !is_removed(&found.payload)) else {
            return Ok(None);
        };
        Ok(Some(RecordEntry {
            sequence: found.sequence,
            record: read(&format!("task {id}"), &found.payload)?,
        }))
    }

    /// A task with what lies apart.
    pub(super) async fn whole(
        &self,
        subjects: &Subjects,
        record: &TaskRecord,
    ) -> Result<Task, StoreError> {
        let mut task = record.task.clone();
        if record.is_payload_apart {
            task.new.payload = self
                .part(record.id(), &subjects.payload(record.id()))
                .await?;
        }
        if let Some(attempt) = record.output_apart {
            let subject = subjects.output(record.id(), attempt);
            task.output = Some(self.part(record.id(), &subject).await?);
        }
        Ok(task)
    }

    async fn part(&self, id: &Id, subject: &str) -> Result<Value, StoreError> {
        match self.link.get(subject).await? {
            Some(found) => read(&format!("a part of task {id}"), &found.payload),
            None => Err(StoreError::Damaged {
                detail: format!("{subject}, a part of task {id}, is not there"),
            }),
        }
    }

    pub(super) async fn list_tasks(&self, query: &TaskQuery) -> Result<Vec<Task>, StoreError> {
        let subjects = self.ready().await?;
        let entries = self.view().list(query, query.max.min(PAGE_MAX));
        let whole = entries
            .iter()
            .map(|entry| self.whole(&subjects, &entry.record));
        join_all(whole).await.into_iter().collect()
    }

    pub(super) async fn lease_tasks(
        &self,
        ask: &LeaseAsk,
    ) -> Result<Vec<(Lease, Task)>, StoreError> {
        limits::ask(ask)?;
        let subjects = self.ready().await?;
        for _ in 0..LEASE_TRIES {
            let now = self.now();
            let taken = Taken {
                entries: self.view().take(ask, ask.max.min(LEASES_MAX), now),
                shared: self,
            };
            if taken.entries.is_empty() {
                return Ok(Vec::new());
            }
            let leases = taken.entries.iter();
            let leases = join_all(leases.map(|entry| self.lease_one(&subjects, entry, ask, now)));
            let (mut given, mut trouble, mut last) = (Vec::new(), None, 0);
            for lease in leases.await {
                match lease {
                    Ok(Some((sequence, lease, task))) => {
                        last = last.max(sequence);
                        given.push((lease, task));
                    }
                    Ok(None) => {}
                    Err(error) => trouble = Some(error),
                }
            }
            // Before they are released, or this node would try to lease them again.
            match given.is_empty() {
                true => self.wait_for_change().await,
                false => self.wait_for(last).await,
            }
            match trouble {
                Some(error) if given.is_empty() => return Err(error),
                _ if !given.is_empty() => return Ok(given),
                _ => {}
            }
        }
        Ok(Vec::new())
    }

    async fn lease_one(
        &self,
        subjects: &Subjects,
        entry: &RecordEntry,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<Option<(u64, Lease, Task)>, StoreError> {
        let [shortest, longest] = LEASE_SPANS;
        let mut record = entry.record.clone();
        record.attempt = record.attempt.saturating_add(1);
        let span = ask.span.clamp(shortest, longest);
        transition::begin(&mut record.task, &ask.worker, now, span);
        // First, since a task that cannot be read must not be leased.
        let task = self.whole(subjects, &record).await?;
        let subject = subjects.task(record.id());
        let expect = Expect::Own(entry.sequence);
        match self.link.put(subject, write(&record)?, expect).await? {
            Put::Conflict => Ok(None),
            Put::Done(sequence) => {
                let lease = Lease {
                    id: record.id().clone(),
                    service: task.new.service.clone(),
                    attempt: record.attempt,
                    token: String::new(),
                };
                Ok(Some((sequence, lease, task)))
            }
        }
    }

    /// Changes a task's record by `decide`, which may be called more than once. Returns its last value with
    /// the record as it is then, `None` when there is no such task.
    pub(super) async fn change<T: Send>(
        &self,
        subjects: &Subjects,
        id: &Id,
        mut decide: impl FnMut(&mut TaskRecord, Timestamp) -> RecordVerdict<T> + Send,
    ) -> Result<Option<(T, TaskRecord)>, StoreError> {
        let mut entry: Option<Arc<RecordEntry>> = self.view().task(id);
        let mut is_certain = false;
        for _ in 0..CHANGE_TRIES {
            let known = match entry.take() {
                Some(known) => known,
                None => {
                    is_certain = true;
                    match self.entry(subjects, id).await? {
                        Some(known) => Arc::new(known),
                        None => return Ok(None),
                    }
                }
            };
            let mut record = known.record.clone();
            match decide(&mut record, self.now()) {
                RecordVerdict::Leave(value) if is_certain => return Ok(Some((value, record))),
                // The view may be stale: only the server's own record may be left as it is.
                RecordVerdict::Leave(_) => {}
                RecordVerdict::Write(value) => {
                    let subject = subjects.task(id);
                    let expect = Expect::Own(known.sequence);
                    let put = self.link.put(subject, write(&record)?, expect).await?;
                    if let Put::Done(sequence) = put {
                        self.wait_for(sequence).await;
                        return Ok(Some((value, record)));
                    }
                }
            }
        }
        Err(self.link.away(&"a task is changed by others all the time"))
    }

    pub(super) async fn renew_lease(
        &self,
        lease: &Lease,
        span: Duration,
        progress: Option<TaskProgress>,
    ) -> Result<LeaseHold, StoreError> {
        let subjects = self.ready().await?;
        let [shortest, longest] = LEASE_SPANS;
        let span = span.clamp(shortest, longest);
        let changed = self.change(&subjects, &lease.id, |record, now| {
            let held = held(record, lease);
            if held == LeaseHold::Lost {
                return RecordVerdict::Leave(held);
            }
            record.task.lease_until = Some(now.after(span));
            record.task.progress = progress.or(record.task.progress);
            RecordVerdict::Write(held)
        });
        Ok(changed.await?.map_or(LeaseHold::Lost, |(held, _)| held))
    }

    pub(super) async fn finish_task(
        &self,
        lease: &Lease,
        end: End,
    ) -> Result<LeaseHold, StoreError> {
        limits::end(&end)?;
        let subjects = self.ready().await?;
        let mut apart = None;
        let mut end = end;
        if let End::Completed(output) = &mut end {
            let text = output.to_string();
            if text.len() > INLINE_BYTES_MAX {
                let subject = subjects.output(&lease.id, lease.attempt);
                if self
                    .put_held(&subjects, lease, subject, text.into())
                    .await?
                    == LeaseHold::Lost
                {
                    return Ok(LeaseHold::Lost);
                }
                *output = Value::Null;
                apart = Some(lease.attempt);
            }
        }
        let changed = self.change(&subjects, &lease.id, |record, now| {
            let held = held(record, lease);
            if held == LeaseHold::Lost {
                return RecordVerdict::Leave(held);
            }
            transition::end(&mut record.task, lease.attempt, end.clone(), now);
            record.output_apart = apart;
            RecordVerdict::Write(held)
        });
        Ok(changed.await?.map_or(LeaseHold::Lost, |(held, _)| held))
    }

    pub(super) async fn cancel_task(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        let subjects = self.ready().await?;
        let changed = self.change(&subjects, id, |record, now| {
            let before = (record.task.state, record.task.cancel_requested);
            transition::cancel(&mut record.task, now);
            match before == (record.task.state, record.task.cancel_requested) {
                true => RecordVerdict::Leave(()),
                false => RecordVerdict::Write(()),
            }
        });
        match changed.await? {
            Some(((), record)) => self.whole(&subjects, &record).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn requeue_task(&self, id: &Id) -> Result<Option<Task>, StoreError> {
        let subjects = self.ready().await?;
        let changed = self.change(&subjects, id, |record, now| {
            if !transition::requeue(&mut record.task, now) {
                return RecordVerdict::Leave(());
            }
            record.output_apart = None;
            let span = record.task.new.expires_after;
            record.expires_at = span.map(|span| now.after(span));
            RecordVerdict::Write(())
        });
        match changed.await? {
            Some(((), record)) => self.whole(&subjects, &record).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Whether `lease` holds on the task now.
pub(super) fn held(record: &TaskRecord, lease: &Lease) -> LeaseHold {
    let task = &record.task;
    if task.state != TaskState::Running || record.attempt != lease.attempt {
        return LeaseHold::Lost;
    }
    match task.cancel_requested {
        true => LeaseHold::CancelRequested,
        false => LeaseHold::Kept,
    }
}

/// Tasks that are being leased, let go when that is over, however it ends.
struct Taken<'s> {
    entries: Vec<Arc<RecordEntry>>,
    shared: &'s Shared,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut view = self.shared.view();
        self.entries.iter().for_each(|entry| view.release(entry));
    }
}
