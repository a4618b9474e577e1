//! The DNS server: its sockets, its task, and its settings for reloads.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::fact::Phase;
use tokio::task::AbortHandle;
use tokio::time::{interval, timeout};
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

/// How long questions wait for a starting node to hear of the others.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const JOIN_LOOK: Duration = Duration::from_millis(20);

/// Waits until a peer is ready: before, every client would be led to this node, for as long as resolvers
/// keep that.
async fn joined(desk: &Desk) {
    let mut looks = interval(JOIN_LOOK);
    loop {
        looks.tick().await;
        let view = desk.view();
        let mut peers = view.nodes.iter().filter(|node| node.name != view.node);
        if peers.any(|node| node.live && node.phase == Phase::Ready && node.fact.is_some()) {
            return;
        }
    }
}

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
        let has_seeds = (config.mesh.as_ref()).is_some_and(|mesh| !mesh.seeds.is_empty());
        let joining = desk.clone();
        let serve = async move {
            if has_seeds {
                // Who is late is passed over: a node that is cut off answers with itself.
                let _ = timeout(JOIN_LIMIT, joined(&joining)).await;
            }
            server.serve(sockets).await;
        };
        let task = tokio::spawn(serve).abort_handle();
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
