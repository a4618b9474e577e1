//! What hostile peers with a valid certificate get of what a node keeps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::exchange::{CallFailure, CallInside, InsideCall, ServeInside};
use grapevine_core::ids::NodeName;
use http::StatusCode;
use serde_json::json;

use super::support::{Api, Scratch, file, hub, owner, peer, regions, task};
use crate::behalf::{Behalf, RecordedClient};
use crate::cancel_notifier::CancelNotifier;
use crate::id::{Id, Kind};
use crate::inside::InsideHandler;
use crate::owner::TaskOwner;
use crate::remote::Remote;
use crate::store::{
    End, FileRecord, Lease, LeaseAsk, LeaseHold, Note, Store, StoreError, TaskQuery,
};
use crate::task::{CheckedText, NewTask, TaskState, Timestamp};

const SERVICE: &str = "a:x";

/// Hands what `peer` calls to the owner.
struct Wire {
    peer: NodeName,
    owner: TaskOwner,
}

#[async_trait]
impl CallInside for Wire {
    async fn call(
        &self,
        _: &NodeName,
        call: InsideCall,
    ) -> Result<(StatusCode, Bytes), CallFailure> {
        let path = call.path.as_str();
        Ok(self.owner.serve(&self.peer, path, call.body).await)
    }
}

/// A node in `sgp` that keeps tasks and needs keys; `near` is in `sgp` too, `far` in `eur`; both serve `a:x`.
struct Mesh {
    scratch: Scratch,
    owner: TaskOwner,
}

impl Mesh {
    async fn new() -> Self {
        let scratch = Scratch::new().await;
        let hub = hub(Arc::clone(&scratch.store), Arc::new(Api::default()));
        peer(hub.driver(), "near", "sgp", &[SERVICE]).await;
        peer(hub.driver(), "far", "eur", &[SERVICE]).await;
        Self {
            owner: TaskOwner::new(hub, Arc::default()),
            scratch,
        }
    }

    fn store(&self) -> &dyn Store {
        self.scratch.store.as_ref()
    }

    fn at(&self, peer: &str, behalf: Behalf) -> Remote {
        let wire = Wire {
            peer: peer.parse().expect("a name"),
            owner: self.owner.clone(),
        };
        Remote::new(owner(), Arc::new(wire), behalf)
    }

    async fn keep(&self, key: &str, fence: &[&str]) -> Id {
        let mut task = task(Kind::Task, SERVICE, Some(key), json!({"secret": key}));
        task.regions = regions(fence);
        self.store().add(task.clone()).await.expect("a task");
        task.id
    }

    async fn lend(&self, peer: &str) -> Vec<(Lease, Id)> {
        let lent = self.at(peer, Behalf::Node).lease(&ask(SERVICE)).await;
        let lent = lent.expect("an answer").into_iter();
        lent.map(|(lease, task)| (lease, task.new.id)).collect()
    }

    /// The one task that is lent to `near` once nobody nearer took it.
    async fn lend_near(&self) -> (Lease, Id) {
        loop {
            let mut lent = self.lend("near").await;
            match lent.pop() {
                Some(one) if lent.is_empty() => return one,
                Some(_) => panic!("more than one"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Asks as if it came from `sgp`, wherever it comes from.
fn ask(service: &str) -> LeaseAsk {
    LeaseAsk {
        service: CheckedText(service.parse().expect("a key")),
        worker: String::new(),
        region: CheckedText("sgp".parse().expect("a name")),
        span: Duration::from_secs(60),
        max: 8,
        suspects: true,
    }
}

fn client(key: &str) -> Behalf {
    Behalf::Client(RecordedClient {
        key: Some(key.to_owned()),
        ..RecordedClient::default()
    })
}

fn is_refused<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused { .. }))
}

fn is_fenced<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Residency { .. }))
}

