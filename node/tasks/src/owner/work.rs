//! What peers do as workers: they are lent tasks, and make what follows from those that they hold.

use std::time::Duration;

use bytes::Bytes;
use grapevine_core::handover;
use grapevine_core::ids::{NodeName, ServiceKey};

use super::super::admission;
use super::super::batch;
use super::super::behalf::{Behalf, RecordedClient};
use super::super::id::{Id, Kind};
use super::super::refused::TaskRefused;
use super::super::rights::refused;
use super::super::store::{
    Added, FileRecord, LEASES_MAX, Lease, LeaseAsk, StoreError, is_permitted,
};
use super::super::task::{CheckedText, NewTask, Task};
use super::super::workflow;
use super::TaskOwner;

/// The longest name of a worker in bytes.
const WORKER_BYTES_MAX: usize = 128;

/// Leases given to a peer at once: with the longest payloads they fill half of a message.
const LEASES_AT_ONCE: usize = LEASES_MAX / 2;

impl TaskOwner {
    /// Leases tasks to a peer, of services and for the region that the peer publishes, unless a nearer one is to
    /// have them first.
    pub(super) async fn lease(
        &self,
        peer: &NodeName,
        ask: LeaseAsk,
    ) -> Result<Vec<(Lease, Task)>, StoreError> {
        let (region, nearer) = {
            let view = self.hub.driver().view();
            let Some(region) = handover::runs_in(&view, &ask.service.0, peer) else {
                // It may be about to publish that.
                return Ok(Vec::new());
            };
            (region.clone(), handover::rank(&view, &ask.service.0, peer))
        };
        let hold = handover::hold(nearer);
        if !hold.is_zero()
            && self
                .waited(&ask.service.0)
                .await?
                .is_none_or(|waited| waited < hold)
        {
            return Ok(Vec::new());
        }
        let ask = LeaseAsk {
            worker: worker(peer, &ask.worker),
            region: CheckedText(region),
            max: ask.max.min(LEASES_AT_ONCE),
            ..ask
        };
        self.hub.store().lease(&ask).await
    }

    /// For how long tasks of `service` have been waiting here; `None` when there are none.
    async fn waited(&self, service: &ServiceKey) -> Result<Option<Duration>, StoreError> {
        let counts = self.hub.store().counts().await?;
        let waiting = counts.get(&CheckedText(service.clone()));
        let waiting = waiting.map_or(0, |counts| counts.waiting);
        Ok(self
            .queues()
            .seen(self.hub.driver().now(), service, waiting))
    }

    /// Takes a task of a peer: a client's batch, whose file is here, or the delivery of a run that it holds.
    pub(super) async fn add(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        task: NewTask,
    ) -> Result<Added, StoreError> {
        if task.id.owner().as_ref() != Some(self.hub.node()) {
            return refused("the task's id names another owner");
        }
        match behalf {
            Behalf::Client(client) => {
                self.check_batch(peer, behalf, client, &task).await?;
                self.check_quota(&task).await?;
            }
            Behalf::Worker(id) => self.check_delivery(peer, id, &task).await?,
            Behalf::Node => return refused("a node adds nothing of its own"),
        }
        if !is_permitted(&task.regions, self.hub.region()) {
            let (node, region) = (self.hub.node(), self.hub.region());
            let detail = format!(
                "it would be kept by {node} in {region}, which its data residency does not permit"
            );
            return Err(StoreError::Residency { detail });
        }
        let store = self.hub.store();
        let checked = admission::check(self.hub.services(), &task, store.as_ref()).await;
        checked.or_else(|error| match error {
            TaskRefused::Store(error) => Err(error),
            TaskRefused::Task(fault) => refused(fault.message),
        })?;
        let added = store.add(task).await?;
        self.hub.store_changed().notify_one();
        Ok(added)
    }

    /// Whether the task's submitter may have one more waiting here.
    async fn check_quota(&self, task: &NewTask) -> Result<(), StoreError> {
        let usage = self.hub.store().usage(&task.submitter.account()).await?;
        let quota = self.hub.quota();
        if let Err(over) = quota.admit_task(usage.waiting) {
            self.hub.watcher().refused(over);
            return refused(format!(
                "its client has {} tasks waiting at {} of at most {} (tasks.quota.waiting); send more when some have run",
                usage.waiting,
                self.hub.node(),
                quota.waiting
            ));
        }
        Ok(())
    }

    async fn check_batch(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        client: &RecordedClient,
        task: &NewTask,
    ) -> Result<(), StoreError> {
        let reader = self.client(peer, behalf).await?;
        let holder = client.key.as_deref();
        let prefix = format!("{}/", holder.unwrap_or_default());
        let key = task.idempotency_key.as_ref();
        let is_its_own = client.services.is_none()
            && task.submitter.key.as_deref() == holder
            && (holder.is_some() || reader.is_open)
            && key.is_none_or(|key| key.starts_with(&prefix));
        match task.id.kind() == Kind::Batch && is_its_own {
            true => Ok(()),
            false => refused("a client's batch is all that is kept for it at another node"),
        }
    }

    async fn check_delivery(
        &self,
        peer: &NodeName,
        id: &Id,
        task: &NewTask,
    ) -> Result<(), StoreError> {
        let run = self.lent(peer, id).await?;
        let is_its_end = workflow::is_delivery_of(task, id) && run.new.submitter == task.submitter;
        match is_its_end && task.service == run.new.service {
            true => Ok(()),
            false => refused("the worker of a run adds the delivery of its end, and nothing else"),
        }
    }

    /// Takes a piece of a file that the worker of `task` makes.
    pub(super) async fn put(
        &self,
        peer: &NodeName,
        task: &Id,
        file: &Id,
        number: u32,
        piece: Bytes,
    ) -> Result<(), StoreError> {
        self.lent(peer, task).await?;
        if !batch::is_output(task, file) {
            return refused("the worker of a batch writes its files, and no others");
        }
        self.hub.store().put_piece(file, number, piece).await
    }

    /// Makes a file visible that the worker of a batch wrote.
    pub(super) async fn complete(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        file: FileRecord,
    ) -> Result<(), StoreError> {
        let Behalf::Worker(id) = behalf else {
            return refused("only the worker of a task makes files at another node");
        };
        let task = self.lent(peer, id).await?.new;
        let is_the_batchs = batch::is_output(id, &file.id)
            && file.key.as_deref() == task.submitter.key.as_deref()
            && file.regions == task.regions;
        if !is_the_batchs {
            return refused("the worker of a batch writes its files, and no others");
        }
        // The peer does not decide which account's quota it counts to.
        let account = task.submitter.account();
        let file = FileRecord { account, ..file };
        self.hub.store().complete_file(file).await
    }
}

/// The name that a lease is held in: the peer's own, and behind it that of a program beside the peer.
fn worker(peer: &NodeName, called: &str) -> String {
    if called.is_empty() || called == peer.as_str() {
        return peer.to_string();
    }
    let mut worker = format!("{peer}/{called}");
    worker.truncate(worker.floor_char_boundary(WORKER_BYTES_MAX));
    worker
}
