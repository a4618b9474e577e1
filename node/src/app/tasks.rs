//! Background work, put together: the store, the way to peers' stores, the services, and who is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grapevine_core::ids::{NodeName, ServiceKey};
use grapevine_core::work;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::warn;

use super::links::Mesh;
use super::{StartError, translate};
use crate::config::checked::Queue;
use crate::config::{Config, Secret};
use crate::driver::Desk;
use crate::exchange::{CallApi, CallInside};
use crate::observe::tasks::TaskMetrics;
use crate::tasks::batch::AsyncTasks;
use crate::tasks::hub::{Hub, Keeping, Parts, ReachStores, Services};
use crate::tasks::owner::Owner;
use crate::tasks::remote::Remote;
use crate::tasks::runner::{Runner, RunnerSettings};
use crate::tasks::service::Service;
use crate::tasks::store::lazy::{Lazy, OpenStore};
use crate::tasks::store::open::{self, OpenError};
use crate::tasks::store::{Counts, Store, StoreError, Swept};
use crate::tasks::task::ServiceKeyText;
use crate::tasks::telling;
use crate::tasks::watch::Watcher;
use crate::tasks::workflow::{Webhooks, Workflows};

/// Background work as it runs.
pub(super) struct Tasks {
    runner: Runner,
    telling: AbortHandle,
}

impl Tasks {
    /// Runs the services that the node serves, tells the mesh of them, and answers peers for the own store.
    pub(super) fn start(config: &Config, hub: &Hub, mesh: Option<&Mesh>) -> Self {
        let settings = RunnerSettings {
            concurrency: config.tasks.concurrency,
            retention: config.tasks.retention,
        };
        if let Some(mesh) = mesh
            && hub.keeping() == Keeping::Own
        {
            let owner = Owner::new(Arc::clone(hub.store()), hub.desk().clone());
            mesh.door.open(Arc::new(owner));
        }
        let registered = hub.services().iter().map(|(key, _)| key);
        let (told, serves) = watch::channel(work::served(hub.mode(), registered));
        let (desk, store) = (hub.desk().clone(), Arc::clone(hub.store()));
        let nudges = Arc::clone(hub.nudges());
        let telling = tokio::spawn(async move {
            telling::run(desk, store, serves, nudges).await;
            drop(told);
        });
        Self {
            runner: Runner::start(hub, settings),
            telling: telling.abort_handle(),
        }
    }

    /// Ends what runs, within `limit`.
    pub(super) async fn stop(self, limit: Duration) {
        self.runner.stop(limit).await;
        self.telling.abort();
    }
}

/// Where background work meets; `None` when the node takes none.
pub(super) fn hub(
    config: &Config,
    desk: &Desk,
    mesh: Option<&Mesh>,
    services: Services,
    api: Arc<dyn CallApi>,
    metrics: TaskMetrics,
) -> Result<Option<Hub>, StartError> {
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
    Ok(Some(Hub::new(Parts {
        node: node.clone(),
        region: config.node.region.clone(),
        mode: config.worker_mode.clone(),
        keeping,
        store: store(url, file, node),
        peers: Arc::new(PeerStores(inside)),
        desk: desk.clone(),
        services: services.beside(built_in),
        api,
        watcher: Arc::new(Counting(metrics)),
        webhooks,
    })))
}

fn webhooks(config: &Config) -> Result<Option<Webhooks>, StartError> {
    let Some(wanted) = &config.tasks.webhooks else {
        return Ok(None);
    };
    let client = translate::outgoing_client()?;
    let webhooks = Webhooks::new(client, &wanted.key, wanted.hosts.clone());
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
    fn store(&self, owner: &NodeName) -> Result<Arc<dyn Store>, StoreError> {
        match &self.0 {
            Some(inside) => Ok(Arc::new(Remote::new(owner.clone(), Arc::clone(inside)))),
            None => Err(StoreError::OwnerAway {
                node: owner.to_string(),
                detail: "this node has no mesh".to_owned(),
            }),
        }
    }
}

/// Counts for metrics.
struct Counting(TaskMetrics);

impl Watcher for Counting {
    fn enqueued(&self, service: &ServiceKey, took: Duration) {
        self.0.enqueued(service.as_str(), took);
    }

    fn began_again(&self, service: &ServiceKey) {
        self.0.began_again(service.as_str());
    }

    fn ended(&self, service: &ServiceKey, how: &'static str, took: Duration) {
        self.0.ended(service.as_str(), how, took);
    }

    fn counted(&self, counts: &BTreeMap<ServiceKeyText, Counts>) {
        let counts = counts.iter().map(|(service, counts)| {
            let states = [
                ("waiting", counts.waiting),
                ("delayed", counts.delayed),
                ("running", counts.running),
                ("dead", counts.dead),
            ];
            (service.0.to_string(), states)
        });
        self.0.counted(counts);
    }

    fn swept(&self, swept: Swept) {
        self.0.lost(swept.lost + swept.dead);
    }
}
