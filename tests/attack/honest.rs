//! The client whose requests an attack must not harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grapevine_tests::Node;
use grapevine_tests::client::{chat_body, http, whole};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::world::{HONEST_KEY, MODEL};

/// The time between two of its requests.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest that one may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// An honest client at work.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Seen>,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests that have ended.
    pub(crate) requests: usize,
    /// What the others were told.
    pub(crate) failures: Vec<String>,
    /// The longest of them all.
    pub(crate) slowest: Duration,
}

impl Seen {
    /// Whether it was served as if there were no attack.
    pub(crate) fn holds(&self) -> bool {
        self.requests > 0 && self.failures.is_empty() && self.slowest <= ANSWER_MAX
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
        let client = tokio::spawn(async move {
            let (client, body) = (http(), chat_body(MODEL, "hello"));
            let mut seen = Seen::default();
            let mut turns = interval(INTERVAL);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_over.load(Ordering::Relaxed) {
                turns.tick().await;
                let began = Instant::now();
                let request = client.post(&url).bearer_auth(HONEST_KEY).json(&body);
                let failure = match whole(request).await {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some(format!("{} {}", answer.status, answer.text())),
                    Err(error) => Some(error.to_string()),
                };
                seen.take(began.elapsed(), failure);
            }
            seen
        });
        Self { stop, client }
    }

    /// Lets its last request end.
    pub(crate) async fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.client.await.unwrap_or_default()
    }
}
