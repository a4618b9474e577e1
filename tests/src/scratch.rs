//! A directory for one test's files, removed afterwards unless the test failed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wait::must;

/// A directory of its own under the system's temporary directory.
///
/// It stays when the test failed or `GRAPEVINE_TEST_KEEP` is set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new, empty directory with a name that begins with `grapevine-` and contains `label`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("grapevine-{label}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&path));
        must("making a scratch directory", std::fs::create_dir_all(&path));
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("GRAPEVINE_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.path.display());
        } else {
            // Left over only when something else still writes there; the system cleans its own
            // temporary directory.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
