//! Wires background work: the store, the way to peers' stores, the services, and the publisher.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallApi, CallInside};
use grapevine_base::vital::Vital;
use grapevine_config::checked::Queue;
use grapevine_config::{Config, Secret};
use grapevine_core::ids::{NodeName, ServiceKey, StoreName};
use grapevine_core::quota::QuotaExceeded;
use grapevine_http::ingress;
use grapevine_observe::tasks::TaskMetrics;
use grapevine_tasks::batch::AsyncTasks;
use grapevine_tasks::behalf::Behalf;
use grapevine_tasks::hub::{
    ConfiguredServices, Hub, HubParts, Keeping, ReachStores, ServiceRegistry,
};
use grapevine_tasks::owner::TaskOwner;
use grapevine_tasks::publisher;
use grapevine_tasks::remote::Remote;
use grapevine_tasks::runner::{Runner, RunnerSettings};
use grapevine_tasks::service::Service;
use grapevine_tasks::store::lazy::{Lazy, OpenStore};
use grapevine_tasks::store::open::{self, OpenError};
use grapevine_tasks::store::{Store, StoreError, Swept, TaskCounts};
use grapevine_tasks::task::ServiceKeyText;
use grapevine_tasks::watch::Watcher;
use grapevine_tasks::workflow::{SystemLookUp, Webhooks, Workflows};
use grapevine_tasks::{cancel_notifier::CancelNotifier, inside::InsideHandler};
use tokio::task::AbortHandle;
use tracing::warn;

use super::links::Mesh;
use super::{NodeStartError, translate};

/// Background work as it runs.
pub(super) struct Tasks {
    runner: Runner,
    publisher: AbortHandle,
    /// Whether peers may ask for clients without a key.
    is_open: Arc<AtomicBool>,
}

impl Tasks {
    /// Runs the services that the node serves, publishes them to the mesh, and answers peers for the own store.
    pub(super) fn start(config: &Config, hub: &Hub, mesh: Option<&Mesh>, vital: &Vital) -> Self {
        let settings = RunnerSettings {
            retention: config.tasks.retention,
        };
        let is_open = Arc::new(AtomicBool::new(config.needs_no_key()));
        if let Some(mesh) = mesh {
            let cancels = hub.cancels().clone();
            let owner = (hub.keeping() == Keeping::Own)
                .then(|| TaskOwner::new(hub.clone(), Arc::clone(&is_open)));
            mesh.inside_slot
                .open(Arc::new(InsideHandler { cancels, owner }));
        }
        let serves = hub.published();
        let (driver, store) = (hub.driver().clone(), Arc::clone(hub.store()));
        let queue_changes = Arc::clone(hub.store_changed());
        let shared = shared_store(&config.tasks.queue);
        let publishing = async move {
            publisher::run(driver, store, shared, serves, queue_changes).await;
        };
        let publisher = tokio::spawn(vital.keep("service publisher", publishing));
        Self {
            runner: Runner::start(hub, settings, vital),
            publisher: publisher.abort_handle(),
            is_open,
        }
    }

    /// Applies a reload.
    pub(super) fn take(&self, config: &Config) {
        self.is_open.store(config.needs_no_key(), Ordering::Relaxed);
    }

    /// Ends running tasks, within `limit`.
    pub(super) async fn stop(self, limit: Duration) {
        self.runner.stop(limit).await;
        self.publisher.abort();
    }
}

/// The hub of background work; `None` when the node does none.
pub(super) fn hub(
    config: &Config,
    driver: &DriverHandle,
    mesh: Option<&Mesh>,
    services: ServiceRegistry,
    named: ConfiguredServices,
    (api, metrics): (Arc<dyn CallApi>, TaskMetrics),
) -> Result<Option<Hub>, NodeStartError> {
    let (url, file, keeping) = match &config.tasks.queue {
        Queue::Off => return Ok(None),
        Queue::File(path) => {
            let url = Secret::new(&format!("sqlite:{}", path.display()));
            (url, Some(path.clone()), Keeping::Own)
        }
        Queue::Shared(url) => (url.clone(), None, Keeping::Shared),
    };
    let node = config.node.name.clone();
    let inside = mesh.map(|mesh| Arc::clone(&mesh.inside));
    let webhooks = webhooks(config)?;
    let built_in: [Arc<dyn Service>; 2] = [
        Arc::new(AsyncTasks::new(config.tasks.batch_lines)),
        Arc::new(Workflows::new(webhooks.clone())),
    ];
    Ok(Some(Hub::new(HubParts {
        node: node.clone(),
        region: config.node.region.clone(),
        mode: config.worker_mode.clone(),
        keeping,
        cancels: CancelNotifier::new(node.clone(), inside.clone()),
        store: store(url, file, node),
        peers: Arc::new(PeerStores(inside)),
        driver: driver.clone(),
        services: services.beside(built_in),
        api,
        watcher: Arc::new(Counting {
            metrics,
            store: shared_store(&config.tasks.queue),
        }),
        webhooks,
        concurrency: config.tasks.concurrency.clone(),
        named,
        quota: config.tasks.quota,
    })))
}

