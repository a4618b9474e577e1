//! Taking leases: from the own store and, where each node keeps its own tasks, from peers that publish some.
//!
//! Own tasks come first, but for every fourth time, so that a full queue here starves nobody elsewhere. Of
//! peers the nearest comes first, but for those times, when each is the first in turn. Within a store accounts
//! take turns, see [`Store::lease`].

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{NodeName, ServiceKey};
use tokio::sync::watch;

use super::behalf::Behalf;
use super::hub::{Hub, Keeping};
use super::pace::jittered;
use super::store::{Lease, LeaseAsk, Store, StoreError, is_permitted};
use super::task::Task;

/// Peers asked in one round, the nearest.
const PEERS_MAX: usize = 8;

/// Every so many rounds begin with peers.
const PEERS_FIRST: u32 = 4;

/// A pause after peers that published tasks had none for us: others were faster, or nearer.
const PEER_PAUSE: Duration = Duration::from_millis(200);

/// A lease, the task it is on, and the store that gave it.
pub struct Taken {
    /// Where it is kept.
    pub store: Arc<dyn Store>,
    /// The right to report on it.
    pub lease: Lease,
    /// The task.
    pub task: Task,
}

/// Takes leases for one worker.
pub struct Taker {
    hub: Hub,
    views: watch::Receiver<()>,
    round: u32,
    /// Peers published tasks in the last round, and gave none.
    in_vain: bool,
}

impl Taker {
    /// Takes from the stores of `hub`.
    pub fn new(hub: Hub) -> Self {
        Self {
            views: hub.driver().changes(),
            hub,
            round: 0,
            in_vain: false,
        }
    }

    /// Leases for `ask`; empty when nothing waits.
    ///
    /// # Errors
    /// When the own store cannot be used and no peer gave anything.
    pub async fn take(&mut self, ask: &LeaseAsk) -> Result<Vec<Taken>, StoreError> {
        self.views.mark_unchanged();
        self.round = self.round.wrapping_add(1);
        let mut taken = Vec::new();
        let mut own = Ok(());
        if self.round.is_multiple_of(PEERS_FIRST) {
            self.take_from_peers(ask, &mut taken).await;
            own = self.take_own(ask, &mut taken).await;
        } else {
            own = own.and(self.take_own(ask, &mut taken).await);
            self.take_from_peers(ask, &mut taken).await;
        }
        match own {
            Err(error) if taken.is_empty() => Err(error),
            _ => Ok(taken),
        }
    }

    /// Returns when a task of `service` may wait, at the latest after `at_most`.
    pub async fn wait(&mut self, service: &ServiceKey, at_most: Duration) {
        let store = Arc::clone(self.hub.store());
        tokio::select! {
            () = store.wait(service, at_most) => {}
            () = self.peers_have_tasks(service) => {}
        }
    }

    async fn take_own(&self, ask: &LeaseAsk, taken: &mut Vec<Taken>) -> Result<(), StoreError> {
        let before = taken.len();
        let result = take(self.hub.store(), ask, taken).await;
        if taken.len() > before {
            self.hub.store_changed().notify_one();
        }
        result
    }

    async fn take_from_peers(&mut self, ask: &LeaseAsk, taken: &mut Vec<Taken>) {
        let before = taken.len();
        let mut peers = self.peers(&ask.service.0);
        if self.round.is_multiple_of(PEERS_FIRST) && !peers.is_empty() {
            // Each peer is the first in its turn, so that no near one's full queue starves those behind it.
            let turn = (self.round / PEERS_FIRST) as usize % peers.len();
            peers.rotate_left(turn);
        }
        for peer in peers.iter().take(PEERS_MAX) {
            if taken.len() >= ask.max {
                break;
            }
            if let Err(error) = self.take_from(peer, ask, taken).await {
                tracing::debug!(%error, peer.name = %peer, "a peer gave no tasks");
            }
        }
        self.in_vain = !peers.is_empty() && taken.len() == before;
    }

    /// Takes what `peer` lends, as far as it is what was asked for.
    async fn take_from(
        &self,
        peer: &NodeName,
        ask: &LeaseAsk,
        taken: &mut Vec<Taken>,
    ) -> Result<(), StoreError> {
        let mut lent = Vec::new();
        let max = ask.max.saturating_sub(taken.len());
        let ask = LeaseAsk {
            max,
            suspects: may_be_suspect(ask, taken),
            ..ask.clone()
        };
        take(&self.hub.store_at(peer, Behalf::Node)?, &ask, &mut lent).await?;
        for taken_there in lent.into_iter().take(max) {
            let (lease, task) = (taken_there.lease, taken_there.task);
            if !is_what_was_asked(peer, &ask, &lease, &task) {
                tracing::warn!(peer.name = %peer, "a peer lent a task that was not requested: it is left there");
                continue;
            }
            // From here on this node acts as the task's worker.
            let store = self.hub.store_at(peer, Behalf::Worker(lease.id.clone()))?;
            taken.push(Taken { store, lease, task });
        }
        Ok(())
    }

    /// Live peers with waiting tasks of `service`, the nearest first.
    fn peers(&self, service: &ServiceKey) -> Vec<NodeName> {
        if self.hub.keeping() == Keeping::Shared {
            return Vec::new();
        }
        let view = self.hub.driver().view();
        let has_some = |services: &grapevine_core::fact::ServicesFact| {
            services
                .waiting
                .get(service)
                .is_some_and(|count| *count > 0)
        };
        let peers = view.nodes.iter().filter(|node| {
            node.name != view.node && node.live && node.services.as_deref().is_some_and(has_some)
        });
        let mut peers: Vec<_> = peers
            .map(|node| (node.rtt.unwrap_or(Duration::MAX), node.name.clone()))
            .collect();
        peers.sort();
        peers.into_iter().map(|(_, name)| name).collect()
    }

    async fn peers_have_tasks(&mut self, service: &ServiceKey) {
        if self.in_vain {
            tokio::time::sleep(jittered(PEER_PAUSE)).await;
            if !self.peers(service).is_empty() {
                return;
            }
        }
        loop {
            if self.views.changed().await.is_err() {
                // The driver is gone, and the node with it in a moment.
                std::future::pending::<()>().await;
            }
            if !self.peers(service).is_empty() {
                return;
            }
        }
    }
}

/// Whether a peer lends one of its own tasks, of the service that was asked for, where it may be seen.
fn is_what_was_asked(peer: &NodeName, ask: &LeaseAsk, lease: &Lease, task: &Task) -> bool {
    lease.id == task.new.id
        && lease.id.owner().as_ref() == Some(peer)
        && lease.service == ask.service
        && task.new.service == ask.service
        && is_permitted(&task.new.regions, &ask.region.0)
}

/// Whether another may be suspect: one is over all stores.
fn may_be_suspect(ask: &LeaseAsk, taken: &[Taken]) -> bool {
    ask.suspects && !taken.iter().any(|taken| taken.task.is_suspect())
}

async fn take(
    store: &Arc<dyn Store>,
    ask: &LeaseAsk,
    taken: &mut Vec<Taken>,
) -> Result<(), StoreError> {
    let max = ask.max.saturating_sub(taken.len());
    if max == 0 {
        return Ok(());
    }
    let ask = LeaseAsk {
        max,
        suspects: may_be_suspect(ask, taken),
        ..ask.clone()
    };
    let leases = store.lease(&ask).await?;
    taken.extend(leases.into_iter().map(|(lease, task)| Taken {
        store: Arc::clone(store),
        lease,
        task,
    }));
    Ok(())
}
