//! The DNS server: its sockets, its task, and its settings for reloads.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::task::AbortHandle;
use tracing::info;

use super::geography::Geography;
use super::{StartError, translate};
use crate::config::Config;
use crate::dns::{Server, Settings, Sockets};
use crate::driver::Desk;
use crate::observe::metrics::Metrics;

/// The running server, if there is one.
#[derive(Default)]
pub(super) struct Names(Option<Arc<ArcSwap<Settings>>>);

impl Names {
    /// Opens the sockets and answers until the task is aborted: a draining node goes on to answer, and
    /// leaves itself out.
    pub(super) async fn start(
        config: &Config,
        desk: &Desk,
        geography: &Geography,
        metrics: &Metrics,
    ) -> Result<(Self, Option<AbortHandle>), StartError> {
        let (Some(dns), Some(settings)) = (&config.dns, translate::dns(config)) else {
            return Ok((Self::default(), None));
        };
        let address = dns.listen;
        let failed = |source| StartError::Dns { address, source };
        let sockets = Sockets::open(address).await.map_err(failed)?;
        let address = sockets.address().map_err(failed)?;
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let server = Server {
            settings: Arc::clone(&settings),
            desk: desk.clone(),
            locate: geography.locate_address(),
            queries: metrics.dns(),
        };
        let task = tokio::spawn(server.serve(sockets)).abort_handle();
        info!(dns.listen = %address, dns.zone = %dns.zone, "DNS is answered");
        Ok((Self(Some(settings)), Some(task)))
    }

    /// Takes a new configuration.
    pub(super) fn take(&self, config: &Config) {
        if let (Some(current), Some(settings)) = (&self.0, translate::dns(config)) {
            current.store(Arc::new(settings));
        }
    }
}
