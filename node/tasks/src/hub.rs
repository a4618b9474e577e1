//! Where everything of background work meets: the own store, those of peers, the services, the API.
//!
//! In embedded mode each node keeps its own tasks, and an id names its owner: what is asked of another
//! node's task goes to that node. Where all nodes share an engine, every id is in the own store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallApi, TaskCaller};
use grapevine_config::checked::Concurrency;
use grapevine_core::ids::{NodeName, RegionName, ServiceKey};
use grapevine_core::mode::{Mode, SERVICES_MAX};
use grapevine_core::quota::Quota;
use grapevine_core::{handover, work};
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::admission;
use super::behalf::Behalf;
use super::cancel_notifier::CancelNotifier;
use super::id::{Id, Kind};
use super::refused::TaskRefused;
use super::service::{Service, ServicePolicy};
use super::store::{Added, Store, StoreError};
use super::task::{CheckedText, NewTask, RegionText, Submitter, Task, TaskPriority, TaskState};
use super::uploads::Uploads;
use super::watch::Watcher;
use super::workflow::Webhooks;

pub use super::services::ServiceRegistry;

/// The shared handle to background work. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    parts: Arc<HubParts>,
    store_changed: Arc<Notify>,
    /// The services that are published to the mesh.
    served: watch::Sender<BTreeSet<ServiceKey>>,
    uploads: Uploads,
    /// The only permit for suspect tasks.
    suspects: Arc<Semaphore>,
}

/// What a hub is made of.
pub struct HubParts {
    /// This node.
    pub node: NodeName,
    /// Its region.
    pub region: RegionName,
    /// What it serves.
    pub mode: Mode,
    /// Whether the store is this node's own or shared.
    pub keeping: Keeping,
    /// Where this node keeps what it accepts.
    pub store: Arc<dyn Store>,
    /// The stores of peers.
    pub peers: Arc<dyn ReachStores>,
    /// The view of the mesh.
    pub driver: DriverHandle,
    /// The services that this program knows, served here or not.
    pub services: ServiceRegistry,
    /// Makes API requests.
    pub api: Arc<dyn CallApi>,
    /// Sees what happens to tasks.
    pub watcher: Arc<dyn Watcher>,
    /// What signs webhooks; `None` where they are not configured.
    pub webhooks: Option<Webhooks>,
    /// Attempts that run here, and the way to those of peers.
    pub cancels: CancelNotifier,
    /// Tasks of each service that run at once here.
    pub concurrency: Concurrency,
    /// The services that the configuration and its keys name.
    pub named: ConfiguredServices,
    /// What the holder of one account may have.
    pub quota: Quota,
}

/// Returns the services that the configuration names now.
pub type ConfiguredServices = Arc<dyn Fn() -> BTreeSet<ServiceKey> + Send + Sync>;

/// Who uses a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// The node's own: ids name it, and peers ask it.
    Own,
    /// An engine that all nodes of the mesh use.
    Shared,
}

/// Finds the stores of peers.
pub trait ReachStores: Send + Sync + 'static {
    /// The store of `owner`, asked on this behalf, whose calls fail with [`StoreError::OwnerAway`] while it cannot be reached.
    ///
    /// # Errors
    /// The same error, where it can never be reached.
    fn store(&self, owner: &NodeName, behalf: Behalf) -> Result<Arc<dyn Store>, StoreError>;
}

/// A task to be added; what it leaves open follows the [policy](Hub::policy) of its service.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The input of the service.
    pub payload: Value,
    /// Its priority among the waiting tasks.
    pub priority: TaskPriority,
    /// Attempts in all; `None` leaves it to the service.
    pub attempts_max: Option<u32>,
    /// How long it waits before its first attempt.
    pub delay: Duration,
    /// How long after its acceptance it is given up.
    pub expires_after: Option<Duration>,
    /// A second task of the same service and holder of the same key with this key is the first one.
    pub idempotency_key: Option<String>,
    /// The regions that what it is made of permits, beside those of its submitter; empty permits all.
    pub within: Vec<RegionText>,
}

