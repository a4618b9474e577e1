//! Starts a node's parts in their order: engine, upstreams, mesh, public address, admin; then the node
//! publishes that it is ready.

mod asking;
mod serving;
mod shown;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use grapevine_base::bodies::BodyBudget;
use grapevine_base::clock::{self, Clock};
use grapevine_base::driver::{Driver, DriverHandle, Outlets, Publication};
use grapevine_base::exchange::InsideSlot;
use grapevine_base::limits::LimitsHandle;
use grapevine_base::readiness::Readiness;
use grapevine_base::vital::Vital;
use grapevine_config::{Config, Sources};
use grapevine_console::admin::Admin;
use grapevine_core::Engine;
use grapevine_core::descriptors::Shares;
use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_core::ids::Generation;
use grapevine_http::accounts::AccountTable;
use grapevine_http::ingress::Background;
use grapevine_http::prober;
use grapevine_http::upstream::{self, UpstreamClient, UpstreamTargets};
use grapevine_observe::history::History;
use grapevine_observe::metrics::Metrics;
use grapevine_observe::notices;
use grapevine_observe::otlp::Tracer;
use grapevine_observe::pulse::Pulse;
use grapevine_observe::record::{Batch, Recorder};
use grapevine_observe::requests;
use grapevine_tasks::api;
use grapevine_tasks::hub::{Hub, ServiceRegistry};
use grapevine_tasks::serve::Serving;
use http::HeaderValue;
use rustls::ClientConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::geography::Geography;
use super::insides::Insides;
use super::keys::{KeyKeeper, Spreading};
use super::limits::{self, LimitDriver};
use super::links::{self, Mesh};
use super::losses::losses;
use super::names::Names;
use super::peers::Peers;
use super::tasks::{self, Tasks};
use super::traced::Traced;
use super::usage::UsageDesk;
use super::{App, NodeStartError, accounts, capacity, own_files, reload, translate};
use shown::RELOADS_MAX;

impl App {
    /// Starts a node on the current runtime, which must be a current-thread one.
    ///
    /// # Errors
    /// See [`NodeStartError`].
    pub async fn start(config: Config, sources: Sources) -> Result<Self, NodeStartError> {
        Self::start_with(config, sources, ServiceRegistry::default()).await
    }

    /// Starts a node that also knows these services.
    ///
    /// # Errors
    /// See [`NodeStartError`].
    pub async fn start_with(
        config: Config,
        sources: Sources,
        services: ServiceRegistry,
    ) -> Result<Self, NodeStartError> {
        let (mut ground, publications) = Ground::lay(&config)?;
        let driver = ground.driver.clone();
        let (mesh, peers) = ground.join(&config, publications).await?;
        let admin_listener = Admin::bind(config.admin.listen).await?;
        let (recorder, batches) = Recorder::new(driver.clone());
        let (history, pulse) = ground.collect(batches);
        let settings = translate::ingress_settings(&config, ground.keys.ring());
        let ingress = Arc::new(ArcSwap::from_pointee(settings));
        let public_tls = config.tls.as_ref().map(reload::public_tls).transpose()?;
        let public_tls = public_tls.map(|tls| Arc::new(ArcSwap::new(tls)));
        let calls = ground.own_calls(&ingress, &recorder, peers.clone());
        let counts = ground.metrics.tasks().clone();
        let named = tasks::named(&config, &ingress);
        let parts = (calls, counts);
        let hub = tasks::hub(&config, &driver, mesh.as_ref(), services, named, parts)?;
        let (api, operator) = tasks_api(hub.as_ref());
        let context = ground.context(&ingress, &recorder, peers, api);
        let workers = ground.open(&config, public_tls.clone(), &ingress, context)?;
        let names = ground.answer_names(&config).await?;
        let shown_config = Arc::new(ArcSwap::from_pointee(config.dump()));
        let drain = watch::Sender::new(false);
        let (reload, reload_asks) = mpsc::channel(RELOADS_MAX);
        let gossip = mesh.as_ref().map(|mesh| mesh.gossip.refused());
        let bodies = ground.bodies.clone();
        let kept = ground.kept();
        let targets = ground.targets.clone();
        let admin = Admin {
            losses: losses(recorder, bodies, gossip, workers.as_ref(), kept, targets),
            tasks: operator,
            pulse,
            ..ground.admin(&config, &ingress, history, &shown_config, (&drain, reload))
        };
        ground.keep("admin port", serve_admin(admin, admin_listener));

        configure_engine(&config, &driver).await;
        let background = hub.map(|hub| Tasks::start(&config, &hub, mesh.as_ref(), &ground.vital));
        let app = Self {
            config,
            sources,
            driver,
            bodies: ground.bodies,
            targets: ground.targets,
            accounts: ground.accounts,
            probe_targets: ground.probe_targets,
            ingress,
            public_tls,
            readiness: ground.readiness,
            geography: ground.geography,
            names,
            shown_config,
            workers,
            mesh,
            drain,
            reload_asks,
            background,
            keys: ground.keys,
            limits: ground.limits,
            usage: ground.usage,
            tracer: ground.tracer,
            vital: ground.vital,
            tasks: ground.tasks,
        };
        app.announce();
        Ok(app)
    }
}

