//! Which engine keeps the tasks: chosen by the scheme of `tasks.queue`.

use std::path::Path;
use std::sync::Arc;

use grapevine_config::secret::Secret;
use grapevine_core::ids::NodeName;

use super::Store;
use super::jetstream::JetStore;
pub use super::open_error::OpenError;
use super::sql::SqlStore;

/// Opens the store at `url`. A server that does not answer now is no error: calls of the store fail
/// until it does.
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