#[tokio::test]
async fn peer_is_lent_tasks_of_its_own_region_and_services_whatever_it_claims() {
    let mesh = Mesh::new().await;
    let fenced = mesh.keep("app", &["sgp"]).await;
    let other = task(Kind::Task, "b:y", Some("app"), json!(null));
    mesh.store().add(other).await.expect("a task");
    assert_eq!(mesh.lend("far").await, [], "it claims to be in sgp");
    assert_eq!(mesh.lend("stranger").await, [], "nothing is known of it");
    let unserved = mesh.at("near", Behalf::Node).lease(&ask("b:y")).await;
    assert_eq!(unserved.expect("an answer").len(), 0);
    assert_eq!(mesh.lend_near().await.1, fenced);
}

#[tokio::test]
async fn only_the_peer_that_runs_a_task_reports_on_it() {
    let mesh = Mesh::new().await;
    let id = mesh.keep("app", &[]).await;
    let (lease, _) = mesh.lend_near().await;
    let note = [Note {
        number: 0,
        content: Bytes::from_static(b"x"),
    }];
    let end = || End::Completed(json!("forged"));
    for (peer, behalf) in [
        ("far", Behalf::Worker(id.clone())),
        ("far", Behalf::Node),
        ("far", client("app")),
        ("near", client("app")),
        ("near", Behalf::Worker(Id::new(Kind::Task, Some(&owner())))),
    ] {
        let remote = mesh.at(peer, behalf);
        let span = Duration::from_secs(60);
        assert_eq!(remote.renew(&lease, span, None).await, Ok(LeaseHold::Lost));
        assert_eq!(remote.save(&lease, &note).await, Ok(LeaseHold::Lost));
        assert_eq!(remote.finish(&lease, end()).await, Ok(LeaseHold::Lost));
    }
    let stranger = mesh.at("far", Behalf::Worker(id.clone()));
    assert!(
        is_refused(stranger.get(&id).await),
        "nor reads as its worker"
    );
    let worker = mesh.at("near", Behalf::Worker(id.clone()));
    assert_eq!(worker.save(&lease, &note).await, Ok(LeaseHold::Kept));
    assert!(worker.get(&id).await.expect("an answer").is_some());
    assert_eq!(worker.finish(&lease, end()).await, Ok(LeaseHold::Kept));
    assert!(
        is_refused(worker.get(&id).await),
        "once it has ended it is not its worker"
    );
}

#[tokio::test]
async fn task_and_file_are_seen_by_the_holder_of_their_key_within_their_regions() {
    let mesh = Mesh::new().await;
    let fenced = mesh.keep("app", &["sgp"]).await;
    let name = Id::new(Kind::File, Some(&owner()));
    let kept = file(mesh.store(), name, "batch", Some("app"), regions(&["sgp"])).await;
    let near = mesh.at("near", client("app"));
    assert!(near.get(&fenced).await.expect("an answer").is_some());
    assert!(near.file(&kept).await.expect("an answer").is_some());
    assert!(near.piece(&kept, 0).await.expect("an answer").is_some());
    let nobody = Behalf::Client(RecordedClient::default());
    for behalf in [client("other"), nobody] {
        let other = mesh.at("near", behalf);
        assert_eq!(other.get(&fenced).await, Ok(None));
        assert_eq!(other.cancel(&fenced).await, Ok(None));
        assert_eq!(other.requeue(&fenced).await, Ok(None));
        assert_eq!(other.file(&kept).await, Ok(None));
        assert_eq!(other.piece(&kept, 0).await, Ok(None));
        assert_eq!(other.delete_file(&kept).await, Ok(false));
        assert_eq!(other.notes(&fenced, 0).await, Ok(Vec::new()));
    }
    let far = mesh.at("far", client("app"));
    assert!(is_fenced(far.get(&fenced).await));
    assert!(is_fenced(far.cancel(&fenced).await));
    assert!(is_fenced(far.requeue(&fenced).await));
    assert!(is_fenced(far.notes(&fenced, 0).await));
    assert!(is_fenced(far.file(&kept).await));
    assert!(is_fenced(far.piece(&kept, 0).await));
    assert!(is_fenced(far.delete_file(&kept).await));
    assert!(is_refused(mesh.at("near", Behalf::Node).get(&fenced).await));
    let task = mesh.store().get(&fenced).await.expect("a store");
    assert_eq!(
        task.expect("a task").state,
        TaskState::Waiting,
        "nobody cancelled it"
    );
}

