//! What tests of background work are made of.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::clock::Clock;
use grapevine_base::driver::{Driver, DriverHandle};
use grapevine_base::exchange::{CallApi, OwnAnswer, OwnRequest};
use grapevine_config::checked::Concurrency;
use grapevine_core::Engine;
use grapevine_core::engine::{Event, Identity, Via};
use grapevine_core::fact::{Fact, NodeFact, Phase, Public, ServicesFact};
use grapevine_core::ids::{Generation, NodeName, Stamp};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use crate::batch::AsyncTasks;
use crate::behalf::Behalf;
use crate::cancel_notifier::CancelNotifier;
use crate::hub::{Hub, HubParts, Keeping, ReachStores, ServiceRegistry};
use crate::id::{Id, Kind};
use crate::service::Service;
use crate::store::sql::SqlStore;
use crate::store::{FileRecord, Store, StoreError};
use crate::task::{CheckedText, NewTask, RegionText, Submitter, Task, TaskPriority, Timestamp};
use crate::watch::Watcher;
use crate::workflow::Workflows;

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node that keeps what tests make.
pub(crate) fn owner() -> NodeName {
    NodeName::new("owner").expect("a name")
}

/// A store in a file that goes with this.
pub(crate) struct Scratch {
    pub(crate) store: Arc<dyn Store>,
    folder: PathBuf,
}

impl Scratch {
    pub(crate) async fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("grapevine-unit-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let store = SqlStore::sqlite(&folder.join("tasks.db")).await;
        Self {
            store: Arc::new(store.expect("a store")),
            folder,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn regions(names: &[&str]) -> Vec<RegionText> {
    let name = |name: &&str| CheckedText(name.parse().expect("a name"));
    names.iter().map(name).collect()
}

/// A task of `service` that the holder of `key` brought.
pub(crate) fn task(kind: Kind, service: &str, key: Option<&str>, payload: Value) -> NewTask {
    NewTask {
        id: Id::new(kind, Some(&owner())),
        service: CheckedText(service.parse().expect("a key")),
        payload,
        priority: TaskPriority::default(),
        attempts_max: 1,
        delay: Duration::ZERO,
        expires_after: None,
        idempotency_key: None,
        submitter: Submitter {
            key: key.map(Arc::from),
            ..Submitter::default()
        },
        regions: Vec::new(),
    }
}

/// Keeps a file of one piece.
pub(crate) async fn file(
    store: &dyn Store,
    id: Id,
    purpose: &str,
    key: Option<&str>,
    regions: Vec<RegionText>,
) -> Id {
    let content = Bytes::from_static(b"{}\n");
    let record = FileRecord {
        id: id.clone(),
        filename: "a.jsonl".to_owned(),
        purpose: purpose.to_owned(),
        key: key.map(str::to_owned),
        account: String::new(),
        regions,
        bytes: content.len() as u64,
        created_at: Timestamp::now(),
        expires_at: None,
    };
    store.put_piece(&id, 0, content).await.expect("a piece");
    store.complete_file(record).await.expect("a file");
    id
}

/// What comes with the program.
pub(crate) fn services() -> ServiceRegistry {
    let built_in: [Arc<dyn Service>; 2] =
        [Arc::new(AsyncTasks::new(1)), Arc::new(Workflows::new(None))];
    ServiceRegistry::new(built_in)
}

/// Records the paths that are called, and answers each with an empty object.
#[derive(Default)]
pub(crate) struct Api(Mutex<Vec<String>>);

impl Api {
    pub(crate) fn called(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl CallApi for Api {
    async fn call(&self, request: OwnRequest) -> OwnAnswer {
        let mut called = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        called.push(request.path.to_string());
        OwnAnswer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Full::new(Bytes::from_static(b"{}"))
                .map_err(|never| match never {})
                .boxed_unsync(),
        }
    }
}

/// Knows no peer.
struct Alone;

impl ReachStores for Alone {
    fn store(&self, owner: &NodeName, _: Behalf) -> Result<Arc<dyn Store>, StoreError> {
        Err(StoreError::OwnerAway {
            node: owner.to_string(),
            detail: "there is no mesh".to_owned(),
        })
    }
}

/// Observes nothing.
struct Nobody;

impl Watcher for Nobody {}

/// The view of a mesh of `owner` alone, in `sgp`. Needs a runtime.
pub(crate) fn driver() -> DriverHandle {
    let clock = Clock::start();
    let identity = Identity {
        node: owner(),
        generation: Generation(1),
        region: "sgp".parse().expect("a name"),
        place: None,
        protocol: 1,
        build: String::new(),
        serves_requests: false,
        public: Public::default(),
    };
    let (driver, handle, _) = Driver::new(Engine::new(clock.now(), identity), clock);
    tokio::spawn(driver.run());
    handle
}

/// Adds a live peer to the view of `driver`, as its signed values publish it.
pub(crate) async fn peer(driver: &DriverHandle, peer: &str, region: &str, serves: &[&str]) {
    let node = NodeName::new(peer).expect("a name");
    let mut members: BTreeSet<_> = driver
        .view()
        .nodes
        .iter()
        .map(|it| it.name.clone())
        .collect();
    members.insert(node.clone());
    members.remove(&owner());
    driver.send(Event::MembersChanged(members)).await;
    let serves = serves.iter().map(|key| key.parse().expect("a key"));
    let facts = [
        Fact::Node(NodeFact {
            region: region.parse().expect("a name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: Public::default(),
        }),
        Fact::Phase(Phase::Ready),
        Fact::Services(ServicesFact {
            serves: serves.collect(),
            ..ServicesFact::default()
        }),
    ];
    for (version, fact) in (1..).zip(facts) {
        driver
            .send(Event::FactReceived {
                node: node.clone(),
                stamp: Stamp {
                    generation: Generation(1),
                    version,
                },
                fact,
                via: Via::Gossip,
            })
            .await;
    }
    let is_known = || {
        let view = driver.view();
        let mut nodes = view.nodes.iter().filter(|it| it.name == node);
        nodes.any(|it| it.fact.is_some() && it.services.is_some() && it.live)
    };
    while !is_known() {
        tokio::task::yield_now().await;
    }
}

/// Where background work meets at `owner`, which serves everything. Needs a runtime.
pub(crate) fn hub(store: Arc<dyn Store>, api: Arc<Api>) -> Hub {
    Hub::new(HubParts {
        named: Arc::new(BTreeSet::new),
        quota: grapevine_core::quota::Quota::default(),
        node: owner(),
        region: "sgp".parse().expect("a name"),
        mode: "".parse().expect("a mode"),
        keeping: Keeping::Own,
        cancels: CancelNotifier::new(owner(), None),
        store,
        peers: Arc::new(Alone),
        driver: driver(),
        services: services(),
        api,
        watcher: Arc::new(Nobody),
        webhooks: None,
        concurrency: Concurrency::default(),
    })
}

/// The task once it has ended.
pub(crate) async fn ended(store: &dyn Store, id: &Id) -> Task {
    let wait = async {
        loop {
            let task = store.get(id).await.expect("a store").expect("a task");
            if task.state.is_final() {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("an end")
}
