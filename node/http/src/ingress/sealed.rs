//! Ids that an upstream made: sealed with their owner where they leave the mesh, and restored where they come back.
//!
//! Core decides what a seal is and which upstream it names ([`grapevine_core::seal`]). Here is the rest: the keys
//! (`keys`), the values in JSON and streams that hold ids (`scanner`), the seals of a request (`found`), their restoring
//! (`restored`), where several upstreams made what one names (`mixed`), and their sealing in answers (`sealer`). The node
//! that a client asks does both, so what crosses the mesh is what the upstream sends and takes.
//!
//! Only paths about what upstreams keep are looked at, and chats that name a file. A value is an id where its key is one of a
//! short list and it begins as ids do: what a model says is never changed, and every other byte passes as it came.

mod found;
mod keys;
mod mixed;
#[doc(hidden)]
pub(super) mod probes;
mod restored;
mod scanner;
mod sealer;

pub(super) use found::RestoreError;
pub use keys::SealKeys;
pub(super) use restored::{Restored, is_sealed, restore};
pub(super) use sealer::Sealer;

/// Paths about what upstreams keep, each with everything below it.
const PATHS: [&str; 6] = [
    "/v1/responses",
    "/v1/conversations",
    "/v1/containers",
    "/v1/files",
    "/v1/batches",
    "/v1/realtime",
];

/// Whether requests and answers of `path` hold ids.
pub(super) fn holds_ids(path: &str) -> bool {
    let is_at = |prefix: &&'static str| {
        path.strip_prefix(*prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    PATHS.iter().any(is_at)
}

/// Whether the answer is content that the client or a tool made, whatever it looks like.
fn is_content(path: &str) -> bool {
    path.ends_with("/content")
}

#[cfg(test)]
mod tests;
