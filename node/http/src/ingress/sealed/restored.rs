//! Restores the ids of a request: what the upstream made takes the place of what the client was given.
//!
//! All of one request must be of one owner. An id without a seal is one that the client kept from before, or made up: it passes
//! as it is.

use bytes::Bytes;
use grapevine_core::seal::Owner;
use http::uri::PathAndQuery;

use super::found::{self, RestoreError, Seals};
use super::keys::SealKeys;
use super::mixed;

/// A request whose ids are those of its upstream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::ingress) struct Restored {
    /// The upstream that made them; `None` where there are none.
    pub(in crate::ingress) owner: Option<Owner>,
    /// The path; `None` where it stays.
    pub(in crate::ingress) path: Option<PathAndQuery>,
    /// The body; `None` where it stays.
    pub(in crate::ingress) body: Option<Bytes>,
    /// Whether reasoning that another upstream made was left out.
    pub(in crate::ingress) is_reasoning_lost: bool,
}

/// The request for `path` with `body` as its upstream knows it.
///
/// # Errors
/// See [`RestoreError`].
pub(in crate::ingress) fn restore(
    keys: &SealKeys,
    path: &PathAndQuery,
    body: &Bytes,
) -> Result<Restored, RestoreError> {
    match restore_all(keys, path, body) {
        Err(RestoreError::TwoOwners) => {
            let one = mixed::for_one_owner(keys, path, body).ok_or(RestoreError::TwoOwners)?;
            let restored = restore_all(keys, path, &one)?;
            Ok(Restored {
                body: Some(restored.body.unwrap_or(one)),
                is_reasoning_lost: true,
                ..restored
            })
        }
        restored => restored,
    }
}

fn restore_all(
    keys: &SealKeys,
    path: &PathAndQuery,
    body: &Bytes,
) -> Result<Restored, RestoreError> {
    let (found, path) = Seals::find(keys, path, body);
    Ok(Restored {
        owner: found.owner()?,
        path,
        body: (!found.cuts.is_empty()).then(|| found::without(body, &found.cuts)),
        is_reasoning_lost: false,
    })
}

/// Whether `id` ends as a sealed one does, whoever sealed it.
pub(in crate::ingress) fn is_sealed(id: &str) -> bool {
    found::read(id.as_bytes()).is_some()
}
