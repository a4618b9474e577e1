//! What serves requests: the public address, the calls of upstreams, and requests of the node's own.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_base::exchange::CallApi;
use grapevine_config::Config;
use grapevine_http::ingress::{
    self, Background, Context, OwnCalls, TlsHandle, UsageRefusals, Workers,
};
use grapevine_http::upstream::UpstreamClient;
use grapevine_observe::record::Recorder;

use super::super::peers::Peers;
use super::super::{NodeStartError, translate};
use super::Ground;

impl Ground {
    /// Makes requests of the node's own, on this runtime.
    pub(super) fn own_calls(
        &self,
        ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
        recorder: &Recorder,
        peers: Peers,
    ) -> Arc<dyn CallApi> {
        let own = self.context(ingress, recorder, peers, Background::default())();
        Arc::new(OwnCalls::new(own))
    }

    /// Opens the public address, unless the node serves no requests.
    pub(super) fn open(
        &self,
        config: &Config,
        public_tls: Option<TlsHandle>,
        context: impl Fn() -> Context<UpstreamClient, Peers> + Send + Sync + 'static,
    ) -> Result<Option<Workers>, NodeStartError> {
        if !config.worker_mode.serves_requests() {
            return Ok(None);
        }
        let address = config.listen;
        let (connections_max, metrics) = (self.shares.public, self.metrics.connections());
        let settings = translate::listen(config, public_tls, connections_max, metrics);
        Workers::start(settings, &self.vital, move |_worker| context())
            .map(Some)
            .map_err(|source| NodeStartError::Listen { address, source })
    }

    /// A client of the own upstreams, for the runtime it is first used on.
    pub(super) fn client(&self) -> UpstreamClient {
        UpstreamClient::new(self.targets.clone(), self.passed.clone(), self.tls.clone())
    }

    /// Builds the context of a request thread.
    pub(super) fn context(
        &self,
        ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
        recorder: &Recorder,
        peers: Peers,
        background: Background,
    ) -> impl Fn() -> Context<UpstreamClient, Peers> + Send + Sync + 'static + use<> {
        let (ingress, driver, recorder) =
            (Arc::clone(ingress), self.driver.clone(), recorder.clone());
        let (targets, passed) = (self.targets.clone(), self.passed.clone());
        let (tls, readiness) = (self.tls.clone(), self.readiness.clone());
        let bodies = self.bodies.clone();
        let usage_refusals = UsageRefusals::default();
        let tunnels = self.metrics.tunnels().clone();
        let limits = self.limits.clone();
        let locate = self.geography.locate();
        move || Context {
            settings: Arc::clone(&ingress),
            driver: driver.clone(),
            recorder: recorder.clone(),
            bodies: bodies.clone(),
            limits: limits.clone(),
            tunnels: tunnels.clone(),
            usage_refusals: usage_refusals.clone(),
            local: UpstreamClient::new(targets.clone(), passed.clone(), tls.clone()),
            peers: peers.clone(),
            readiness: readiness.clone(),
            locate: locate.clone(),
            background: background.clone(),
        }
    }
}
