//! Statements on disk: one signed text a line. Whatever damage a file has, every whole line in it counts, since each
//! is proven by its own signature; what was lost comes back from peers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::issuer::IssuerPublicKey;
use super::jws::JWS_BYTES_MAX;
use super::statement::SignedStatement;
use super::statements::{STATEMENTS_MAX, Statements};

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = ((JWS_BYTES_MAX + 1) * STATEMENTS_MAX) as u64;

/// What a file held.
#[derive(Debug, Default)]
pub struct Kept {
    /// The statements that are signed by a known issuer.
    pub statements: Vec<SignedStatement>,
    /// Lines that are not.
    pub unreadable: usize,
}

/// Reads the file at `path`; one that does not exist holds nothing.
///
/// # Errors
/// When it exists and cannot be read.
pub fn load(path: &Path, issuers: &[IssuerPublicKey]) -> io::Result<Kept> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut kept = Kept::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match SignedStatement::open(line, issuers) {
            Ok(statement) => kept.statements.push(statement),
            Err(_) => kept.unreadable += 1,
        }
    }
    Ok(kept)
}

/// Replaces the file at `path` as a whole: after a crash it is the old one or the new one.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub fn save(path: &Path, statements: &Statements) -> io::Result<()> {
    let beside = beside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        // It holds hashes of static keys.
        .mode(0o600)
        .open(&beside)?;
    let mut text = String::new();
    for statement in statements.iter() {
        text.push_str(statement.text());
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The new name is on disk only once its folder is.
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use grapevine_core::ids::{MeshName, NodeName};

    use super::super::issuer::IssuingKey;
    use super::super::statement::KeyStatement;
    use super::*;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("grapevine-keys-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn statements(key: &IssuingKey, count: usize) -> Statements {
        let mesh = MeshName::new("production").expect("a name");
        let mut set = Statements::default();
        for index in 0..count {
            let name = NodeName::new(&format!("key-{index}")).expect("a name");
            let said = KeyStatement::Remove { name };
            let text = said.sign(&mesh, Duration::ZERO, key).expect("a statement");
            let signed = SignedStatement::open(&text, &[key.public()]).expect("signed");
            set.merge(Duration::ZERO, signed);
        }
        set
    }

    #[test]
    fn statements_outlive_a_restart_and_a_file_cut_anywhere_loses_one_at_most() {
        let folder = Folder::new("cut");
        let (path, key) = (
            folder.0.join("keys"),
            IssuingKey::generate().expect("a key"),
        );
        let issuers = [key.public()];
        assert_eq!(load(&path, &issuers).expect("nothing").statements.len(), 0);
        save(&path, &statements(&key, 3)).expect("saved");
        assert_eq!(load(&path, &issuers).expect("read").statements.len(), 3);
        let whole = fs::read(&path).expect("bytes");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("cut");
            let kept = load(&path, &issuers).expect("read");
            let lines = whole[..length]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            assert!(kept.statements.len() >= lines, "{length}");
            assert!(kept.unreadable <= 1, "{length}");
        }
    }

    #[test]
    fn foreign_and_damaged_lines_are_counted_and_skipped() {
        let folder = Folder::new("damage");
        let (path, key) = (
            folder.0.join("keys"),
            IssuingKey::generate().expect("a key"),
        );
        save(&path, &statements(&key, 2)).expect("saved");
        let foreign = IssuingKey::generate().expect("a key");
        let mut text = fs::read_to_string(&path).expect("text");
        let others = statements(&foreign, 1);
        text.push_str(others.iter().next().expect("one").text());
        fs::write(&path, [text.as_bytes(), b"\n\xff\xfe\n\n"].concat()).expect("written");
        let kept = load(&path, &[key.public()]).expect("read");
        assert_eq!((kept.statements.len(), kept.unreadable), (2, 2));
    }
}
