//! The current database, and how a new one replaces it while requests are in flight.
//!
//! Readers take a snapshot without a lock. A new file is read and walked beside the old database and swapped
//! in whole; one that cannot be used changes nothing.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_config::watch::ConfigWatch;
use tracing::{error, info};

use super::{Database, GeoError, Location};

/// Answers where addresses are. Shared by everything that asks.
#[derive(Debug)]
pub struct Locator(ArcSwap<Database>);

impl Locator {
    /// Over the file at `path`, else over the embedded countries. Blocks while it reads a file.
    ///
    /// # Errors
    /// When there is a path and the file cannot be used.
    pub fn open(path: Option<&Path>) -> Result<Self, GeoError> {
        Ok(Self(ArcSwap::from_pointee(database(path)?)))
    }

    /// Over the embedded countries.
    pub fn embedded() -> Self {
        Self(ArcSwap::from_pointee(Database::embedded()))
    }

    /// Where `address` is, by a snapshot of the current database; takes a microsecond or two.
    pub fn locate(&self, address: IpAddr) -> Location {
        self.0.load().locate(address)
    }

    /// The current database.
    pub fn database(&self) -> Arc<Database> {
        self.0.load_full()
    }

    /// Uses the file at `path`, else the embedded countries, from now on. Blocks while it reads a file.
    ///
    /// # Errors
    /// When the file cannot be used; the current database stays.
    pub fn replace(&self, path: Option<&Path>) -> Result<(), GeoError> {
        self.0.store(Arc::new(database(path)?));
        Ok(())
    }
}

fn database(path: Option<&Path>) -> Result<Database, GeoError> {
    path.map_or_else(|| Ok(Database::embedded()), Database::open)
}

/// Reloads the file at `path` whenever it changes, and at SIGHUP, until the future is dropped.
/// Checks once per `look_interval`. Must be called within a runtime.
///
/// # Errors
/// When signals cannot be listened to.
pub fn watch(
    locator: Arc<Locator>,
    path: PathBuf,
    look_interval: Duration,
) -> std::io::Result<impl Future<Output = Infallible> + Send> {
    let mut watch = ConfigWatch::new(BTreeSet::from([path.clone()]), look_interval)?;
    Ok(async move {
        loop {
            watch.changed().await;
            reload(&locator, &path).await;
        }
    })
}

async fn reload(locator: &Arc<Locator>, path: &Path) {
    let (reading, file) = (Arc::clone(locator), path.to_owned());
    let replaced = tokio::task::spawn_blocking(move || reading.replace(Some(&file))).await;
    match replaced {
        Ok(Ok(())) => {
            let database = locator.database();
            info!(
                geo.database = %path.display(),
                geo.kind = database.database_type(),
                "location database reloaded"
            );
        }
        Ok(Err(error)) => error!(
            geo.database = %path.display(),
            error = &error as &dyn std::error::Error,
            "the new location database cannot be used, the old one stays in use"
        ),
        Err(error) => error!(%error, "reading the location database was broken off"),
    }
}
