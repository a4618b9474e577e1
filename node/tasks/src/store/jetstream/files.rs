//! Files: a message for each piece, and a record that makes them visible. The server takes a piece only
//! while there is no record.

use bytes::Bytes;

use super::super::{FileRecord, PAGE_MAX, PIECE_BYTES, StoreError, limits};
use super::follow::Shared;
use super::link::{Expect, Put};
use super::record::{Removed, is_removed, read, write};
use super::subjects::{Subjects, number};
use crate::id::Id;

impl Shared {
    pub(super) async fn put_file_piece(
        &self,
        id: &Id,
        number: u32,
        piece: Bytes,
    ) -> Result<(), StoreError> {
        limits::piece(number, piece.len())?;
        let subjects = self.ready().await?;
        let record = subjects.file(id);
        let expect = Expect::Of(&record, 0);
        let put = self.link.put(subjects.piece(id, number), piece, expect);
        match put.await? {
            Put::Done(_) => Ok(()),
            Put::Conflict => self.is_complete(&subjects, id).await,
        }
    }

    pub(super) async fn complete(&self, file: &FileRecord) -> Result<(), StoreError> {
        limits::file(file)?;
        let subjects = self.ready().await?;
        let subject = subjects.file(&file.id);
        if self.link.get(&subject).await?.is_some() {
            return self.is_complete(&subjects, &file.id).await;
        }
        if self.view().is_full() {
            return Err(self
                .link
                .away(&"the stream holds as many files as nodes can follow"));
        }
        let pieces = self.link.lengths(&subjects.pieces(&file.id)).await?;
        check_pieces(file, &pieces)?;
        match self.link.put(subject, write(file)?, Expect::Own(0)).await? {
            Put::Done(sequence) => {
                self.wait_for(sequence).await;
                Ok(())
            }
            Put::Conflict => self.is_complete(&subjects, &file.id).await,
        }
    }

    /// There is a record of the file: checks that it is not a removal.
    async fn is_complete(&self, subjects: &Subjects, id: &Id) -> Result<(), StoreError> {
        let found = self.link.get(&subjects.file(id)).await?;
        match found.is_some_and(|found| !is_removed(&found.payload)) {
            true => Ok(()),
            false => Err(StoreError::Damaged {
                detail: format!("file {id} was removed while it was written"),
            }),
        }
    }

    pub(super) async fn get_file(&self, id: &Id) -> Result<Option<FileRecord>, StoreError> {
        let subjects = self.ready().await?;
        let found = self.link.get(&subjects.file(id)).await?;
        match found.filter(|found| !is_removed(&found.payload)) {
            Some(found) => read(&format!("the record of file {id}"), &found.payload).map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn get_piece(
        &self,
        id: &Id,
        number: u32,
    ) -> Result<Option<Bytes>, StoreError> {
        let subjects = self.ready().await?;
        if self.get_file(id).await?.is_none() {
            return Ok(None);
        }
        let found = self.link.get(&subjects.piece(id, number)).await?;
        Ok(found.map(|found| found.payload))
    }

    pub(super) async fn list_files(
        &self,
        key: Option<&str>,
        before: Option<&Id>,
        max: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        self.ready().await?;
        Ok(self.view().files(key, before, max.min(PAGE_MAX)))
    }

    /// Removes the pieces of a file that has no record. The record of its removal comes first: from then on the
    /// server takes no piece of it.
    pub(super) async fn discard(&self, id: &Id) -> Result<(), StoreError> {
        let subjects = self.ready().await?;
        let removed = write(&Removed {
            removed: id.clone(),
        })?;
        if let Put::Conflict = self.link.put_removal(subjects.file(id), removed, 0).await? {
            // It was completed after all, or is removed already.
            let found = self.link.get(&subjects.file(id)).await?;
            if !found.is_some_and(|found| is_removed(&found.payload)) {
                return Ok(());
            }
        }
        self.link.purge(&subjects.parts(id)).await
    }

    /// Removes a file; whether there was one.
    pub(super) async fn remove_file(&self, id: &Id) -> Result<bool, StoreError> {
        let subjects = self.ready().await?;
        let subject = subjects.file(id);
        let found = self.link.get(&subject).await?;
        let Some(found) = found.filter(|found| !is_removed(&found.payload)) else {
            return Ok(false);
        };
        let removed = write(&Removed {
            removed: id.clone(),
        })?;
        match self
            .link
            .put_removal(subject, removed, found.sequence)
            .await?
        {
            Put::Conflict => Ok(false),
            Put::Done(sequence) => {
                self.wait_for(sequence).await;
                self.link.purge(&subjects.parts(id)).await?;
                Ok(true)
            }
        }
    }
}

/// Whether the pieces are those of a file as long as its record says: none missing, none short, none too
/// many.
fn check_pieces(file: &FileRecord, pieces: &[(String, u64)]) -> Result<(), StoreError> {
    let wanted = limits::pieces(file.bytes);
    let bytes: u64 = pieces.iter().map(|(_, bytes)| bytes).sum();
    let is_right = |(subject, bytes): &(String, u64)| match number(subject) {
        Some(number) if number + 1 < wanted => *bytes == PIECE_BYTES as u64,
        Some(number) => number + 1 == wanted,
        None => false,
    };
    let is_whole =
        pieces.len() as u64 == wanted && bytes == file.bytes && pieces.iter().all(is_right);
    match is_whole {
        true => Ok(()),
        false => Err(StoreError::Damaged {
            detail: format!(
                "file {} was to have {} bytes in {wanted} pieces and has {bytes} in {}",
                file.id,
                file.bytes,
                pieces.len()
            ),
        }),
    }
}