/// The services that the configuration names, and the keys that are in force.
pub(super) fn named(
    config: &Config,
    ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
) -> ConfiguredServices {
    let (services, ingress) = (config.tasks.services.clone(), Arc::clone(ingress));
    Arc::new(move || {
        let mut named = services.clone();
        named.extend(ingress.load().keys.services());
        named
    })
}

fn webhooks(config: &Config) -> Result<Option<Webhooks>, NodeStartError> {
    let Some(wanted) = &config.tasks.webhooks else {
        return Ok(None);
    };
    let tls = translate::outgoing_tls()?;
    let public = config.node.public_addresses.clone();
    let (hosts, look_up) = (wanted.hosts.clone(), Box::new(SystemLookUp));
    let webhooks = Webhooks::new(tls, &wanted.key, hosts, public, look_up);
    Ok(Some(webhooks))
}

fn store(url: Secret, file: Option<PathBuf>, node: NodeName) -> Arc<dyn Store> {
    Arc::new(Lazy::new(Configured { url, node }, file))
}

/// Opens what is configured.
struct Configured {
    url: Secret,
    node: NodeName,
}

#[async_trait]
impl OpenStore for Configured {
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let opened = open::open(&self.url, &self.node).await;
        opened.map_err(|error| {
            warn!(%error, "the task store cannot be opened; it is tried again when it is needed");
            match error {
                OpenError::Damaged { detail } => StoreError::Damaged { detail },
                other => StoreError::Unavailable {
                    detail: other.to_string(),
                },
            }
        })
    }
}

/// The stores of peers, where there is a mesh.
struct PeerStores(Option<Arc<dyn CallInside>>);

impl ReachStores for PeerStores {
    fn store(&self, owner: &NodeName, behalf: Behalf) -> Result<Arc<dyn Store>, StoreError> {
        match &self.0 {
            Some(inside) => {
                let remote = Remote::new(owner.clone(), Arc::clone(inside), behalf);
                Ok(Arc::new(remote))
            }
            None => Err(StoreError::OwnerAway {
                node: owner.to_string(),
                detail: "this node has no mesh".to_owned(),
            }),
        }
    }
}

/// The name of the engine that this node shares with others: a digest of the addresses in its URL, so that
/// nodes with the same addresses have the same name. `None` when the queue is the node's own.
fn shared_store(queue: &Queue) -> Option<StoreName> {
    let Queue::Shared(url) = queue else {
        return None;
    };
    let (scheme, rest) = url.expose().split_once("://")?;
    let addresses = rest.split('?').next().unwrap_or_default().split(',');
    // Without users and passwords.
    let addresses: Vec<&str> = addresses
        .filter_map(|address| address.rsplit('@').next())
        .collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, addresses.join(",").as_bytes());
    let digits: String = digest.as_ref()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    StoreName::new(&format!("{scheme}-{digits}")).ok()
}

/// Counts for metrics.
struct Counting {
    metrics: TaskMetrics,
    /// Where nodes share an engine, its name.
    store: Option<StoreName>,
}

impl Watcher for Counting {
    fn enqueued(&self, service: &ServiceKey, took: Duration) {
        self.metrics.enqueued(service.as_str(), took);
    }

    fn began_again(&self, service: &ServiceKey) {
        self.metrics.began_again(service.as_str());
    }

    fn ended(&self, service: &ServiceKey, how: &'static str, took: Duration) {
        self.metrics.ended(service.as_str(), how, took);
    }

    fn counted(&self, counts: &BTreeMap<ServiceKeyText, TaskCounts>) {
        let counts = counts.iter().map(|(service, counts)| {
            let states = [
                ("waiting", counts.waiting),
                ("delayed", counts.delayed),
                ("running", counts.running),
                ("dead", counts.dead),
            ];
            (service.0.to_string(), states)
        });
        let store = self.store.as_ref().map(StoreName::as_str);
        self.metrics.counted(store, counts);
    }

    fn refused(&self, over: QuotaExceeded) {
        self.metrics.refused(over.as_str());
    }

    fn swept(&self, swept: &Swept) {
        self.metrics.lost(swept.lost + swept.dead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_share_an_engine_name_it_alike_and_reveal_no_password() {
        let name = |url: &str| shared_store(&Queue::Shared(Secret::new(url))).expect("a name");
        let here = name("postgres://one:secret@db.example:5432/tasks?sslmode=require");
        assert_eq!(here, name("postgres://two:other@db.example:5432/tasks"));
        assert_ne!(here, name("postgres://one:secret@db.example:5432/others"));
        assert!(here.as_str().starts_with("postgres-"), "{here}");
        assert_eq!(
            name("nats://u:p@a.example:4222,u:p@b.example:4222"),
            name("nats://a.example:4222,b.example:4222")
        );
        assert_eq!(shared_store(&Queue::File(PathBuf::from("tasks.db"))), None);
    }
}
