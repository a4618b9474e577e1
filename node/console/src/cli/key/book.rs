//! The operator's list of issued keys, beside the issuing key: what is needed to revoke them. It holds no token.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use grapevine_keys::token::IssuedKey;
use serde::{Deserialize, Serialize};

use super::KeyCommandError;

/// One issued key. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BookEntry {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) mesh: String,
    pub(super) issued: u64,
    pub(super) expires: u64,
}

impl BookEntry {
    pub(super) fn of(key: &IssuedKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            mesh: key.mesh.to_string(),
            issued: key.issued_at.as_secs(),
            expires: key.expires_at.as_secs(),
        }
    }
}

/// Writes `entry` behind the others.
pub(super) fn append(path: &Path, entry: &BookEntry) -> Result<(), KeyCommandError> {
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).mode(0o600).open(path)?;
        let line = serde_json::to_string(entry)?;
        writeln!(file, "{line}")?;
        file.sync_all()
    };
    write().map_err(|error| KeyCommandError::File {
        path: path.to_owned(),
        error,
    })
}

/// All entries; none where there is no book. Lines that are no entries are passed over.
pub(super) fn read(path: &Path) -> Result<Vec<BookEntry>, KeyCommandError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let path = path.to_owned();
            return Err(KeyCommandError::File { path, error });
        }
    };
    let lines = text.lines();
    Ok(lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}
