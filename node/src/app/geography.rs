//! Where clients are: the location database in use, and the proxies that are believed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_core::residency::Origin;
use http::HeaderMap;
use tokio::task::AbortHandle;
use tracing::warn;

use super::StartError;
use crate::config::Config;
use crate::config::address::Network;
use crate::config::watch::LOOK_INTERVAL;
use crate::dns;
use crate::geo::{self, Location, Locator, client};
use crate::ingress::{Locate, Whereabouts};

/// What answers where clients are. Dropping it ends the watch over the database's file.
pub(super) struct Geography {
    locator: Arc<Locator>,
    trusted: Arc<ArcSwap<Vec<Network>>>,
    path: Option<PathBuf>,
    watching: Option<AbortHandle>,
}

impl Geography {
    /// Opens the configured database, else the built-in one, and watches the file. Blocks while it reads it.
    pub(super) fn start(config: &Config) -> Result<Self, StartError> {
        let path = config.geo.database.clone();
        let locator = Arc::new(Locator::open(path.as_deref())?);
        Ok(Self {
            watching: watch(&locator, path.as_ref()),
            locator,
            trusted: Arc::new(ArcSwap::from_pointee(config.trusted_proxies.clone())),
            path,
        })
    }

    /// What the public door asks.
    pub(super) fn locate(&self) -> Locate {
        let (locator, trusted) = (Arc::clone(&self.locator), Arc::clone(&self.trusted));
        Locate::new(move |peer: SocketAddr, headers: &HeaderMap| {
            whereabouts(locator.locate(client::address(peer, headers, &trusted.load())))
        })
    }

    /// What the DNS server asks.
    pub(super) fn locate_address(&self) -> dns::Locate {
        let locator = Arc::clone(&self.locator);
        dns::Locate::new(move |address| {
            let found = whereabouts(locator.locate(address));
            (found.origin, found.place)
        })
    }

    /// Takes a new configuration; a database that cannot be used refuses it as a whole.
    pub(super) fn take(&mut self, config: &Config) -> Result<(), StartError> {
        let path = &config.geo.database;
        if *path != self.path {
            self.locator.replace(path.as_deref())?;
            self.stop();
            self.watching = watch(&self.locator, path.as_ref());
            self.path.clone_from(path);
        }
        self.trusted.store(Arc::new(config.trusted_proxies.clone()));
        Ok(())
    }

    fn stop(&self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl Drop for Geography {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(locator: &Arc<Locator>, path: Option<&PathBuf>) -> Option<AbortHandle> {
    match geo::watch(Arc::clone(locator), path?.clone(), LOOK_INTERVAL) {
        Ok(watching) => {
            let watching = async move {
                watching.await;
            };
            Some(tokio::spawn(watching).abort_handle())
        }
        Err(error) => {
            warn!(%error, "the location database is not watched");
            None
        }
    }
}

fn whereabouts(location: Location) -> Whereabouts {
    let Some(located) = location.located() else {
        return Whereabouts::default();
    };
    let continent = located.continent.map(Origin::Continent);
    let origin = located.country.map(Origin::Country).or(continent);
    Whereabouts {
        origin: origin.unwrap_or_default(),
        place: located.place,
    }
}
