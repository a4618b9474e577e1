//! Starts a node's parts in their order: engine, upstreams, mesh, public address, admin; then the node
//! says that it is ready.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_core::Engine;
use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_core::ids::Generation;
use http::HeaderValue;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::warn;

use super::geography::Geography;
use super::links;
use super::losses::losses;
use super::peers::Peers;
use super::{App, StartError, reload, translate};
use crate::admin::Admin;
use crate::clock::{self, Clock};
use crate::config::{Config, Sources};
use crate::driver::{Desk, Driver, Outlets, Telling};
use crate::ingress::{self, Context, TlsHandle, Workers};
use crate::observe::history::History;
use crate::observe::metrics::Metrics;
use crate::observe::notices;
use crate::observe::record::{Batch, Recorder};
use crate::prober;
use crate::readiness::Readiness;
use crate::upstream::{self, Targets, UpstreamClient};

impl App {
    /// Starts a node on the current runtime, which must be a current-thread one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, sources: Sources) -> Result<Self, StartError> {
        let (mut ground, tellings) = Ground::lay(&config)?;
        let desk = ground.desk.clone();
        let local = ground.client();
        let started = links::start(&config, ground.generation, &desk, local, tellings).await?;
        let (mesh, peers, mesh_tasks) = started;
        ground.tasks.extend(mesh_tasks);

        let admin_listener = Admin::bind(config.admin.listen).await?;
        let (recorder, batches) = Recorder::new(desk.clone());
        let history = History::default();
        ground
            .tasks
            .push(collect(&history, batches, &ground.metrics, &config));
        let door = Arc::new(ArcSwap::from_pointee(translate::door(&config)));
        let public_tls = config.tls.as_ref().map(reload::public_tls).transpose()?;
        let public_tls = public_tls.map(|tls| Arc::new(ArcSwap::new(tls)));
        let serves_requests = config.worker_mode.serves_requests();
        let workers = serves_requests
            .then(|| ground.open(&config, &door, public_tls.clone(), &recorder, peers))
            .transpose()?;

        let shown_config = Arc::new(ArcSwap::from_pointee(config.dump()));
        let drain = watch::Sender::new(false);
        let gossip = mesh.as_ref().map(|mesh| Arc::clone(mesh.gossip.counters()));
        let admin = Admin {
            desk: desk.clone(),
            history,
            metrics: ground.metrics,
            readiness: ground.readiness.clone(),
            losses: losses(recorder, gossip),
            config: show(&shown_config),
            drain: drain.clone(),
            token: config.admin.token.clone(),
            mode: config.worker_mode.clone(),
        };
        ground.tasks.push(serve_admin(admin, admin_listener));

        desk.tell(Event::Configured(translate::specs(&config)))
            .await;
        desk.tell(Event::ServicesChanged(translate::services(&config)))
            .await;
        desk.tell(Event::PhaseChanged(Phase::Ready)).await;
        let app = Self {
            config,
            sources,
            desk,
            targets: ground.targets,
            probe_targets: ground.probe_targets,
            door,
            public_tls,
            readiness: ground.readiness,
            geography: ground.geography,
            shown_config,
            workers,
            mesh,
            drain,
            tasks: ground.tasks,
        };
        app.announce();
        Ok(app)
    }
}

/// What every other part stands on: the engine's task, the upstreams, metrics and readiness.
struct Ground {
    generation: Generation,
    desk: Desk,
    metrics: Metrics,
    targets: Targets,
    probe_targets: prober::Targets,
    readiness: Readiness,
    geography: Geography,
    passed: HeaderValue,
    tls: ClientConfig,
    tasks: Vec<AbortHandle>,
}

impl Ground {
    fn lay(config: &Config) -> Result<(Self, mpsc::Receiver<Telling>), StartError> {
        let generation = clock::generation();
        let clock = Clock::start();
        let engine = Engine::new(clock.now(), translate::identity(config, generation));
        let (driver, desk, outlets) = Driver::new(engine, clock);
        let Outlets {
            tellings,
            probes,
            notices,
        } = outlets;
        let metrics = Metrics::new(config.node.name.as_str(), config.node.region.as_str());
        let targets = Targets::new(translate::upstreams(config))?;
        let probe_targets = prober::Targets::default();
        probe_targets.store(Arc::new(translate::probes(config)));
        let probe_client = translate::probe_client()?;
        let prober = prober::run(
            desk.clone(),
            Arc::clone(&probe_targets),
            probe_client,
            probes,
        );
        let readiness = Readiness::default();
        readiness.set_alone(config.mesh.is_none());
        readiness.set_open_to_all(translate::is_open_to_all(config));
        let tls =
            upstream::tls_config().map_err(|error| StartError::OutgoingTls(error.to_string()))?;
        let geography = Geography::start(config)?;
        let ground = Self {
            generation,
            desk,
            metrics: metrics.clone(),
            targets,
            probe_targets,
            readiness,
            geography,
            passed: translate::passed(config),
            tls,
            tasks: vec![
                tokio::spawn(driver.run()).abort_handle(),
                tokio::spawn(notices::run(notices, metrics)).abort_handle(),
                tokio::spawn(prober).abort_handle(),
            ],
        };
        Ok((ground, tellings))
    }

    /// A client of the own upstreams, for the runtime it is first used on.
    fn client(&self) -> UpstreamClient {
        UpstreamClient::new(self.targets.clone(), self.passed.clone(), self.tls.clone())
    }

    /// Opens the public address.
    fn open(
        &self,
        config: &Config,
        door: &Arc<ArcSwap<ingress::Settings>>,
        public_tls: Option<TlsHandle>,
        recorder: &Recorder,
        peers: Peers,
    ) -> Result<Workers, StartError> {
        let (door, desk, recorder) = (Arc::clone(door), self.desk.clone(), recorder.clone());
        let (targets, passed) = (self.targets.clone(), self.passed.clone());
        let (tls, readiness) = (self.tls.clone(), self.readiness.clone());
        let locate = self.geography.locate();
        let context = move |_worker: usize| Context {
            settings: Arc::clone(&door),
            desk: desk.clone(),
            recorder: recorder.clone(),
            local: UpstreamClient::new(targets.clone(), passed.clone(), tls.clone()),
            peers: peers.clone(),
            readiness: readiness.clone(),
            locate: locate.clone(),
            background: ingress::Background::default(),
        };
        let address = config.listen;
        Workers::start(translate::listen(config, public_tls), context)
            .map_err(|source| StartError::Listen { address, source })
    }
}

fn collect(
    history: &History,
    batches: mpsc::Receiver<Batch>,
    metrics: &Metrics,
    config: &Config,
) -> AbortHandle {
    let (metrics, node) = (metrics.clone(), config.node.name.clone());
    let observe = move |record: &_| metrics.request(record, node.as_str());
    tokio::spawn(history.clone().run(batches, observe)).abort_handle()
}

/// The configuration for the operator, as it is when asked for.
fn show(config: &Arc<ArcSwap<Value>>) -> Arc<dyn Fn() -> Value + Send + Sync> {
    let config = Arc::clone(config);
    Arc::new(move || Value::clone(&config.load()))
}

fn serve_admin(admin: Admin, listener: TcpListener) -> AbortHandle {
    let serve = async move {
        if let Err(error) = admin.serve(listener).await {
            warn!(%error, "the admin port ended");
        }
    };
    tokio::spawn(serve).abort_handle()
}
