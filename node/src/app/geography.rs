//! Where clients are: the current location database, and the trusted proxies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_config::Config;
use grapevine_config::address::Network;
use grapevine_config::watch::LOOK_INTERVAL;
use grapevine_console::admin::{Explain, ExplainQuery};
use grapevine_core::dialect::Dialect;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::residency::ClientOrigin;
use grapevine_geo::{Location, Locator, client};
use grapevine_http::dns;
use grapevine_http::ingress::{ClientLocation, Explainer, Locate, Supposed};
use http::HeaderMap;
use tokio::task::AbortHandle;
use tracing::warn;

use super::NodeStartError;

/// Locates clients. Dropping it ends the watch over the database's file.
pub(super) struct Geography {
    locator: Arc<Locator>,
    trusted: Arc<ArcSwap<Vec<Network>>>,
    path: Option<PathBuf>,
    watching: Option<AbortHandle>,
}

impl Geography {
    /// Opens the configured database, else the built-in one, and watches the file. Blocks while it reads it.
    pub(super) fn start(config: &Config) -> Result<Self, NodeStartError> {
        let path = config.geo.database.clone();
        let locator = Arc::new(Locator::open(path.as_deref())?);
        Ok(Self {
            watching: watch(&locator, path.as_ref()),
            locator,
            trusted: Arc::new(ArcSwap::from_pointee(config.trusted_proxies.clone())),
            path,
        })
    }

    /// The lookup of the public listener.
    pub(super) fn locate(&self) -> Locate {
        let (locator, trusted) = (Arc::clone(&self.locator), Arc::clone(&self.trusted));
        Locate::new(move |peer: SocketAddr, headers: &HeaderMap| {
            let address = client::address(peer, headers, &trusted.load());
            ClientLocation {
                address: Some(address),
                ..client_location(locator.locate(address))
            }
        })
    }

    /// The lookup of the DNS server.
    pub(super) fn locate_address(&self) -> dns::LocateAddress {
        let locator = Arc::clone(&self.locator);
        dns::LocateAddress::new(move |address| {
            let found = client_location(locator.locate(address));
            (found.origin, found.place)
        })
    }

    /// The operator's lookup: where a request of any client would go.
    pub(super) fn explain(&self, explainer: Explainer) -> Explain {
        let locator = Arc::clone(&self.locator);
        Arc::new(move |query: &ExplainQuery| {
            let location = client_location(locator.locate(query.client));
            let supposed = supposed(query, location)?;
            explainer
                .explain(&supposed)
                .map_err(|error| error.to_string())
        })
    }

    /// The current database.
    pub(super) fn database(&self) -> Arc<grapevine_geo::Database> {
        self.locator.database()
    }

    /// Takes a new configuration; a database that cannot be used refuses it as a whole.
    pub(super) fn take(&mut self, config: &Config) -> Result<(), NodeStartError> {
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
    match grapevine_geo::watch(Arc::clone(locator), path?.clone(), LOOK_INTERVAL) {
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

/// # Errors
/// When a name in it is invalid.
fn supposed(query: &ExplainQuery, location: ClientLocation) -> Result<Supposed, String> {
    let region = |name: &str| {
        let named = RegionName::new(name.trim());
        named.map_err(|error| format!("region '{name}' {error}"))
    };
    let model = query.model.as_deref().map(|name| {
        let named = ModelName::new(name);
        named.map_err(|error| format!("model '{name}' {error}"))
    });
    let dialect = query.dialect.as_deref().map(dialect).transpose()?;
    let prefer_region = query.prefer_region.as_deref().map(region).transpose()?;
    let allowed = query.allow_regions.iter().flat_map(|list| list.split(','));
    Ok(Supposed {
        location,
        model: model.transpose()?,
        key: query.key.clone(),
        session: query.session.clone(),
        prefer_region,
        allow_regions: allowed.map(region).collect::<Result<_, _>>()?,
        dialect,
    })
}

/// # Errors
/// When there is no dialect of that name.
fn dialect(name: &str) -> Result<Dialect, String> {
    Dialect::from_name(name).ok_or_else(|| {
        let known = Dialect::ALL.map(Dialect::name);
        format!(
            "dialect '{name}' is not known; there are: {}",
            known.join(", ")
        )
    })
}

fn client_location(location: Location) -> ClientLocation {
    let Some(located) = location.located() else {
        return ClientLocation::default();
    };
    let continent = located.continent.map(ClientOrigin::Continent);
    let origin = located.country.map(ClientOrigin::Country).or(continent);
    ClientLocation {
        origin: origin.unwrap_or_default(),
        place: located.place,
        address: None,
    }
}
