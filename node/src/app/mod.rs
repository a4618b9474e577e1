//! Puts a node together: every shell is started here and handed what it needs.
//!
//! Threads: `ingress-N`, one per core, serve the public address on a runtime of their own; everything
//! else (engine, gossip, links, forwarded requests, probes, admin) shares the runtime that calls
//! [`run`].
//!
//! Order of starting: engine, mesh, admin, public address; then the node says that it is ready. Order
//! of ending: says that it drains, stops accepting, waits for what is under way, closes the mesh.

mod peers;
mod reload;
mod translate;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::Engine;
use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_core::ids::Generation;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::{info, warn};

use crate::admin::{Admin, AdminError};
use crate::clock::{self, Clock};
use crate::config::{Config, Loaded, MeshConfig, Sources};
use crate::driver::{Desk, Driver, Outlets, Telling};
use crate::ingress::{self, Context, TlsHandle, Workers};
use crate::mesh::gossip::{Counters, Gossip, GossipConfig, Rejection};
use crate::mesh::{self, MeshHandle};
use crate::observe::history::History;
use crate::observe::log;
use crate::observe::metrics::{Losses, Metrics};
use crate::observe::notices;
use crate::observe::record::Recorder;
use crate::prober;
use crate::readiness::Readiness;
use crate::upstream::{self, Targets, UpstreamClient};

