//! An honest client: an attack must not harm its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grapevine_tests::Node;
use grapevine_tests::client::{chat_body, http, whole};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::world::{FAR_MODEL, HONEST_KEY, MODEL};

/// The time between two of its requests.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest that one may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Requests before and after an attack.
const AROUND: usize = 10;

/// Longer than those take where nothing hangs.
const AROUND_LIMIT: Duration = Duration::from_secs(60);

/// Failures that are shown.
const SHOWN_MAX: usize = 3;

/// An honest client at work.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    count: watch::Receiver<usize>,
    client: JoinHandle<Seen>,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests that have ended.
    pub(crate) requests: usize,
    /// What those that failed were answered.
    pub(crate) failures: Vec<String>,
    /// The longest of them all.
    pub(crate) slowest: Duration,
}

impl Seen {
    /// How its service differed from that without an attack.
    pub(crate) fn problems(&self) -> Vec<String> {
        let failures = self.failures.iter().take(SHOWN_MAX);
        let mut problems: Vec<String> = failures
            .map(|failure| format!("an honest request failed: {failure}"))
            .collect();
        if self.requests < 2 * AROUND {
            problems.push(format!("only {} honest requests ended", self.requests));
        }
        if self.slowest > ANSWER_MAX {
            problems.push(format!("an honest request took {:?}", self.slowest));
        }
        problems
    }

    fn take(&mut self, took: Duration, failure: Option<String>) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        self.failures.extend(failure);
    }
}

impl Honest {
    /// Starts to ask `node`.
    pub(crate) fn start(node: &Node) -> Self {
        let url = format!("{}/chat/completions", node.base_url());
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let (counted, count) = watch::channel(0);
        let client = tokio::spawn(async move {
            let client = http();
            let mut seen = Seen::default();
            let mut turns = interval(INTERVAL);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_over.load(Ordering::Relaxed) {
                turns.tick().await;
                let model = [MODEL, FAR_MODEL][seen.requests % 2];
                let began = Instant::now();
                let request = client.post(&url).bearer_auth(HONEST_KEY);
                let failure = match whole(request.json(&chat_body(model, "hello"))).await {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some(format!("{} {}", answer.status, answer.text())),
                    Err(error) => Some(format!("{error:?}")),
                };
                seen.take(began.elapsed(), failure);
                counted.send_replace(seen.requests);
            }
            seen
        });
        Self {
            stop,
            count,
            client,
        }
    }

    /// Waits until some more of its requests have ended.
    pub(crate) async fn until_served(&mut self) {
        let wanted = *self.count.borrow() + AROUND;
        let served = self.count.wait_for(|count| *count >= wanted);
        // One that hangs is seen in what `finish` returns.
        let _ = timeout(AROUND_LIMIT, served).await;
    }

    /// Lets its last request end.
    pub(crate) async fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.client.await.unwrap_or_default()
    }
}
