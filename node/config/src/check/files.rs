//! Paths of the configuration: where they begin, and whether what a node writes has a folder.

use std::path::{Path, PathBuf};

use super::super::problem::ValueOrigin;
use super::Checker;

impl Checker<'_> {
    /// A path of the file is relative to the file; one from a flag or a variable to the working folder.
    pub(super) fn path(&self, key: &str, text: &str) -> PathBuf {
        match self.source_map.origin(key) {
            ValueOrigin::File { .. } => self.folder.join(text),
            _ => PathBuf::from(text),
        }
    }

    /// The path of a file that the node makes. It makes no folders; that one is missing is no problem yet, since a
    /// service manager may make it at the start (systemd's StateDirectory).
    pub(super) fn kept_path(&mut self, key: &str, text: &str) -> PathBuf {
        let path = self.path(key, text);
        if path.is_dir() {
            let problem = format!("{} is a folder", path.display());
            self.problem(key, problem, "name a file in it");
            return path;
        }
        let folder = path.parent().filter(|it| *it != Path::new(""));
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let folder = folder.display();
            let problem = format!("{} is in a folder that does not exist", path.display());
            let remedy = format!("make it before the start: mkdir -p {folder}");
            self.warning(key, problem, remedy);
        }
        path
    }
}