/// What every other part needs: the engine's task, the upstreams, metrics and readiness.
struct Ground {
    generation: Generation,
    driver: DriverHandle,
    metrics: Metrics,
    bodies: BodyBudget,
    targets: UpstreamTargets,
    accounts: AccountTable,
    probe_targets: prober::ProbeTargets,
    readiness: Readiness,
    geography: Geography,
    passed: HeaderValue,
    tls: ClientConfig,
    shares: Shares,
    keys: KeyKeeper,
    usage: UsageDesk,
    limits: LimitsHandle,
    /// Until it runs; `None` where the node holds no rights.
    limit_driver: Option<LimitDriver>,
    /// Until it runs.
    spreading: Option<Spreading>,
    /// `None` where nothing is traced.
    tracer: Option<Tracer>,
    vital: Vital,
    tasks: Vec<AbortHandle>,
}

impl Ground {
    /// Runs `work` for as long as the node runs; the node drains if it ends.
    fn keep(&mut self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let running = tokio::spawn(self.vital.keep(task, work));
        self.tasks.push(running.abort_handle());
    }

    /// Joins the mesh, where the node has one; the way to peers.
    async fn join(
        &mut self,
        config: &Config,
        publications: mpsc::Receiver<Publication>,
    ) -> Result<(Option<Mesh>, Peers), NodeStartError> {
        let insides = Insides {
            keys: self.keys.clone(),
            usage: self.usage.clone(),
            tasks: InsideSlot::default(),
        };
        let (generation, local) = (self.generation, self.client());
        let local = Traced::new(local, self.tracer.clone());
        let (common, watched) = ((&self.driver, &self.bodies), (&self.metrics, &self.vital));
        let own = (local, insides);
        let started = links::start(config, generation, common, watched, own, publications);
        let (mut mesh, peers, tasks) = started.await?;
        self.tasks.extend(tasks);
        self.hold_rights(mesh.as_mut());
        let inside = mesh.as_ref().map(|mesh| Arc::clone(&mesh.inside));
        self.usage.reach(inside.clone());
        if let Some(spreading) = self.spreading.take() {
            let driver = self.driver.clone();
            self.keep("statements about keys", spreading.run(driver, inside));
        }
        Ok((mesh, peers))
    }

    /// Applies limits of keys, where this node holds rights.
    fn hold_rights(&mut self, mesh: Option<&mut Mesh>) {
        let way = mesh.and_then(|mesh| mesh.rights.take());
        if let Some(driver) = self.limit_driver.take() {
            self.keep("limits of keys", driver.run(way));
        }
    }

    /// Keeps the last requests, and counts all of them.
    fn collect(&mut self, batches: mpsc::Receiver<Batch>) -> (History, Pulse) {
        let (history, pulse) = (History::default(), Pulse::default());
        let (metrics, driver) = (self.metrics.clone(), self.driver.clone());
        let (counted, tracer, usage) = (pulse.clone(), self.tracer.clone(), self.usage.clone());
        let observe = move |record: &_| {
            requests::log(record);
            metrics.request(record, &driver.view());
            counted.count(driver.now(), record);
            usage.record(record);
            if let Some(tracer) = &tracer {
                tracer.request(record);
            }
        };
        self.keep("request records", history.clone().run(batches, observe));
        (history, pulse)
    }

