//! Short files, whole in memory: definitions of workflows, requests that are too long for a task.

use bytes::{Bytes, BytesMut};

use super::id::Id;
use super::store::{FileRecord, PIECE_BYTES, Store, StoreError};

/// The content of a file; its writer saw to it that it is short.
///
/// # Errors
/// When the store cannot be used.
pub(super) async fn read(store: &dyn Store, file: &Id) -> Result<Bytes, StoreError> {
    let mut content = BytesMut::new();
    let mut number = 0;
    while let Some(piece) = store.piece(file, number).await? {
        content.extend_from_slice(&piece);
        number += 1;
    }
    Ok(content.freeze())
}

/// Makes a file of `content`: durable and visible when this returns.
///
/// # Errors
/// When the store cannot be used, or the file is beyond its limits.
pub(super) async fn write(
    store: &dyn Store,
    record: FileRecord,
    content: &Bytes,
) -> Result<(), StoreError> {
    for (number, piece) in content.chunks(PIECE_BYTES).enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let piece = content.slice_ref(piece);
        store.put_piece(&record.id, number, piece).await?;
    }
    store.complete_file(record).await
}
