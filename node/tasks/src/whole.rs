//! Short files, read whole into memory: definitions of workflows, requests that are too long for a task.

use bytes::{Bytes, BytesMut};

use super::id::Id;
use super::store::{Store, StoreError};

/// The content of a file, whose writer limited its length.
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
