//! Notes: a message each. The server takes one only while the task's record is the one in which the
//! attempt runs, so the fence holds at the very moment of writing.

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::super::{Lease, LeaseHold, NOTES_PAGE, Note, StoreError, limits};
use super::follow::Shared;
use super::link::{Expect, Put};
use super::record::{read, write};
use super::subjects::{NOTES_TOGETHER, Subjects, number};
use super::tasks::held;
use crate::id::Id;

/// The longest message's content in bytes, well below the 1 MiB that servers take by default.
const CHUNK_BYTES: usize = 512 * 1_024;

/// Bytes of notes read at once at most, unless the first alone has more.
const NOTES_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Notes read or written side by side at most.
const ABREAST: usize = 32;

/// Tries to write while the record is renewed by others.
const FENCE_TRIES: usize = 32;

/// What a note's message begins with when its content follows.
const HERE: u8 = 0;

/// What it begins with when its content lies in chunks.
const APART: u8 = 1;

/// Where a long note's content is.
#[derive(Serialize, Deserialize)]
struct Chunks {
    attempt: u32,
    chunks: usize,
}

impl Shared {
    /// Publishes a message while `lease` holds, or not at all.
    pub(super) async fn put_held(
        &self,
        subjects: &Subjects,
        lease: &Lease,
        subject: String,
        payload: Bytes,
    ) -> Result<LeaseHold, StoreError> {
        let task = subjects.task(&lease.id);
        let mut known = self.view().task(&lease.id);
        for _ in 0..FENCE_TRIES {
            let is_from_view = known.is_some();
            let entry = match known.take() {
                Some(entry) => entry,
                None => match self.entry(subjects, &lease.id).await? {
                    Some(entry) => entry.into(),
                    None => return Ok(LeaseHold::Lost),
                },
            };
            let held = held(&entry.record, lease);
            match held {
                LeaseHold::Lost if is_from_view => continue,
                LeaseHold::Lost => return Ok(LeaseHold::Lost),
                LeaseHold::Kept | LeaseHold::CancelRequested => {}
            }
            let expect = Expect::Of(&task, entry.sequence);
            let put = self.link.put(subject.clone(), payload.clone(), expect);
            if let Put::Done(_) = put.await? {
                return Ok(held);
            }
        }
        Err(self.link.away(&"a task is changed by others all the time"))
    }

    pub(super) async fn save_notes(
        &self,
        lease: &Lease,
        notes: &[Note],
    ) -> Result<LeaseHold, StoreError> {
        limits::notes(notes)?;
        let subjects = self.ready().await?;
        let now = self.change(&subjects, &lease.id, |record, _| {
            super::tasks::RecordVerdict::Leave(held(record, lease))
        });
        let mut hold = now.await?.map_or(LeaseHold::Lost, |(held, _)| held);
        for some in notes.chunks(ABREAST) {
            if hold == LeaseHold::Lost {
                break;
            }
            let saved = some
                .iter()
                .map(|note| self.save_note(&subjects, lease, note));
            for held in join_all(saved).await {
                if let Some(held) = held? {
                    hold = held;
                }
            }
        }
        Ok(hold)
    }

    /// Saves a note; `None` when it is there already.
    async fn save_note(
        &self,
        subjects: &Subjects,
        lease: &Lease,
        note: &Note,
    ) -> Result<Option<LeaseHold>, StoreError> {
        let subject = subjects.note(&lease.id, note.number);
        if self.link.get(&subject).await?.is_some() {
            return Ok(None);
        }
        if note.content.len() <= CHUNK_BYTES {
            let content = [&[HERE], &note.content[..]].concat();
            let held = self.put_held(subjects, lease, subject, content.into());
            return held.await.map(Some);
        }
        let chunks = note.content.len().div_ceil(CHUNK_BYTES);
        for chunk in 0..chunks {
            let from = chunk * CHUNK_BYTES;
            let to = note.content.len().min(from + CHUNK_BYTES);
            let chunk_subject = subjects.chunk(&lease.id, note.number, lease.attempt, chunk);
            let held = self.put_held(subjects, lease, chunk_subject, note.content.slice(from..to));
            if held.await? == LeaseHold::Lost {
                return Ok(Some(LeaseHold::Lost));
            }
        }
        let index = write(&Chunks {
            attempt: lease.attempt,
            chunks,
        })?;
        let content = [&[APART], &index[..]].concat();
        let held = self.put_held(subjects, lease, subject, content.into());
        held.await.map(Some)
    }

    pub(super) async fn read_notes(&self, id: &Id, from: u64) -> Result<Vec<Note>, StoreError> {
        let subjects = self.ready().await?;
        let numbers = self.note_numbers(&subjects, id, from).await?;
        let reads = numbers
            .into_iter()
            .map(|number| self.read_note(&subjects, id, number));
        let mut found = stream::iter(reads).buffered(ABREAST);
        let (mut notes, mut bytes) = (Vec::new(), 0);
        while let Some(note) = found.try_next().await? {
            let Some(note) = note else { continue };
            bytes += note.content.len();
            if bytes > NOTES_BYTES_MAX && !notes.is_empty() {
                break;
            }
            notes.push(note);
        }
        Ok(notes)
    }

    /// The numbers of the notes from `from` on, in order: a page at most. Those near `from` are looked for
    /// first, since the notes of a long batch fill a page.
    async fn note_numbers(
        &self,
        subjects: &Subjects,
        id: &Id,
        from: u64,
    ) -> Result<Vec<u64>, StoreError> {
        let near = self.link.subjects(&subjects.notes_near(id, from)).await?;
        let mut numbers = sorted(&near, from);
        let is_full = from.is_multiple_of(NOTES_TOGETHER) && numbers.len() >= NOTES_PAGE;
        if !is_full {
            let all = self.link.subjects(&subjects.notes(id)).await?;
            numbers = sorted(&all, from);
        }
        numbers.truncate(NOTES_PAGE);
        Ok(numbers)
    }

    /// A note; `None` when it was removed after it was listed.
    async fn read_note(
        &self,
        subjects: &Subjects,
        id: &Id,
        number: u64,
    ) -> Result<Option<Note>, StoreError> {
        let Some(found) = self.link.get(&subjects.note(id, number)).await? else {
            return Ok(None);
        };
        let content = match found.payload.first() {
            Some(&HERE) => found.payload.slice(1..),
            Some(&APART) => {
                let index: Chunks = read("a note's chunks", &found.payload[1..])?;
                self.read_chunks(subjects, id, number, &index).await?
            }
            _ => return Err(missing(id, number)),
        };
        Ok(Some(Note { number, content }))
    }

    async fn read_chunks(
        &self,
        subjects: &Subjects,
        id: &Id,
        number: u64,
        index: &Chunks,
    ) -> Result<Bytes, StoreError> {
        let mut content = Vec::new();
        for chunk in 0..index.chunks {
            let subject = subjects.chunk(id, number, index.attempt, chunk);
            let found = self.link.get(&subject).await?;
            let found = found.ok_or_else(|| missing(id, number))?;
            content.extend_from_slice(&found.payload);
        }
        Ok(content.into())
    }
}

fn sorted(subjects: &[String], from: u64) -> Vec<u64> {
    let numbers = subjects.iter().filter_map(|subject| number(subject));
    let mut numbers: Vec<_> = numbers.filter(|number| *number >= from).collect();
    numbers.sort_unstable();
    numbers
}

fn missing(id: &Id, number: u64) -> StoreError {
    StoreError::Damaged {
        detail: format!("note {number} of task {id} cannot be read"),
    }
}