#[tokio::test]
async fn request_is_not_asked_about_where_it_may_not_be_known() {
    let mesh = Mesh::new().await;
    let id = mesh.keep("app", &[]).await;
    let fenced = |region| {
        Behalf::Client(RecordedClient {
            key: Some("app".to_owned()),
            regions: regions(&[region]),
            ..RecordedClient::default()
        })
    };
    assert!(is_fenced(mesh.at("far", fenced("eur")).get(&id).await));
    assert!(mesh.at("far", fenced("sgp")).get(&id).await.is_ok());
    // The node that it came to sees that before it asks.
    let region = "sgp".parse().expect("a name");
    assert!(is_fenced(fenced("eur").check_way(&owner(), Some(&region))));
    assert!(is_fenced(fenced("eur").check_way(&owner(), None)));
    assert_eq!(fenced("sgp").check_way(&owner(), Some(&region)), Ok(()));
}

#[tokio::test]
async fn list_is_of_one_key_without_contents_and_within_regions() {
    let mesh = Mesh::new().await;
    let fenced = mesh.keep("app", &["sgp"]).await;
    let free = mesh.keep("app", &[]).await;
    mesh.keep("other", &[]).await;
    let query = TaskQuery {
        max: 10,
        ..TaskQuery::default()
    };
    let listed = |peer, behalf| {
        let remote = mesh.at(peer, behalf);
        let query = query.clone();
        async move { remote.list(&query).await }
    };
    let near = listed("near", client("app")).await.expect("tasks");
    let ids: BTreeSet<Id> = near.iter().map(|task| task.new.id.clone()).collect();
    assert_eq!(ids, BTreeSet::from([fenced, free.clone()]));
    assert!(near.iter().all(|task| task.new.payload.is_null()));
    let far = listed("far", client("app")).await.expect("tasks");
    assert_eq!(far.len(), 1);
    assert_eq!(far[0].new.id, free);
    assert!(is_refused(
        listed("near", Behalf::Client(RecordedClient::default())).await
    ));
    assert!(is_refused(listed("near", Behalf::Node).await));
    // A worker's key lists tasks of the services that its node serves.
    let services = |service: &str| {
        let services = BTreeSet::from([CheckedText(service.parse().expect("a key"))]);
        Behalf::Client(RecordedClient {
            services: Some(services),
            ..RecordedClient::default()
        })
    };
    assert!(is_refused(listed("near", services("b:y")).await));
    let of = TaskQuery {
        service: Some(CheckedText(SERVICE.parse().expect("a key"))),
        ..query.clone()
    };
    let worker = mesh.at("far", services(SERVICE)).list(&of).await;
    assert_eq!(
        worker.expect("tasks").len(),
        2,
        "whatever the key, but not the fenced one"
    );
}

#[tokio::test]
async fn client_without_a_key_sees_everything_only_while_the_owner_needs_none() {
    let scratch = Scratch::new().await;
    let hub = hub(Arc::clone(&scratch.store), Arc::new(Api::default()));
    peer(hub.driver(), "near", "sgp", &[SERVICE]).await;
    let is_open = Arc::new(AtomicBool::new(true));
    let mesh = Mesh {
        owner: TaskOwner::new(hub, Arc::clone(&is_open)),
        scratch,
    };
    let keyed = mesh.keep("app", &[]).await;
    let nobody = mesh.at("near", Behalf::Client(RecordedClient::default()));
    assert!(nobody.get(&keyed).await.expect("an answer").is_some());
    // As a reload of the configuration does.
    is_open.store(false, Ordering::Relaxed);
    assert_eq!(nobody.get(&keyed).await, Ok(None));
}