impl Hub {
    /// A hub of these parts.
    pub fn new(parts: HubParts) -> Self {
        let registered = parts.services.iter().map(|(key, _)| key);
        let served = work::served(&parts.mode, registered);
        Self {
            parts: Arc::new(parts),
            store_changed: Arc::default(),
            served: watch::Sender::new(served),
            uploads: Uploads::default(),
            suspects: Arc::new(Semaphore::new(1)),
        }
    }

    /// The only permit of this node, over all services, for a task that is [suspect](Task::is_suspect) of ending
    /// its workers; `None` while it is taken.
    pub fn suspect_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.suspects).try_acquire_owned().ok()
    }

    /// Notified whenever a task is added to the own store, or taken from it.
    pub fn store_changed(&self) -> &Arc<Notify> {
        &self.store_changed
    }

    /// The services that are published to the mesh.
    pub fn published(&self) -> watch::Receiver<BTreeSet<ServiceKey>> {
        self.served.subscribe()
    }

    /// Publishes that a worker beside this node serves `service`, where the mode permits it and there is room.
    pub fn publish(&self, service: &ServiceKey) {
        let is_new = |served: &mut BTreeSet<ServiceKey>| {
            served.len() < SERVICES_MAX
                && self.mode().serves(service)
                && served.insert(service.clone())
        };
        self.served.send_if_modified(is_new);
    }

    /// This node.
    pub fn node(&self) -> &NodeName {
        &self.parts.node
    }

    /// This node's region.
    pub fn region(&self) -> &RegionName {
        &self.parts.region
    }

    /// The view of the mesh.
    pub fn driver(&self) -> &DriverHandle {
        &self.parts.driver
    }

    /// What the node serves.
    pub fn mode(&self) -> &Mode {
        &self.parts.mode
    }

    /// Whether the own store is this node's alone or shared.
    pub fn keeping(&self) -> Keeping {
        self.parts.keeping
    }

    /// Makes API requests.
    pub fn api(&self) -> &Arc<dyn CallApi> {
        &self.parts.api
    }

    /// Sees what happens to tasks.
    pub fn watcher(&self) -> &Arc<dyn Watcher> {
        &self.parts.watcher
    }

    /// What signs webhooks; `None` where they are not configured.
    pub fn webhooks(&self) -> Option<&Webhooks> {
        self.parts.webhooks.as_ref()
    }

    /// Where this node keeps what it accepts.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// The store of a peer, asked on this behalf.
    ///
    /// # Errors
    /// [`StoreError::OwnerAway`] where there is no way to any peer; [`StoreError::Residency`] where the question may
    /// not go there.
    pub fn store_at(&self, owner: &NodeName, behalf: Behalf) -> Result<Arc<dyn Store>, StoreError> {
        let view = self.parts.driver.view();
        behalf.check_way(owner, handover::region_of(&view, owner))?;
        self.parts.peers.store(owner, behalf)
    }

    /// The store that keeps `id`: a task, a file, whatever it names; asked on this behalf, where it is a peer's.
    ///
    /// # Errors
    /// [`StoreError::OwnerAway`] when its owner is not known here; [`StoreError::Residency`] where the question may
    /// not go there.
    pub fn store_of(&self, id: &Id, behalf: Behalf) -> Result<Arc<dyn Store>, StoreError> {
        let Some(owner) = id.owner().filter(|owner| *owner != self.parts.node) else {
            return Ok(Arc::clone(&self.parts.store));
        };
        let view = self.parts.driver.view();
        if view.nodes.iter().any(|node| node.name == owner) {
            self.store_at(&owner, behalf)
        } else {
            Err(StoreError::OwnerAway {
                node: owner.to_string(),
                detail: "this node knows no node of that name".to_owned(),
            })
        }
    }

    /// Cancels a task of `store`, or asks its worker to, which is notified at once where it is a node that can be
    /// reached. Returns the task as it is then, `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn cancel(
        &self,
        store: &Arc<dyn Store>,
        id: &Id,
    ) -> Result<Option<Task>, StoreError> {
        let task = store.cancel(id).await?;
        // For another node's task its owner does the rest.
        if let Some(task) = task
            .as_ref()
            .filter(|_| Arc::ptr_eq(store, &self.parts.store))
        {
            self.parts.cancels.notify(task);
            // Nobody runs it: what its service does at its end is done here.
            if task.state == TaskState::Cancelled
                && let Some(service) = self.parts.services.get(&task.new.service.0)
            {
                service.settle(task, store.as_ref()).await?;
            }
        }
        Ok(task)
    }

    /// Attempts that run here, and the way to those of peers.
    pub fn cancels(&self) -> &CancelNotifier {
        &self.parts.cancels
    }

    /// The services that this program knows.
    pub fn services(&self) -> &ServiceRegistry {
        &self.parts.services
    }

    /// The services that this node runs, without those out of process.
    pub fn served(&self) -> impl Iterator<Item = (&ServiceKey, &Arc<dyn Service>)> {
        let mode = &self.parts.mode;
        self.parts
            .services
            .iter()
            .filter(|(key, _)| mode.serves(key))
    }

    /// How tasks of `service` are retried; the usual way where this program does not know it.
    pub fn policy(&self, service: &ServiceKey) -> ServicePolicy {
        let service = self.parts.services.get(service);
        service.map_or_else(ServicePolicy::default, |service| service.policy())
    }

    /// The services that this node's program and configuration name.
    pub fn named(&self) -> BTreeSet<ServiceKey> {
        let mut named = (self.parts.named)();
        named.extend(self.parts.services.iter().map(|(key, _)| key.clone()));
        named
    }

    /// What the holder of one account may have.
    pub fn quota(&self) -> &Quota {
        &self.parts.quota
    }

    /// Uploads that have not ended.
    pub(super) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// What is configured of how many tasks run at once here.
    pub fn limits(&self) -> &Concurrency {
        &self.parts.concurrency
    }

    /// Tasks of `service` that this node runs at once by itself; workers out of process are not counted.
    pub fn concurrency(&self, service: &ServiceKey) -> usize {
        let configured = self.parts.concurrency.of(service);
        configured
            .unwrap_or_else(|| self.policy(service).concurrency)
            .max(1)
    }

    /// A new name, with its owner where the store is the node's own.
    pub fn new_id(&self, kind: Kind) -> Id {
        match self.parts.keeping {
            Keeping::Own => Id::new(kind, Some(&self.parts.node)),
            Keeping::Shared => Id::new(kind, None),
        }
    }

    /// Accepts a task of `service` under `id`: it is durable when this returns. Returns the id of the task
    /// that is there now, an earlier one's where the idempotency key is known.
    ///
    /// # Errors
    /// See [`TaskRefused`]; nothing was accepted then.
    pub async fn add(
        &self,
        id: Id,
        service: &ServiceKey,
        draft: Draft,
        caller: &TaskCaller,
    ) -> Result<Id, TaskRefused> {
        self.add_to(self.parts.store.as_ref(), id, service, draft, caller)
            .await
    }

    /// The same, into the store that keeps what the task is about; the owner of `id` is to be that store's.
    ///
    /// # Errors
    /// See [`TaskRefused`]; nothing was accepted then.
    pub async fn add_to(
        &self,
        store: &dyn Store,
        id: Id,
        service: &ServiceKey,
        draft: Draft,
        caller: &TaskCaller,
    ) -> Result<Id, TaskRefused> {
        let began = tokio::time::Instant::now();
        let requested: Vec<_> = caller.regions.iter().cloned().map(CheckedText).collect();
        let regions = admission::both(&requested, &draft.within).ok_or_else(|| {
            let message = "no region is permitted both by the request and by what it names";
            TaskRefused::new("residency", message)
        })?;
        let holder = caller.key.as_deref().unwrap_or_default();
        let task = NewTask {
            id: id.clone(),
            service: CheckedText(service.clone()),
            payload: draft.payload,
            priority: draft.priority,
            attempts_max: draft
                .attempts_max
                .unwrap_or_else(|| self.policy(service).attempts_max)
                .clamp(1, admission::ATTEMPTS_MAX),
            delay: draft.delay,
            expires_after: draft.expires_after,
            // Equal keys of different clients are different keys.
            idempotency_key: draft.idempotency_key.map(|key| format!("{holder}/{key}")),
            submitter: Submitter::of(caller),
            regions,
        };
        admission::check(&self.parts.services, &task, store).await?;
        let added = store.add(task).await?;
        self.store_changed.notify_one();
        self.parts.watcher.enqueued(service, began.elapsed());
        Ok(match added {
            Added::New => id,
            Added::Same(id) => id,
        })
    }
}
