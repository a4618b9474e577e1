//! Runs the services that this node serves, and sweeps its store.
//!
//! One loop for each service takes as many leases as there are free slots and waits for the next reason to
//! look: a slot that becomes free, a task that is added, a peer that publishes one. A store that cannot be
//! used is asked again after a growing, jittered pause.
//!
//! A task that was lost with its worker twice in a row is suspect: it may be why. A node runs one of these at a
//! time, over all of its services, so that one that ends its worker ends no other suspect with it, counts alone,
//! and is a dead letter after two more deaths at most. Other tasks run beside it: if they had to wait, one slow
//! suspect would stop all work of the node. What is lost with it in those deaths is lost for the first time,
//! and not held against it.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::vital::Vital;
use grapevine_core::ids::ServiceKey;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::attempt::{Attempt, Stage};
use super::hub::Hub;
use super::pace::jittered;
use super::service::{Service, ServicePolicy};
use super::settling::Settling;
use super::store::{LEASES_MAX, LeaseAsk, PATIENCE};
use super::taking::Taker;
use super::task::CheckedText;

/// How long a loop with free slots waits for a reason to look at most: delayed tasks become due too.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// The first pause after a store that could not be used; doubles up to `PAUSE_MAX`.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Between two sweeps, jittered.
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest and the longest lease.
const LEASE_MIN: Duration = Duration::from_secs(1);
const LEASE_MAX: Duration = Duration::from_secs(3_600);

/// How tasks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerSettings {
    /// How long ended tasks and files are kept.
    pub retention: Duration,
}

/// What runs.
pub struct Runner {
    stage: watch::Sender<Stage>,
    loops: JoinSet<()>,
}

impl Runner {
    /// Starts on the current runtime.
    pub fn start(hub: &Hub, settings: RunnerSettings, vital: &Vital) -> Self {
        let stage = watch::Sender::new(Stage::Running);
        let mut loops = JoinSet::new();
        warn_of_unknown(hub);
        for (key, service) in hub.served() {
            let mut policy = service.policy();
            policy.lease = policy.lease.clamp(LEASE_MIN, LEASE_MAX);
            policy.concurrency = hub.concurrency(key);
            let serving = Loop {
                hub: hub.clone(),
                key: key.clone(),
                service: Arc::clone(service),
                policy,
                stage: stage.subscribe(),
            };
            loops.spawn(vital.keep("task runner", serving.run()));
        }
        let sweep = sweep(hub.clone(), settings.retention, stage.subscribe());
        loops.spawn(vital.keep("task sweeper", sweep));
        Self { stage, loops }
    }

    /// Takes no more tasks, lets running ones end for at most `limit`, and then gives them back.
    pub async fn stop(mut self, limit: Duration) {
        self.stage.send_replace(Stage::Draining);
        if timeout(limit, join(&mut self.loops)).await.is_ok() {
            return;
        }
        info!("running tasks are given back");
        self.stage.send_replace(Stage::Ending);
        // An attempt that cannot report this loses its lease when it runs out.
        let _ = timeout(PATIENCE, join(&mut self.loops)).await;
    }
}

/// A limit for a service that this program does not know limits nothing: it is misspelled, or of workers out of
/// process, which take as many tasks as they ask for.
fn warn_of_unknown(hub: &Hub) {
    for key in hub.limits().services.keys() {
        if hub.services().get(key).is_none() {
            warn!(
                task.service = %key,
                "tasks.concurrency names a service that is not in this program: it limits nothing"
            );
        }
    }
}

async fn join(loops: &mut JoinSet<()>) {
    while loops.join_next().await.is_some() {}
}

/// Serves one service.
struct Loop {
    hub: Hub,
    key: ServiceKey,
    service: Arc<dyn Service>,
    policy: ServicePolicy,
    stage: watch::Receiver<Stage>,
}

impl Loop {
    async fn run(mut self) {
        let mut taker = Taker::new(self.hub.clone());
        let mut attempts = JoinSet::new();
        let mut pause = PAUSE;
        while *self.stage.borrow() == Stage::Running {
            while attempts.try_join_next().is_some() {}
            let free = self.policy.concurrency - attempts.len();
            if free == 0 {
                tokio::select! {
                    _ = attempts.join_next() => {}
                    _ = self.stage.changed() => {}
                }
                continue;
            }
            let leased_at = Instant::now();
            let mut permit = self.hub.suspect_permit();
            let ask = LeaseAsk {
                service: CheckedText(self.key.clone()),
                worker: self.hub.node().to_string(),
                region: CheckedText(self.hub.region().clone()),
                span: self.policy.lease,
                max: free.min(LEASES_MAX),
                suspects: permit.is_some(),
            };
            match taker.take(&ask).await {
                Ok(taken) if taken.is_empty() => {
                    drop(permit);
                    tokio::select! {
                        () = taker.wait(&self.key, IDLE_MAX) => {}
                        _ = self.stage.changed() => {}
                    }
                }
                Ok(taken) => {
                    pause = PAUSE;
                    for taken in taken {
                        let alone = match taken.task.is_suspect() {
                            true => permit.take(),
                            false => None,
                        };
                        attempts.spawn(
                            Attempt {
                                alone,
                                hub: self.hub.clone(),
                                service: Arc::clone(&self.service),
                                policy: self.policy,
                                taken,
                                leased_at,
                                stage: self.stage.clone(),
                            }
                            .run(),
                        );
                    }
                }
                Err(error) => {
                    drop(permit);
                    warn!(task.service = %self.key, %error, "no tasks can be taken");
                    tokio::select! {
                        () = sleep(jittered(pause)) => {}
                        _ = self.stage.changed() => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        drop(taker);
        while attempts.join_next().await.is_some() {}
    }
}

/// Takes back what was lost and removes what is old, until the node drains.
async fn sweep(hub: Hub, retention: Duration, mut stage: watch::Receiver<Stage>) {
    let mut pause = SWEEP_INTERVAL;
    let mut settling = Settling::new(hub.clone());
    loop {
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            _ = stage.wait_for(|stage| *stage != Stage::Running) => return,
        }
        match hub.store().sweep(retention).await {
            Ok(swept) => {
                pause = SWEEP_INTERVAL;
                hub.watcher().swept(&swept);
                if let Ok(counts) = hub.store().counts().await {
                    hub.watcher().counted(&counts);
                }
                if swept.lost + swept.dead > 0 {
                    info!(
                        tasks.lost = swept.lost,
                        tasks.dead = swept.dead,
                        "leases ran out: their tasks wait again, or are dead letters"
                    );
                }
                settling.settle(swept.ended).await;
            }
            Err(error) => {
                warn!(%error, "the task store cannot be swept");
                pause = (pause * 2).min(SWEEP_INTERVAL * 8);
            }
        }
    }
}
