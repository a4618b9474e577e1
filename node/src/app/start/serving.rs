//! What serves requests: the public address, the calls of upstreams, and requests of the node's own.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_base::exchange::CallApi;
use grapevine_base::queue::{QueueHandle, QueueTask};
use grapevine_config::Config;
use grapevine_http::accounts::AccountCalls;
use grapevine_http::ingress::{
    self, Background, Context, OwnCalls, TlsHandle, UsageRefusals, Workers,
};
use grapevine_http::upstream::UpstreamClient;
use grapevine_observe::record::Recorder;

use super::super::peers::Peers;
use super::super::{NodeStartError, translate};
use super::Ground;

/// Calls of the own upstreams, within the limits of their accounts.
pub(in super::super) type OwnUpstreams = AccountCalls<UpstreamClient>;

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
        &mut self,
        config: &Config,
        public_tls: Option<TlsHandle>,
        ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
        context: impl Fn() -> Context<OwnUpstreams, Peers> + Send + Sync + 'static,
    ) -> Result<Option<Workers>, NodeStartError> {
        if !config.worker_mode.serves_requests() {
            return Ok(None);
        }
        let queue = self.queue(config, ingress);
        let context = move || Context {
            queue: queue.clone(),
            ..context()
        };
        let address = config.listen;
        let (connections_max, metrics) = (self.shares.public, self.metrics.connections());
        let settings = translate::listen(config, public_tls, connections_max, metrics);
        Workers::start(settings, &self.vital, move |_worker| context())
            .map(Some)
            .map_err(|source| NodeStartError::Listen { address, source })
    }

    /// Lets requests wait for slots, where the configuration lets any.
    fn queue(
        &mut self,
        config: &Config,
        ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
    ) -> QueueHandle {
        self.metrics.show_budget(self.driver.budget().clone());
        let waiting_max = config.limits.waiting;
        if waiting_max == 0 {
            return QueueHandle::off();
        }
        let (handle, entries) = QueueHandle::new(waiting_max);
        let (driver, ingress) = (&self.driver, Arc::clone(ingress));
        let parts = (driver.clock(), driver.budget().clone());
        let in_flight_max = move || ingress.load().in_flight_max;
        let task = QueueTask::new(entries, waiting_max, parts, in_flight_max);
        self.metrics.show_queue(handle.clone());
        self.keep("waiting requests", task.run());
        handle
    }

    /// A client of the own upstreams, for the runtime it is first used on.
    pub(super) fn client(&self) -> OwnUpstreams {
        self.clients()()
    }

    /// Makes clients of the own upstreams, one for each runtime.
    fn clients(&self) -> impl Fn() -> OwnUpstreams + Send + Sync + 'static + use<> {
        let (targets, passed) = (self.targets.clone(), self.passed.clone());
        let (tls, accounts) = (self.tls.clone(), self.accounts.clone());
        let (limits, driver) = (self.limits.clone(), self.driver.clone());
        let metrics = self.metrics.accounts();
        move || AccountCalls {
            upstreams: UpstreamClient::new(targets.clone(), passed.clone(), tls.clone()),
            accounts: accounts.clone(),
            limits: limits.clone(),
            driver: driver.clone(),
            metrics: metrics.clone(),
        }
    }

    /// Builds the context of a request thread.
    pub(super) fn context(
        &self,
        ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
        recorder: &Recorder,
        peers: Peers,
        background: Background,
    ) -> impl Fn() -> Context<OwnUpstreams, Peers> + Send + Sync + 'static + use<> {
        let (ingress, driver, recorder) =
            (Arc::clone(ingress), self.driver.clone(), recorder.clone());
        let (local, readiness) = (self.clients(), self.readiness.clone());
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
            queue: QueueHandle::off(),
            tunnels: tunnels.clone(),
            usage_refusals: usage_refusals.clone(),
            local: local(),
            peers: peers.clone(),
            readiness: readiness.clone(),
            locate: locate.clone(),
            background: background.clone(),
        }
    }
}
