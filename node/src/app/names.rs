//! The DNS server: its sockets, its task, and its settings for reloads.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_base::driver::DriverHandle;
use grapevine_base::listener::ConnectionTable;
use grapevine_base::listener::metrics::Listener;
use grapevine_config::Config;
use grapevine_core::fact::Phase;
use grapevine_http::dns::{DnsSettings, Server, Sockets};
use grapevine_observe::metrics::Metrics;
use tracing::info;

use super::geography::Geography;
use super::{NodeStartError, translate};

/// The running server, if there is one.
#[derive(Default)]
pub(super) struct Names(Option<Arc<ArcSwap<DnsSettings>>>);

/// Waits until the node is ready: before it knows its peers it would direct every client to itself, for as
/// long as resolvers cache that.
async fn joined(driver: &DriverHandle) {
    let mut changes = driver.changes();
    while driver.view().phase == Phase::Joining {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl Names {
    /// Opens the sockets; the future answers until it is dropped: a draining node keeps answering, and
    /// leaves itself out.
    pub(super) async fn start(
        config: &Config,
        driver: &DriverHandle,
        geography: &Geography,
        metrics: &Metrics,
        conversations_max: usize,
    ) -> Result<(Self, Option<impl Future<Output = ()> + use<>>), NodeStartError> {
        let (Some(dns), Some(settings)) = (&config.dns, translate::dns(config)) else {
            return Ok((Self::default(), None));
        };
        let address = dns.listen;
        let failed = |source| NodeStartError::Dns { address, source };
        let sockets = Sockets::open(address).await.map_err(failed)?;
        let address = sockets.address().map_err(failed)?;
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let server = Server {
            settings: Arc::clone(&settings),
            driver: driver.clone(),
            locate: geography.locate_address(),
            queries: metrics.dns(),
            conversations: ConnectionTable::new(
                conversations_max,
                metrics.connections().of(Listener::Dns, conversations_max),
            ),
        };
        let joining = driver.clone();
        let serve = async move {
            joined(&joining).await;
            server.serve(sockets).await;
        };
        info!(dns.listen = %address, dns.zone = %dns.zone, "DNS is answered");
        Ok((Self(Some(settings)), Some(serve)))
    }

    /// Applies a new configuration.
    pub(super) fn take(&self, config: &Config) {
        if let (Some(current), Some(settings)) = (&self.0, translate::dns(config)) {
            current.store(Arc::new(settings));
        }
    }
}
