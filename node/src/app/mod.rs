//! Puts a node together: starts every shell and passes it what it needs.
//!
//! Threads: `ingress-N`, one per core, serve the public address on a runtime of their own; everything
//! else (engine, gossip, links, forwarded requests, probes, admin) shares the runtime that calls
//! [`run`].
//!
//! Reading order: [`run`] (a node from start to end), `start` (what is started, in order), `links` (the mesh),
//! `translate` (from the configuration to the options of shells), `reload`.

mod accounts;
pub(crate) mod capacity;
mod error;
mod geography;
mod insides;
mod keys;
mod limits;
mod links;
mod losses;
mod names;
mod oidc;
pub(crate) mod own_files;
mod peers;
mod regions;
mod reload;
mod seal;
mod signals;
mod start;
pub(crate) mod startable;
mod tasks;
mod traced;
mod translate;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::engine::Event;
use grapevine_core::fact::Phase;
use grapevine_core::ids::ServiceKey;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallInside, ServeInside};
use grapevine_base::limits::LimitsHandle;
use grapevine_base::readiness::Readiness;
use grapevine_base::vital::Vital;
use grapevine_config::{Config, Loaded, Sources};
use grapevine_console::admin::ReloadAsk;
use grapevine_http::accounts::AccountTable;
use grapevine_http::ingress::{self, TlsHandle, Workers};
use grapevine_http::prober;
use grapevine_http::upstream::UpstreamTargets;
use grapevine_observe::log;
use grapevine_observe::otlp::Tracer;
use grapevine_tasks::hub::ServiceRegistry;

pub use error::{NodeStartError, RunError};
use geography::Geography;
use links::Mesh;
use names::Names;
use signals::Signals;

/// A running node.
pub struct App {
    config: Config,
    sources: Sources,
    driver: DriverHandle,
    bodies: BodyBudget,
    targets: UpstreamTargets,
    accounts: AccountTable,
    probe_targets: prober::ProbeTargets,
    ingress: Arc<ArcSwap<ingress::IngressSettings>>,
    public_tls: Option<TlsHandle>,
    readiness: Readiness,
    geography: Geography,
    names: Names,
    shown_config: Arc<ArcSwap<serde_json::Value>>,
    /// `None` where the node serves no requests.
    workers: Option<Workers>,
    mesh: Option<Mesh>,
    drain: watch::Sender<bool>,
    /// Reloads that operators ask for at the admin port.
    reload_asks: mpsc::Receiver<ReloadAsk>,
    background: Option<tasks::Tasks>,
    keys: keys::KeyKeeper,
    limits: LimitsHandle,
    usage: usage::UsageDesk,
    /// `None` where nothing is traced.
    tracer: Option<Tracer>,
    vital: Vital,
    tasks: Vec<AbortHandle>,
}

/// Runs a node with these services until a signal or its admin port ends it.
///
/// # Errors
/// When it cannot start, or when a vital part of it ended.
pub async fn run(
    loaded: Loaded,
    sources: Sources,
    services: ServiceRegistry,
) -> Result<(), RunError> {
    log::init(&loaded.config.log).map_err(NodeStartError::from)?;
    for warning in &loaded.warnings {
        warn!(%warning, "configuration");
    }
    for warning in regions::unknown(&loaded.config) {
        warn!(%warning, "configuration");
    }
    let mut signals = Signals::listen().map_err(NodeStartError::Signals)?;
    let app = App::start_with(loaded.config, sources, services).await?;
    app.run_until(async || signals.ended().await).await
}

impl App {
    /// Serves until `ended` resolves or the operator drains the node, then shuts down in order; at once when
    /// `ended` resolves again.
    ///
    /// # Errors
    /// When it ended because a vital task did.
    pub async fn run_until(mut self, mut ended: impl AsyncFnMut()) -> Result<(), RunError> {
        let mut drained = self.drain.subscribe();
        let mut reloads = reload::Reloads::of(&self.sources, &self.config);
        let vital = self.vital.clone();
        let broken = loop {
            tokio::select! {
                () = ended() => break None,
                // `self` holds the sender: waiting for it cannot fail.
                _ = drained.wait_for(|drain| *drain) => break None,
                task = vital.ended() => break Some(task),
                // What it found is in the log.
                () = reloads.next() => drop(self.reload(&mut reloads)),
                Some(ask) = self.reload_asks.recv() => ask.answer(self.reload(&mut reloads)),
            }
        };
        if let Some(task) = broken {
            error!(
                task.name = task.task,
                task.panicked, "a vital task has ended: the node drains and ends"
            );
            self.readiness.set_broken(task);
        }
        tokio::select! {
            () = self.end() => {}
            () = ended() => warn!("second signal to stop: requests in flight are broken off"),
        }
        broken.map_or(Ok(()), |task| Err(RunError::TaskEnded(task)))
    }

