//! Takes back, expires and removes: a bounded batch of each per sweep. Many nodes may sweep at once: of
//! two that change one record, one is refused and looks again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::super::transition::{self, AfterLoss};
use super::super::{StoreError, Swept};
use super::follow::Shared;
use super::link::Put;
use super::record::RecordEntry;
use super::record::{Removed, TaskRecord, read, write};
use super::subjects::Subjects;
use super::tasks::RecordVerdict;
use crate::id::Id;
use crate::task::{TaskState, Timestamp};

/// Tasks and files that one sweep changes at most, of each kind.
const BATCH: usize = 200;

/// Changes in flight at once at most.
const ABREAST: usize = 32;

/// How long a file may be written before its pieces are taken for left over, and so with other parts that
/// nothing belongs to.
const UNFINISHED: Duration = Duration::from_secs(24 * 3_600);

/// How often left-over parts are looked for, which lists all parts.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

impl Shared {
    pub(super) async fn sweep_all(&self, retention: Duration) -> Result<Swept, StoreError> {
        let subjects = self.ready().await?;
        let sequence = self.tick(&subjects).await?;
        self.wait_for(sequence).await;
        let now = self.now();
        let mut swept = Swept::default();
        // Their time first: a task whose lease ran out as well is not to run again.
        let late = self.view().late(now, BATCH);
        self.expire(&subjects, &late, &mut swept).await?;
        let lost = self.view().lost(now, BATCH);
        self.take_back(&subjects, &lost, &mut swept).await?;
        let then = before(now, retention);
        let ended = self.view().ended(then, BATCH);
        for some in ended.chunks(ABREAST) {
            let removed = some.iter().map(|entry| self.remove_task(&subjects, entry));
            for removed in join_all(removed).await {
                swept.removed += u64::from(removed?);
            }
        }
        let old = self.view().old_files(now, then, BATCH);
        for some in old.chunks(ABREAST) {
            let removed = some.iter().map(|entry| self.remove_file(&entry.file.id));
            for removed in join_all(removed).await {
                swept.removed += u64::from(removed?);
            }
        }
        if self.is_time_to_tidy(now, TIDY_EVERY) {
            self.tidy(&subjects, before(now, UNFINISHED)).await?;
        }
        Ok(swept)
    }

    async fn expire(
        &self,
        subjects: &Subjects,
        late: &[Arc<RecordEntry>],
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        for some in late.chunks(ABREAST) {
            let changes = some.iter().map(|entry| {
                self.change(subjects, entry.record.id(), |record, now| {
                    let is_late = record.expires_at.is_some_and(|over| over <= now);
                    if record.task.state.is_final() || !is_late {
                        return RecordVerdict::Leave(false);
                    }
                    transition::expire(&mut record.task, record.attempt, now);
                    RecordVerdict::Write(true)
                })
            });
            for changed in join_all(changes).await {
                if let Some((true, record)) = changed? {
                    swept.expired += 1;
                    swept.ended.push(record.task.new.id);
                }
            }
        }
        Ok(())
    }

    async fn take_back(
        &self,
        subjects: &Subjects,
        lost: &[Arc<RecordEntry>],
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        for some in lost.chunks(ABREAST) {
            let changes = some.iter().map(|entry| {
                self.change(subjects, entry.record.id(), |record, now| {
                    let is_over = record.task.lease_until.is_some_and(|until| until <= now);
                    if record.task.state != TaskState::Running || !is_over {
                        return RecordVerdict::Leave(None);
                    }
                    let after = transition::lose(&mut record.task, record.attempt, now);
                    RecordVerdict::Write(Some(after))
                })
            });
            for changed in join_all(changes).await {
                let Some((Some(after), record)) = changed? else {
                    continue;
                };
                match after {
                    AfterLoss::Waits | AfterLoss::Cancelled => swept.lost += 1,
                    AfterLoss::Dead => swept.dead += 1,
                }
                if record.task.state.is_final() {
                    swept.ended.push(record.task.new.id);
                }
            }
        }
        Ok(())
    }

    /// Removes an ended task: its key first, so that none is left that names nothing, then its record,
    /// then what belongs to it. Whether it was there as it was seen.
    async fn remove_task(
        &self,
        subjects: &Subjects,
        entry: &RecordEntry,
    ) -> Result<bool, StoreError> {
        let new = &entry.record.task.new;
        if let Some(key) = &new.idempotency_key {
            let found = self.link.get(&subjects.key(&new.service.0, key)).await?;
            if let Some(found) = found {
                let first: TaskRecord = read("an idempotency key's record", &found.payload)?;
                if first.id() == &new.id {
                    self.link.delete(found.sequence).await?;
                }
            }
        }
        let removed = write(&Removed {
            removed: new.id.clone(),
        })?;
        let subject = subjects.task(&new.id);
        match self
            .link
            .put_removal(subject, removed, entry.sequence)
            .await?
        {
            Put::Conflict => Ok(false),
            Put::Done(sequence) => {
                self.wait_for(sequence).await;
                self.link.purge(&subjects.parts(&new.id)).await?;
                Ok(true)
            }
        }
    }

    /// Removes parts that nothing belongs to: of files that were never completed, of tasks whose acceptance
    /// or removal was cut short.
    async fn tidy(&self, subjects: &Subjects, then: Timestamp) -> Result<(), StoreError> {
        let parts = self.link.subjects(&subjects.all_parts()).await?;
        let owners: BTreeSet<Id> = parts
            .iter()
            .filter_map(|part| subjects.owner(part))
            .collect();
        let is_left = |id: &&Id| made_at(id) <= then && !self.view().knows(id);
        let left: Vec<_> = owners.iter().filter(is_left).take(BATCH).collect();
        for id in left {
            // The view may be wrong: what has a record stays.
            let records = [subjects.task(id), subjects.file(id)];
            let mut is_known = false;
            for record in &records {
                is_known |= self.link.get(record).await?.is_some();
            }
            if !is_known {
                self.link.purge(&subjects.parts(id)).await?;
            }
        }
        Ok(())
    }
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_sub(span))
}

/// When an id was made, from its first ten digits (48 bits of milliseconds, five to a digit).
fn made_at(id: &Id) -> Timestamp {
    const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let time = id.as_str()[id.kind().prefix().len()..].chars().take(10);
    let digits = time.map(|digit| DIGITS.find(digit).unwrap_or_default() as u64);
    Timestamp(digits.fold(0, |time, digit| time << 5 | digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_contain_when_they_were_made() {
        let id: Id = "task_01ARYZ6S41ZZZZZZZZZZZZZZZZ"
            .parse()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(made_at(&id), Timestamp(1_469_918_176_385));
    }
}
