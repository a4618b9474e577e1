//! A location database that is verified before it is used.
//!
//! A file may open and fail only where a record is decoded, so a database from a file is walked from end
//! to end first: every network is reached and every record decoded once. A file that fails the walk is
//! never used. The embedded database is walked by a test instead.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use maxminddb::{MaxMindDbError, Reader};

use super::record::GeoRecord;
use super::{Location, is_unplaced};

/// The largest accepted file: it is held in memory. City databases have up to about 150 MB.
pub const DATABASE_BYTES_MAX: u64 = 1 << 30;

/// A tree of N nodes has at most 2 N leaves; a walk that meets more runs in a circle.
const NETWORKS_PER_NODE_MAX: u64 = 3;

/// iptoasn's countries; `deploy/geo/README.md` names version and licence.
static EMBEDDED: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/geo/country.mmdb"
));

/// Why a location database is not used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file is not there, or may not be read.
    #[error("location database {} cannot be read; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is larger than [`DATABASE_BYTES_MAX`].
    #[error(
        "location database {} has {bytes} bytes, at most {DATABASE_BYTES_MAX} are read; use a country or city database",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is something else, or was cut off: the directory at its end is missing or wrong.
    #[error(
        "{} is not a MaxMind database (MMDB), or only the start of one: {cause}; download it again, unpacked",
        path.display()
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The file opens, and is broken inside.
    #[error("location database {} is damaged: {cause}; download it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        cause: String,
    },
    /// No record holds a country or coordinates: a database of something else.
    #[error(
        "{} is a database of {database_type:?} without countries or coordinates; use a country or city database",
        path.display()
    )]
    NotGeographic {
        /// The file.
        path: PathBuf,
        /// The type in its metadata.
        database_type: String,
    },
}

/// A location database, in memory.
#[derive(Debug)]
pub struct Database {
    reader: Reader<Cow<'static, [u8]>>,
}

impl Database {
    /// The countries that are compiled in. Reads nothing and copies nothing.
    pub fn embedded() -> Self {
        let reader = Reader::from_source(Cow::Borrowed(EMBEDDED));
        Self {
            reader: reader.expect("a test walks the embedded database"),
        }
    }

    /// Reads and walks the file at `path`. Blocks: about a second per 100 MB.
    ///
    /// # Errors
    /// When it cannot be read, is broken anywhere, or holds no locations.
    pub fn open(path: &Path) -> Result<Self, GeoError> {
        let unreadable = |source| GeoError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = fs::metadata(path).map_err(unreadable)?.len();
        if bytes > DATABASE_BYTES_MAX {
            return Err(GeoError::TooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Self::from_bytes(bytes, path)
    }

    fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, GeoError> {
        let path = || path.to_owned();
        let reader =
            Reader::from_source(Cow::Owned(bytes)).map_err(|error| GeoError::NotADatabase {
                path: path(),
                cause: error.to_string(),
            })?;
        let database = Self { reader };
        match database.walk() {
            Ok(true) => Ok(database),
            Ok(false) => Err(GeoError::NotGeographic {
                path: path(),
                database_type: database.database_type().to_owned(),
            }),
            Err(error) => Err(GeoError::Damaged {
                path: path(),
                cause: error.to_string(),
            }),
        }
    }

    /// The type in its metadata, such as `GeoLite2-City`.
    pub fn database_type(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// When its maker built it; `None` when that is no time.
    pub fn built(&self) -> Option<SystemTime> {
        self.reader.metadata().build_time().ok()
    }

    /// Where `address` is. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn locate(&self, address: IpAddr) -> Location {
        let address = address.to_canonical();
        if is_unplaced(address) {
            return Location::Unplaced;
        }
        // The only error after the walk: an IPv6 address in a database of IPv4 alone.
        let Ok(found) = self.reader.lookup(address) else {
            return Location::Unknown;
        };
        let record = found.decode::<GeoRecord<'_>>().ok().flatten();
        let located = record.and_then(|record| record.located());
        located.map_or(Location::Unknown, Location::Located)
    }

    /// Reaches every network and decodes every record. Returns whether any of them has a location.
    pub(super) fn walk(&self) -> Result<bool, MaxMindDbError> {
        let networks_max =
            u64::from(self.reader.metadata().node_count).saturating_mul(NETWORKS_PER_NODE_MAX);
        let mut networks = 0;
        let mut decoded = HashSet::new();
        let mut is_geographic = false;
        for found in self.reader.networks(maxminddb::WithinOptions::default())? {
            let found = found?;
            networks += 1;
            if networks > networks_max {
                return Err(MaxMindDbError::invalid_database(
                    "its search tree is a circle",
                ));
            }
            let Some(offset) = found.offset() else {
                continue;
            };
            if decoded.insert(offset) {
                let record = found.decode::<GeoRecord<'_>>()?;
                is_geographic |= record.is_some_and(|record| record.located().is_some());
            }
        }
        Ok(is_geographic)
    }
}
