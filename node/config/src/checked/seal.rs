//! What ids of upstreams are sealed with.

use std::path::PathBuf;

use super::super::secret::Secret;

/// Where the secret of sealed ids comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealSource {
    /// It is written: the first seals, and all of them open.
    Written(Vec<Secret>),
    /// The certificates of the mesh's CA, which all of its nodes have: a PEM file.
    Authority(PathBuf),
    /// A node without a mesh keeps its own in this file, and makes it when it is first needed.
    Kept(PathBuf),
}
