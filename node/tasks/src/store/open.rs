//! Which engine keeps the tasks: chosen by the scheme of `tasks.queue`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use grapevine_core::ids::NodeName;

use super::Store;
use super::jetstream::JetStore;
use super::sql::SqlStore;
use grapevine_config::secret::Secret;

/// Why there is no task store: what is configured can never work as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No engine is named so.
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
        /// What the system said.
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

/// Opens the store at `url`. A server that does not answer now is no error: the store says that it cannot
/// be used until it does.
///
/// # Errors
/// When what is configured can never work as it is.
pub async fn open(url: &Secret, node: &NodeName) -> Result<Arc<dyn Store>, OpenError> {
    let text = url.expose();
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    match scheme {
        "sqlite" if !rest.is_empty() => Ok(Arc::new(
            SqlStore::sqlite(Path::new(file_path(rest))).await?,
        )),
        "postgres" | "postgresql" => Ok(Arc::new(SqlStore::postgres(url)?)),
        "nats" | "tls" => Ok(Arc::new(JetStore::open(url).await?)),
        _ => {
            let _ = node;
            Err(OpenError::Scheme {
                scheme: shown(scheme),
            })
        }
    }
}

/// The path in `sqlite:PATH`, `sqlite://PATH` (relative) and `sqlite:///PATH` (absolute).
fn file_path(rest: &str) -> &str {
    rest.strip_prefix("//").unwrap_or(rest)
}

/// The scheme as it may be shown: what is no scheme could be anything.
fn shown(scheme: &str) -> String {
    let is_scheme = scheme.len() <= 32 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match is_scheme {
        true => scheme.to_owned(),
        false => "what is written there".to_owned(),
    }
}