    /// Whether this node answers API requests.
    pub fn serving(&self) -> bool {
        self.config.worker_mode.serves_requests()
    }

    /// Whether this node runs tasks of the service `key` by its mode, registered here or not.
    pub fn serving_service(&self, key: &ServiceKey) -> bool {
        self.config.worker_mode.serves(key)
    }

    /// Calls the inside of peers; `None` without a mesh.
    pub fn inside(&self) -> Option<Arc<dyn CallInside>> {
        Some(Arc::clone(&self.mesh.as_ref()?.inside))
    }

    /// Lets `handler` answer peers' calls to the inside of this node. False where there is no mesh, or
    /// where a handler was set before.
    pub fn serve_inside(&self, handler: Arc<dyn ServeInside>) -> bool {
        let mesh = self.mesh.as_ref();
        mesh.is_some_and(|mesh| mesh.inside_slot.open(handler))
    }

    fn announce(&self) {
        let mesh = self.mesh.as_ref().map(|mesh| mesh.handle.advertised());
        let listen = self.workers.as_ref().map(|workers| workers.address());
        info!(
            node.name = %self.config.node.name,
            node.region = %self.config.node.region,
            listen = listen.map_or_else(|| "closed".to_owned(), |address| address.to_string()),
            worker_mode = self.config.worker_mode.to_string(),
            admin = %self.config.admin.listen,
            mesh.advertised = mesh.map(|address| address.to_string()),
            upstreams = self.config.upstreams.len(),
            "node started"
        );
    }

    async fn end(self) {
        let limit = self.config.drain.timeout;
        info!(?limit, "draining");
        self.driver.send(Event::PhaseChanged(Phase::Draining)).await;
        let hops_end = tokio::time::timeout(limit, hops_ended(self.driver.clone()));
        let clients_end = async {
            if let Some(workers) = self.workers {
                workers.stop(limit).await;
            }
        };
        let background_ends = async {
            if let Some(background) = self.background {
                background.stop(limit).await;
            }
        };
        let (_, (), hops) = tokio::join!(clients_end, background_ends, hops_end);
        if hops.is_err() {
            warn!("requests of peers are still in flight at the limit and are broken off");
        }
        if tokio::time::timeout(LAST_WRITE_LIMIT, self.limits.stop())
            .await
            .is_err()
        {
            warn!(
                "limits.file could not be written: rates of keys rest for up to 71 s after the next start"
            );
        }
        if let Some(mesh) = self.mesh {
            drop(mesh.gossip);
            mesh.handle.close().await;
        }
        self.usage.flush().await;
        if let Some(tracer) = self.tracer {
            tracer.flush(LAST_SPANS_LIMIT).await;
        }
        self.tasks.iter().for_each(AbortHandle::abort);
        info!("node ended");
    }
}

/// How long a node waits at its end for the store of limits.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(2);

/// How long a node waits at its end for the export of its last spans.
const LAST_SPANS_LIMIT: Duration = Duration::from_secs(2);

/// How often a draining node checks whether its upstreams are idle.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Waits until no request is in flight at the own upstreams, including those of peers.
async fn hops_ended(driver: DriverHandle) {
    let mut looks = tokio::time::interval(DRAIN_LOOK);
    loop {
        // The first tick is immediate, before anyone could learn of the drain: the second one counts.
        looks.tick().await;
        looks.tick().await;
        let busy = driver
            .view()
            .own
            .values()
            .any(|upstream| upstream.in_flight() > 0);
        if !busy {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use grapevine_config::{Environment, Flags};

    #[tokio::test]
    async fn end_of_a_vital_task_ends_the_node_with_an_error() {
        let sources = Sources {
            file: None,
            environment: Environment::default(),
            flags: Flags::default()
                .with("--listen", &["listen"], Some("127.0.0.1:0".into()))
                .with(
                    "--admin-listen",
                    &["admin", "listen"],
                    Some("127.0.0.1:0".into()),
                )
                .with("--queue", &["tasks", "queue"], Some("off".into())),
        };
        let loaded = grapevine_config::load(&sources).expect("a configuration");
        let app = App::start(loaded.config, sources).await.expect("a node");
        let (readiness, driver) = (app.readiness.clone(), app.driver.clone());
        let mut changes = driver.changes();
        while !readiness.reasons(&driver.view()).is_ready() {
            changes.changed().await.expect("a driver");
        }
        drop(app.vital.guard("example"));
        let error = app.run_until(pending).await.expect_err("it is broken");
        assert!(matches!(error, RunError::TaskEnded(_)), "{error}");
        assert!(error.to_string().starts_with("the task `example` ended"));
        let reasons = readiness.reasons(&driver.view()).against;
        assert!(
            reasons[1].starts_with("broken: the task `example` ended"),
            "{reasons:?}"
        );
    }
}