#[tokio::test]
async fn worker_writes_the_files_of_its_task_and_no_others() {
    let mesh = Mesh::new().await;
    let id = mesh.keep("app", &[]).await;
    mesh.lend_near().await;
    let output = id.derived(Kind::File, "output");
    let record = |id: &Id, key: &str| FileRecord {
        account: format!("key {key}"),
        id: id.clone(),
        filename: "a".to_owned(),
        purpose: "batch_output".to_owned(),
        key: Some(key.to_owned()),
        regions: Vec::new(),
        bytes: 1,
        created_at: Timestamp::now(),
        expires_at: None,
    };
    let piece = Bytes::from_static(b"x");
    let worker = mesh.at("near", Behalf::Worker(id.clone()));
    let foreign = Id::new(Kind::File, Some(&owner()));
    assert!(is_refused(
        worker.put_piece(&foreign, 0, piece.clone()).await
    ));
    assert!(is_refused(
        worker.complete_file(record(&foreign, "app")).await
    ));
    assert!(is_refused(
        worker.complete_file(record(&output, "other")).await
    ));
    for behalf in [client("app"), Behalf::Node] {
        let other = mesh.at("near", behalf);
        assert!(is_refused(other.put_piece(&output, 0, piece.clone()).await));
        assert!(is_refused(
            other.complete_file(record(&output, "app")).await
        ));
    }
    let stranger = mesh.at("far", Behalf::Worker(id));
    assert!(is_refused(
        stranger.put_piece(&output, 0, piece.clone()).await
    ));
    assert_eq!(worker.put_piece(&output, 0, piece).await, Ok(()));
    assert_eq!(worker.complete_file(record(&output, "app")).await, Ok(()));
}

#[tokio::test]
async fn peer_adds_a_clients_batch_of_its_file_and_nothing_else() {
    let mesh = Mesh::new().await;
    let name = Id::new(Kind::File, Some(&owner()));
    let input = file(mesh.store(), name, "batch", Some("app"), Vec::new()).await;
    let batch = |key: &str, endpoint: &str| {
        let payload = json!({
            "job": "batch", "input_file_id": input, "endpoint": endpoint, "completion_window": "24h",
            "window_seconds": 86_400, "metadata": null,
        });
        task(Kind::Batch, "async-task:process", Some(key), payload)
    };
    let good = || batch("app", "/v1/embeddings");
    let near = mesh.at("near", client("app"));
    assert!(near.add(good()).await.is_ok());
    let elsewhere = NodeName::new("elsewhere").expect("a name");
    let refused = [
        batch("app", "/admin/delete"),
        batch("other", "/v1/embeddings"),
        task(Kind::Task, SERVICE, Some("app"), json!(null)),
        NewTask {
            id: Id::new(Kind::Batch, Some(&elsewhere)),
            ..good()
        },
        NewTask {
            idempotency_key: Some("other/once".to_owned()),
            ..good()
        },
    ];
    for task in refused {
        assert!(is_refused(near.add(task.clone()).await), "{task:?}");
    }
    let fenced = NewTask {
        regions: regions(&["eur"]),
        ..good()
    };
    assert!(is_fenced(near.add(fenced).await), "it would be kept in sgp");
    assert!(is_refused(mesh.at("near", Behalf::Node).add(good()).await));
    let other = mesh.at("near", client("other"));
    let foreign = other.add(batch("other", "/v1/embeddings")).await;
    assert!(is_refused(foreign), "the file is of another key");
}

#[tokio::test(start_paused = true)]
async fn only_the_owner_of_a_task_notifies_its_worker() {
    let notifier = CancelNotifier::new("worker".parse().expect("a name"), None);
    let handler = InsideHandler {
        cancels: notifier.clone(),
        owner: None,
    };
    let id = Id::new(Kind::Task, Some(&owner()));
    let listening = notifier.listen(&id);
    let is_notified = async |peer: &str| {
        let peer = peer.parse().expect("a name");
        handler
            .serve(&peer, &format!("/tasks/nudge/{id}"), Bytes::new())
            .await;
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, listening.notified())
            .await
            .is_ok()
    };
    assert!(!is_notified("far").await);
    assert!(is_notified("owner").await);
}