use peers::Peers;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be set up.
    #[error("log.level: {0}")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// A file of the configuration cannot be read any more.
    #[error("{key}: cannot read {}: {source}", path.display())]
    File {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The mesh cannot start.
    #[error("mesh: {0}")]
    Mesh(#[from] mesh::StartError),
    /// The mesh's certificates cannot be used.
    #[error("mesh.tls: {0}")]
    Credentials(#[from] mesh::CredentialsError),
    /// The operator's port cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The public certificate cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] ingress::TlsError),
    /// The public address cannot be opened.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// An upstream cannot be used.
    #[error(transparent)]
    Upstream(#[from] upstream::SettingsError),
    /// The TLS of upstreams or probes cannot be set up.
    #[error("outgoing TLS: {0}")]
    OutgoingTls(String),
    /// Signals cannot be listened to.
    #[error("signals: {0}")]
    Signals(std::io::Error),
}

/// A running node.
pub struct App {
    config: Config,
    sources: Sources,
    desk: Desk,
    targets: Targets,
    probe_targets: prober::Targets,
    door: Arc<ArcSwap<ingress::Settings>>,
    public_tls: Option<TlsHandle>,
    readiness: Readiness,
    shown_config: Arc<ArcSwap<serde_json::Value>>,
    workers: Workers,
    mesh: Option<Mesh>,
    drain: watch::Sender<bool>,
    tasks: Vec<AbortHandle>,
}

/// The running mesh with the gossip on it.
struct Mesh {
    handle: MeshHandle,
    gossip: Gossip,
}

/// Runs a node until it is told to end, by a signal or through its admin port.
///
/// # Errors
/// When it cannot start; once it runs it ends cleanly.
pub async fn run(loaded: Loaded, sources: Sources) -> Result<(), StartError> {
    log::init(&loaded.config.log)?;
    for warning in &loaded.warnings {
        warn!(%warning, "configuration");
    }
    let signals = Signals::listen().map_err(StartError::Signals)?;
    let app = App::start(loaded.config, sources).await?;
    app.run_until(signals.ended()).await;
    Ok(())
}

impl App {
    /// Starts a node on the current runtime, which must be a current-thread one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, sources: Sources) -> Result<Self, StartError> {
        let generation = clock::generation();
        let clock = Clock::start();
        let engine = Engine::new(clock.now(), translate::identity(&config, generation));
        let (driver, desk, outlets) = Driver::new(engine, clock);
        let Outlets {
            tellings,
            probes,
            notices,
        } = outlets;
        let metrics = Metrics::new(config.node.name.as_str(), config.node.region.as_str());
        let mut tasks = vec![
            tokio::spawn(driver.run()).abort_handle(),
            tokio::spawn(notices::run(notices, metrics.clone())).abort_handle(),
        ];

        let targets = Targets::new(translate::upstreams(&config))?;
        let probe_targets = prober::Targets::default();
        probe_targets.store(Arc::new(translate::probes(&config)));
        let probe_client = translate::probe_client()?;
        let prober = prober::run(
            desk.clone(),
            Arc::clone(&probe_targets),
            probe_client,
            probes,
        );
        tasks.push(tokio::spawn(prober).abort_handle());

        let readiness = Readiness::default();
        readiness.set_alone(config.mesh.is_none());
        readiness.set_open_to_all(config.keys.is_empty());
        let passed = translate::passed(&config);
        let tls =
            upstream::tls_config().map_err(|error| StartError::OutgoingTls(error.to_string()))?;
        let local = UpstreamClient::new(targets.clone(), passed.clone(), tls.clone());
        let started = start_mesh(&config, generation, &desk, local, tellings).await?;
        let (mesh, peers, rest) = started;
        tasks.extend(rest);

        let admin_listener = Admin::bind(config.admin.listen).await?;
        let (recorder, batches) = Recorder::new(desk.clone());
        let history = History::default();
        tasks.push(collect(&history, batches, &metrics, &config));
        let door = Arc::new(ArcSwap::from_pointee(translate::door(&config)));
        let public_tls = config.tls.as_ref().map(reload::public_tls).transpose()?;
        let public_tls: Option<TlsHandle> = public_tls.map(|config| Arc::new(ArcSwap::new(config)));

        let listen = translate::listen(&config, public_tls.clone());
        let context = {
            let (door, desk, recorder) = (Arc::clone(&door), desk.clone(), recorder.clone());
            let (targets, readiness) = (targets.clone(), readiness.clone());
            move |_worker: usize| Context {
                settings: Arc::clone(&door),
                desk: desk.clone(),
                recorder: recorder.clone(),
                local: UpstreamClient::new(targets.clone(), passed.clone(), tls.clone()),
                peers: peers.clone(),
                readiness: readiness.clone(),
            }
        };
        let address = config.listen;
        let workers = Workers::start(listen, context)
            .map_err(|source| StartError::Listen { address, source })?;

        let shown_config = Arc::new(ArcSwap::from_pointee(config.dump()));
        let drain = watch::Sender::new(false);
        let admin = Admin {
            desk: desk.clone(),
            history,
            metrics,
            readiness: readiness.clone(),
            losses: losses(
                recorder,
                mesh.as_ref().map(|mesh| Arc::clone(mesh.gossip.counters())),
            ),
            config: {
                let shown = Arc::clone(&shown_config);
                Arc::new(move || serde_json::Value::clone(&shown.load()))
            },
            drain: drain.clone(),
            token: config.admin.token.clone(),
        };
        tasks.push(spawn_admin(admin, admin_listener));

        desk.tell(Event::Configured(translate::specs(&config)))
            .await;
        desk.tell(Event::PhaseChanged(Phase::Ready)).await;
        let app = Self {
            config,
            sources,
            desk,
            targets,
            probe_targets,
            door,
            public_tls,
            readiness,
            shown_config,
            workers,
            mesh,
            drain,
            tasks,
        };
        app.announce();
        Ok(app)
    }

    /// Serves until `ended` or until the operator drains the node, then ends it in order.
    pub async fn run_until(mut self, ended: impl Future<Output = ()>) {
        let mut drained = self.drain.subscribe();
        tokio::pin!(ended);
        let mut reloads = reload::Reloads::of(&self.sources, &self.config);
        loop {
            tokio::select! {
                () = &mut ended => break,
                // The sender lives in `self`: waiting for it cannot fail.
                _ = drained.wait_for(|drain| *drain) => break,
                () = reloads.next() => self.reload(&mut reloads),
            }
        }
        self.end().await;
    }

    fn announce(&self) {
        let mesh = self.mesh.as_ref().map(|mesh| mesh.handle.advertised());
        info!(
            node.name = %self.config.node.name,
            node.region = %self.config.node.region,
            listen = %self.workers.address(),
            admin = %self.config.admin.listen,
            mesh.advertised = mesh.map(|address| address.to_string()),
            upstreams = self.config.upstreams.len(),
            "node started"
        );
    }

    async fn end(self) {
        let limit = self.config.drain.timeout;
        info!(?limit, "draining");
        self.desk.tell(Event::PhaseChanged(Phase::Draining)).await;
        let hops_end = tokio::time::timeout(limit, hops_ended(self.desk.clone()));
        let (_, hops) = tokio::join!(self.workers.stop(limit), hops_end);
        if hops.is_err() {
            warn!("requests of peers are still under way at the limit and are broken off");
        }
        if let Some(mesh) = self.mesh {
            drop(mesh.gossip);
            mesh.handle.close().await;
        }
        self.tasks.iter().for_each(AbortHandle::abort);
        info!("node ended");
    }
}

/// How often a draining node looks whether its upstreams are idle.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Waits until nothing is under way at the own upstreams: peers' requests among it.
async fn hops_ended(desk: Desk) {
    let mut looks = tokio::time::interval(DRAIN_LOOK);
    loop {
        // The first look comes at once, before the drain was told to anyone: the second one counts.
        looks.tick().await;
        looks.tick().await;
        let busy = desk
            .view()
            .own
            .values()
            .any(|upstream| upstream.in_flight() > 0);
        if !busy {
            return;
        }
    }
}

/// Starts the links and the gossip on them; a node without a mesh gets neither.
async fn start_mesh(
    config: &Config,
    generation: Generation,
    desk: &Desk,
    local: UpstreamClient,
    tellings: tokio::sync::mpsc::Receiver<Telling>,
) -> Result<(Option<Mesh>, Peers, Vec<AbortHandle>), StartError> {
    let Some(wanted) = &config.mesh else {
        return Ok((None, Peers::default(), vec![discard(tellings)]));
    };
    let credentials = reload::credentials(wanted)?;
    let mesh_name = credentials.mesh().clone();
    let parts = mesh::start(
        mesh_config(config, wanted, generation, credentials),
        desk.clone(),
        local,
    );
    let parts = parts.await?;
    let gossip_config = GossipConfig {
        mesh: mesh_name,
        node: config.node.name.clone(),
        generation,
        advertise: parts.handle.advertised(),
        seeds: wanted.seeds.iter().map(ToString::to_string).collect(),
        interval: wanted.gossip_interval,
    };
    let (signer, verifier) = (
        parts.handle.signer().clone(),
        parts.handle.verifier().clone(),
    );
    let (outgoing, incoming) = (parts.outgoing, parts.incoming);
    let gossip = Gossip::start(
        gossip_config,
        desk.inbox(),
        tellings,
        outgoing,
        incoming,
        signer,
        verifier,
    );
    let peers = Peers::through(parts.forwarder);
    Ok((
        Some(Mesh {
            handle: parts.handle,
            gossip,
        }),
        peers,
        Vec::new(),
    ))
}

fn mesh_config(
    config: &Config,
    wanted: &MeshConfig,
    generation: Generation,
    credentials: mesh::Credentials,
) -> mesh::MeshConfig {
    mesh::MeshConfig {
        node: config.node.name.clone(),
        generation,
        listen: wanted.listen,
        advertise: wanted.advertise.as_ref().map(ToString::to_string),
        seeds: wanted.seeds.iter().map(ToString::to_string).collect(),
        credentials,
    }
}

/// A node alone has nobody to tell.
fn discard(mut tellings: tokio::sync::mpsc::Receiver<Telling>) -> AbortHandle {
    tokio::spawn(async move { while tellings.recv().await.is_some() {} }).abort_handle()
}

fn collect(
    history: &History,
    batches: tokio::sync::mpsc::Receiver<crate::observe::record::Batch>,
    metrics: &Metrics,
    config: &Config,
) -> AbortHandle {
    let (metrics, node) = (metrics.clone(), config.node.name.clone());
    let observe = move |record: &_| metrics.request(record, node.as_str());
    tokio::spawn(history.clone().run(batches, observe)).abort_handle()
}

fn spawn_admin(admin: Admin, listener: tokio::net::TcpListener) -> AbortHandle {
    let serve: JoinHandle<()> = tokio::spawn(async move {
        if let Err(error) = admin.serve(listener).await {
            warn!(%error, "the admin port ended");
        }
    });
    serve.abort_handle()
}

/// What was dropped so far, read when somebody scrapes.
fn losses(
    recorder: Recorder,
    gossip: Option<Arc<Counters>>,
) -> Arc<dyn Fn() -> Losses + Send + Sync> {
    Arc::new(move || {
        let mut losses = vec![("records", recorder.dropped())];
        if let Some(counters) = &gossip {
            losses.push(("gossip_restarts", counters.restarts.load(Ordering::Relaxed)));
            losses.push((
                "models_left_out",
                counters.models_left_out.load(Ordering::Relaxed),
            ));
            losses
                .extend(Rejection::ALL.map(|reason| (rejected(reason), counters.rejected(reason))));
        }
        Losses(losses)
    })
}

/// The label of a refusal in `grapevine_lost`.
const fn rejected(reason: Rejection) -> &'static str {
    match reason {
        Rejection::Message => "gossip_message",
        Rejection::Malformed => "gossip_malformed",
        Rejection::Oversize => "gossip_oversize",
        Rejection::Certificate => "gossip_certificate",
        Rejection::Signature => "gossip_signature",
        Rejection::Generation => "gossip_generation",
        Rejection::Crowded => "gossip_crowded",
        Rejection::Throttled => "gossip_throttled",
        Rejection::ForeignWrite => "gossip_foreign_write",
    }
}

/// The signals that end a node.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            terminate,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn ended(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