    /// Answers DNS, where that is configured.
    async fn answer_names(&mut self, config: &Config) -> Result<Names, NodeStartError> {
        let (geography, metrics) = (&self.geography, &self.metrics);
        let conversations_max = self.shares.dns;
        let started = Names::start(config, &self.driver, geography, metrics, conversations_max);
        let (names, answering) = started.await?;
        if let Some(answering) = answering {
            self.keep("DNS", answering);
        }
        Ok(names)
    }

    fn lay(config: &Config) -> Result<(Self, mpsc::Receiver<Publication>), NodeStartError> {
        let generation = clock::generation();
        let clock = Clock::start();
        let geography = Geography::start(config)?;
        let identity = translate::identity(config, &geography.database(), generation);
        let engine = Engine::new(clock.now(), identity);
        let (engine_driver, driver, outlets) = Driver::new(engine, clock);
        let Outlets {
            publications,
            probes,
            loads,
            notices,
        } = outlets;
        let metrics = Metrics::new(config.node.name.as_str(), config.node.region.as_str());
        let targets = UpstreamTargets::new(translate::upstreams(config))?;
        let probe_targets = prober::ProbeTargets::default();
        probe_targets.store(Arc::new(translate::probes(config)));
        let tls = upstream::tls_config()
            .map_err(|error| NodeStartError::OutgoingTls(error.to_string()))?;
        let passed = translate::passed(config);
        let client = UpstreamClient::new(targets.clone(), passed.clone(), tls.clone());
        let asking = asking::run(
            driver.clone(),
            Arc::clone(&probe_targets),
            client,
            (probes, loads),
        );
        let (keys, spreading, fetcher) = KeyKeeper::load(config, tls.clone())?;
        metrics.show_keys(keys.ring().clone());
        let usage = UsageDesk::start(config, &driver)?;
        let (limits, limit_driver) = limits::prepare(config, clock, generation)?;
        metrics.show_limits(limits.clone());
        let readiness = Readiness::default();
        readiness.set_alone(config.mesh.is_none());
        readiness.set_open_to_all(translate::is_open_to_all(config));
        own_files::show(config, &readiness, &metrics);
        let mut ground = Self {
            generation,
            driver,
            bodies: translate::bodies(config, &metrics),
            metrics: metrics.clone(),
            targets,
            accounts: accounts::table(config),
            probe_targets,
            readiness,
            geography,
            passed,
            tls,
            shares: capacity::shares(config),
            keys,
            usage,
            limits,
            limit_driver,
            spreading: Some(spreading),
            tracer: None,
            vital: Vital::default(),
            tasks: Vec::new(),
        };
        ground.keep("engine", engine_driver.run());
        ground.keep(
            "notices",
            notices::run(notices, move |kind| metrics.transition(kind)),
        );
        ground.keep("prober", asking);
        ground.keep("keys of the identity provider", fetcher.run());
        Ok((ground.traced(config)?, publications))
    }

    /// Sends spans, where that is configured.
    fn traced(mut self, config: &Config) -> Result<Self, NodeStartError> {
        if let Some((tracer, exporting)) = translate::tracer(config)? {
            self.keep("trace export", exporting);
            self.tracer = Some(tracer);
        }
        Ok(self)
    }

    /// What else may lose something: traces, statements about keys, and the ledger.
    fn kept(&self) -> (Option<Tracer>, KeyKeeper, UsageDesk) {
        let (keys, usage) = (self.keys.clone(), self.usage.clone());
        (self.tracer.clone(), keys, usage)
    }
}

/// The API of background work, for clients and for the operator.
fn tasks_api(hub: Option<&Hub>) -> (Background, Router) {
    let Some(hub) = hub else {
        return (Background::default(), Router::new());
    };
    let serving = Serving::new(api::router(hub.clone()));
    let background = Background::through(Arc::new(serving));
    (background, api::operator(hub.clone()))
}

/// Passes the engine the node's rules, upstreams and services, and that it is ready unless it has peers to join.
async fn configure_engine(config: &Config, driver: &DriverHandle) {
    for event in [
        Event::RulesChanged(config.residency.clone()),
        Event::Configured(translate::specs(config)),
        Event::ServicesChanged(translate::services(config)),
        match &config.mesh {
            Some(mesh) => Event::JoinBegan {
                has_seeds: !mesh.seeds.is_empty(),
            },
            None => Event::PhaseChanged(Phase::Ready),
        },
    ] {
        driver.send(event).await;
    }
}

async fn serve_admin(admin: Admin, listener: TcpListener) {
    match admin.serve(listener).await {}
}
