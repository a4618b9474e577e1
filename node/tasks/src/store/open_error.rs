//! Why a store cannot be opened.

use std::path::PathBuf;

/// Why there is no task store: what is configured can never work as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No engine has this name.
    #[error(
        "tasks.queue: {scheme:?} names no engine; write sqlite:PATH, postgres://USER@HOST/DATABASE or \
         nats://HOST:PORT"
    )]
    Scheme {
        /// What came before the first colon; never more, since a URL may hold a password.
        scheme: String,
    },
    /// The file cannot be made or opened.
    #[error(
        "tasks.queue: cannot open {}: {problem}; name a file in a folder that is there and that the node \
         may write to", path.display()
    )]
    Path {
        /// The file.
        path: PathBuf,
        /// The system's message.
        problem: String,
    },
    /// The file is there and cannot be used.
    #[error("tasks.queue: {detail}")]
    Damaged {
        /// Which file, what is wrong, and what to do.
        detail: String,
    },
    /// The URL cannot be read.
    #[error("tasks.queue: the URL cannot be used: {problem}")]
    Url {
        /// Why not. Never a secret.
        problem: String,
    },
}
