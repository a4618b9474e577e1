//! Checks of secrets that are written, or stand in a file of their own.

use std::path::Path;

use super::super::checked::SecretSource;
use super::super::file::SecretFile;
use super::super::secret::Secret;
use super::Checker;
use super::node::is_header_text;

/// The longest secret in a file, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1_024;

impl Checker<'_> {
    /// The secret of `key`; `None` where it is refused.
    pub(super) fn secret(&mut self, key: &str, file: &SecretFile) -> Option<SecretSource> {
        let text = match file {
            SecretFile::Text(text) => {
                let secret = Secret::new(&text.0);
                return Some(SecretSource { secret, file: None });
            }
            SecretFile::In(inside) => inside.file.as_deref()?,
        };
        let key = format!("{key}.file");
        let path = self.path(&key, text);
        match read_secret(&path) {
            Ok(secret) => Some(SecretSource {
                secret: Secret::new(secret.trim_end_matches(['\r', '\n'])),
                file: Some(path),
            }),
            Err(problem) => {
                let problem = format!("{} {problem}", path.display());
                let remedy = "name a file that holds the secret alone, and that this user may read";
                self.problem(&key, problem, remedy);
                None
            }
        }
    }

    /// The same for a secret that is sent in a header.
    pub(super) fn header_secret(&mut self, key: &str, file: &SecretFile) -> Option<SecretSource> {
        let source = self.secret(key, file)?;
        if !is_header_text(source.secret.expose()) {
            let problem = "is empty, or has blanks around it or characters that no header may hold";
            self.problem(
                key,
                problem,
                "check for a line break at its end, or remove it to send none",
            );
        }
        Some(source)
    }
}

/// The content of a small file of text.
pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > SECRET_BYTES_MAX {
        return Err(format!("has {length} bytes, over {SECRET_BYTES_MAX}"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
