//! The keys of seals: what all nodes of a mesh share, or what one alone keeps.
//!
//! The first key seals, and all of them open, so that one can replace another while ids that were sealed with the old one
//! come back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use grapevine_base::entropy;
use grapevine_core::seal::{Owner, SealProof};
use ring::hmac;
use tracing::warn;

/// Tells these keys from others that are derived from the same secrets.
const PURPOSE: &[u8] = b"grapevine seal 1";

/// Keys at once: one, and those that it replaces.
const KEYS_MAX: usize = 8;

/// The random bytes of a key that a node makes.
const SECRET_BYTES: usize = 32;

/// The longest file of a secret that is read.
const FILE_BYTES_MAX: u64 = 4_096;

/// Seals and checks seals. Cheap to clone.
#[derive(Clone)]
pub struct SealKeys(Arc<KeySource>);

enum KeySource {
    Given(Vec<hmac::Key>),
    /// In the file of a node that shares them with nobody; made with the first id.
    Kept(PathBuf, OnceLock<Vec<hmac::Key>>),
}

impl SealKeys {
    /// The keys of these secrets, the first of which seals; those beyond eight are left out.
    pub fn of_secrets<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let keys = secrets.into_iter().take(KEYS_MAX).map(derived).collect();
        Self(Arc::new(KeySource::Given(keys)))
    }

    /// The key in the file at `path`, which is made with the first id that needs it.
    pub fn kept_at(path: PathBuf) -> Self {
        Self(Arc::new(KeySource::Kept(path, OnceLock::new())))
    }

    /// The key that seals.
    pub(super) fn first(&self) -> Option<&hmac::Key> {
        self.all().first()
    }

    /// Whether `proof` is of `owner` and `text`, by any of the keys.
    pub(super) fn is_proof(&self, owner: Owner, text: &[&[u8]], proof: SealProof) -> bool {
        self.all().iter().any(|key| {
            let mut hash = begin(key, owner);
            text.iter().for_each(|text| hash.update(text));
            proof_of(&hash) == proof
        })
    }

    fn all(&self) -> &[hmac::Key] {
        match &*self.0 {
            KeySource::Given(keys) => keys,
            KeySource::Kept(path, keys) => keys.get_or_init(|| vec![kept(path)]),
        }
    }
}

/// Shows no key.
impl std::fmt::Debug for SealKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SealKeys")
    }
}

/// The keyed hash of what `owner` made; the text follows.
pub(super) fn begin(key: &hmac::Key, owner: Owner) -> hmac::Context {
    let mut hash = hmac::Context::with_key(key);
    hash.update(&owner.to_bytes());
    hash
}

/// What of a keyed hash a seal holds.
pub(super) fn proof_of(hash: &hmac::Context) -> SealProof {
    let tag = hash.clone().sign();
    let mut proof = SealProof::default();
    proof.copy_from_slice(&tag.as_ref()[..size_of::<SealProof>()]);
    proof
}

fn derived(secret: &[u8]) -> hmac::Key {
    let purpose = hmac::Key::new(hmac::HMAC_SHA256, PURPOSE);
    let tag = hmac::sign(&purpose, secret);
    hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
}

/// The key of the file, made where there is none. Where it can be neither read nor made, a key that everybody can
/// derive: ids still find their upstream after a restart, and a forged one leads nowhere that its client may not go.
fn kept(path: &Path) -> hmac::Key {
    match read_or_make(path) {
        Ok(secret) => derived(&secret),
        Err(error) => {
            warn!(
                path = %path.display(), %error,
                "the key of sealed ids can be neither read nor kept: set routing.seal_keys, or make the folder writable"
            );
            derived(b"")
        }
    }
}

fn read_or_make(path: &Path) -> io::Result<Vec<u8>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let random: [u8; SECRET_BYTES] = entropy::bytes();
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    // Written beside it and moved, so that no other process reads half of it.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(digits.as_bytes())?;
    file.sync_all()?;
    // Of two processes that make one, the first's stays, and both use it.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(path),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(
            "the file is no key: it is longer than 4 KiB",
        ));
    }
    let secret = fs::read(path)?.trim_ascii().to_vec();
    match secret.len() < SECRET_BYTES {
        true => Err(io::Error::other(
            "the file is no key: it is shorter than 32 bytes",
        )),
        false => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use grapevine_core::ids::{NodeName, RegionName, UpstreamName};

    fn owner() -> Owner {
        Owner::of(
            &RegionName::new("eur").expect("a region"),
            &UpstreamName::new("openai").expect("an upstream"),
            &NodeName::new("n1").expect("a node"),
        )
    }

    fn proof(keys: &SealKeys) -> SealProof {
        let mut hash = begin(keys.first().expect("a key"), owner());
        hash.update(b"resp_1");
        proof_of(&hash)
    }

    #[test]
    fn first_key_seals_and_all_of_them_open() {
        let (old, new) = (b"old secret".as_slice(), b"new secret".as_slice());
        let before = SealKeys::of_secrets([old]);
        let during = SealKeys::of_secrets([new, old]);
        let after = SealKeys::of_secrets([new]);
        let opens = |keys: &SealKeys, proof| keys.is_proof(owner(), &[b"resp", b"_1"], proof);
        assert!(opens(&during, proof(&before)) && opens(&during, proof(&during)));
        assert!(opens(&after, proof(&during)) && !opens(&after, proof(&before)));
        assert!(!during.is_proof(owner(), &[b"resp_2"], proof(&during)));
    }

    #[test]
    fn key_of_a_node_alone_is_kept_for_its_next_start() {
        let folder = std::env::temp_dir().join(format!("grapevine-seal-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("seal.key");
        let first = SealKeys::kept_at(path.clone());
        assert!(!path.exists(), "nothing is written before the first id");
        let sealed = proof(&first);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(proof(&SealKeys::kept_at(path.clone())), sealed);
        let files = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(files, 1);
        fs::write(&path, "short").expect("written");
        assert_ne!(proof(&SealKeys::kept_at(path)), sealed);
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn folder_that_cannot_be_written_leaves_a_key_that_stays_the_same() {
        let nowhere = || SealKeys::kept_at(PathBuf::from("/nonexistent/seal.key"));
        assert_eq!(proof(&nowhere()), proof(&nowhere()));
    }
}
