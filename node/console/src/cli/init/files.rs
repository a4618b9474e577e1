//! What is written: new files alone, secrets for their owner alone.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::MeshInitError;

/// A file to write.
pub(super) struct PlannedFile {
    /// Below the folder.
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) mode: FileMode,
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileMode {
    /// Everybody may read it.
    Plain,
    /// It is a program.
    Program,
    /// Its owner alone may read it.
    Secret,
}

impl FileMode {
    const fn bits(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Program => 0o755,
            Self::Secret => 0o600,
        }
    }
}

impl PlannedFile {
    pub(super) fn plain(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self::new(path, text, FileMode::Plain)
    }

    pub(super) fn program(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self::new(path, text, FileMode::Program)
    }

    pub(super) fn secret(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self::new(path, text, FileMode::Secret)
    }

    fn new(path: impl Into<PathBuf>, text: impl Into<String>, mode: FileMode) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            mode,
        }
    }
}

/// The user that files are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FolderUser {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Whether files may be written to `folder`.
///
/// # Errors
/// When it has files, or cannot be read.
pub(super) fn must_be_empty(folder: &Path) -> Result<(), MeshInitError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(MeshInitError::NotEmpty {
                path: folder.to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(folder)(error)),
    }
}

/// Makes the folder, and returns whose it is.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make(folder: &Path) -> Result<FolderUser, MeshInitError> {
    make_folder(folder)?;
    let metadata = fs::metadata(folder).map_err(at(folder))?;
    Ok(FolderUser {
        user: metadata.uid(),
        group: metadata.gid(),
    })
}

/// Writes all files. None of them may exist.
///
/// # Errors
/// With the first that cannot be written.
pub(super) fn write(folder: &Path, files: &[PlannedFile]) -> Result<(), MeshInitError> {
    for file in files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(file.mode.bits());
        let mut written = options.open(&path).map_err(at(&path))?;
        written.write_all(file.text.as_bytes()).map_err(at(&path))?;
    }
    Ok(())
}

fn make_folder(folder: &Path) -> Result<(), MeshInitError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(at(folder))
}

/// Gives a folder and all in it to `to`.
///
/// # Errors
/// With the first that cannot be given away.
pub(super) fn give(folder: &Path, to: FolderUser) -> Result<(), MeshInitError> {
    let give_one = |path: &Path| chown(path, Some(to.user), Some(to.group)).map_err(at(path));
    give_one(folder)?;
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        match entry.file_type().map_err(at(&path))?.is_dir() {
            true => give(&path, to)?,
            false => give_one(&path)?,
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(io::Error) -> MeshInitError {
    move |error| MeshInitError::File {
        path: path.to_owned(),
        error,
    }
}
