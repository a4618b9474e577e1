//! Uploads into the store: counted to their client's quota while they arrive, and removed at once when they are
//! not completed, whatever ends them: a refusal, a client that hangs up, a full disk, a request that is given up.

use std::sync::Arc;

use bytes::Bytes;
use grapevine_core::quota::QuotaExceeded;
use tracing::warn;

use super::hub::Hub;
use super::id::Id;
use super::pace::ask_patiently;
use super::store::{FileRecord, PIECE_BYTES, StoreError};

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UploadError {
    /// Its client has as much as it may have.
    Over(QuotaExceeded),
    /// The store does not take it.
    Store(StoreError),
}

/// A file that is being written to the own store. Dropping it removes what came, unless it is complete.
pub(super) struct Upload {
    hub: Hub,
    id: Id,
    account: String,
    /// Files and their bytes that the account had at the beginning.
    had: (u64, u64),
    bytes: u64,
    pieces: u32,
    is_complete: bool,
}

impl Upload {
    /// A file called `id` for the holder of `account`.
    ///
    /// # Errors
    /// When it may have no more, or the store cannot be used.
    pub(super) async fn begin(hub: &Hub, id: Id, account: String) -> Result<Self, UploadError> {
        let usage = hub.store().usage(&account).await?;
        let upload = Self {
            hub: hub.clone(),
            id,
            account,
            had: (usage.files, usage.file_bytes),
            bytes: 0,
            pieces: 0,
            is_complete: false,
        };
        upload.admit(upload.had, 0)?;
        Ok(upload)
    }

    /// Keeps the next piece: all but the last have [`PIECE_BYTES`].
    ///
    /// # Errors
    /// When the client may have no more, or the store cannot be used.
    pub(super) async fn put(&mut self, piece: Bytes) -> Result<(), UploadError> {
        let more = piece.len() as u64;
        let coming = self.hub.uploads().add(&self.account, more);
        self.bytes += more;
        self.admit(self.had, coming)?;
        let number = self.pieces;
        // Before the store is asked: it may have taken the piece even where the answer does not come.
        self.pieces += 1;
        self.hub.store().put_piece(&self.id, number, piece).await?;
        Ok(())
    }

    /// Bytes so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file visible: durable when this returns.
    ///
    /// # Errors
    /// When the client has filled its quota meanwhile, or the store cannot be used.
    pub(super) async fn complete(mut self, record: FileRecord) -> Result<(), UploadError> {
        let usage = self.hub.store().usage(&self.account).await?;
        self.admit((usage.files, usage.file_bytes), self.bytes)?;
        self.hub.store().complete_file(record).await?;
        self.is_complete = true;
        Ok(())
    }

    /// A short file, whole.
    ///
    /// # Errors
    /// As for each step of it.
    pub(super) async fn whole(
        hub: &Hub,
        record: FileRecord,
        content: &Bytes,
    ) -> Result<(), UploadError> {
        let mut upload = Self::begin(hub, record.id.clone(), record.account.clone()).await?;
        for piece in content.chunks(PIECE_BYTES) {
            upload.put(content.slice_ref(piece)).await?;
        }
        upload.complete(record).await
    }

    fn admit(&self, (files, bytes): (u64, u64), more: u64) -> Result<(), UploadError> {
        let admitted = self.hub.quota().admit_file(files, bytes, more);
        admitted.map_err(|over| {
            self.hub.watcher().refused(over);
            UploadError::Over(over)
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.hub.uploads().remove(&self.account, self.bytes);
        if self.is_complete || self.pieces == 0 {
            return;
        }
        let (store, id) = (Arc::clone(self.hub.store()), self.id.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The node is ending; what is left is swept.
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = ask_patiently(|| store.discard_file(&id)).await {
                warn!(%error, file.id = %id, "a refused upload is left to be swept");
            }
        });
    }
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
