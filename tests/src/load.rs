//! Many clients at once, and the outcome of each of their requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{Answer, chat_body, http, try_post};
use crate::node::Node;
use crate::wait::must;

/// The most requests one client sends, so that a forgotten load ends by itself.
const REQUESTS_PER_CLIENT_MAX: usize = 20_000;

/// The longest a load runs.
const LOAD_LIMIT: Duration = Duration::from_secs(400);

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was sent, from the start of the load.
    pub sent: Duration,
    /// When it was answered or failed, from the start of the load.
    pub ended: Duration,
    /// The HTTP status; 0 when no whole answer came.
    pub status: u16,
    /// `x-grapevine-node` of the answer, or the failure's text.
    pub node: String,
    /// `x-grapevine-upstream` of the answer.
    pub upstream: String,
    /// All headers of the answer; none when no whole answer came.
    pub headers: HeaderMap,
}

impl Sample {
    /// A header's value, or an empty text when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Clients that send one request after another until they are stopped.
#[derive(Debug)]
pub struct Load {
    start: Instant,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<Sample>>,
}

impl Load {
    /// Starts `clients` clients that send chat requests for `model` to a node, each on a connection of
    /// its own.
    pub fn start(node: &Node, clients: usize, model: &str) -> Self {
        Self::start_at(
            &format!("{}/chat/completions", node.base_url()),
            clients,
            &chat_body(model, "ping"),
        )
    }

    /// As [`Load::start`], posting `body` to `url`.
    pub fn start_at(url: &str, clients: usize, body: &Value) -> Self {
        let mut load = Self {
            start: Instant::now(),
            stop: Arc::new(AtomicBool::new(false)),
            clients: JoinSet::new(),
        };
        for _ in 0..clients {
            let (url, body, stop, start) = (
                url.to_string(),
                body.clone(),
                Arc::clone(&load.stop),
                load.start,
            );
            load.clients
                .spawn(async move { one_client(&url, &body, &stop, start).await });
        }
        load
    }

    /// The time since the load began, to compare with [`Sample::sent`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Lets every client finish its request, and returns all requests in the order they were sent.
    ///
    /// # Panics
    ///
    /// When a client panicked.
    pub async fn finish(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let mut samples = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            samples.extend(must("a client", client));
        }
        samples.sort_by_key(|sample| sample.sent);
        samples
    }
}

/// The requests that did not end in a 200, as texts to show.
#[must_use]
pub fn failures(samples: &[Sample]) -> Vec<String> {
    samples
        .iter()
        .filter(|sample| sample.status != 200)
        .map(|sample| format!("{sample:?}"))
        .collect()
}

async fn one_client(url: &str, body: &Value, stop: &AtomicBool, start: Instant) -> Vec<Sample> {
    let client = http();
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed)
        && samples.len() < REQUESTS_PER_CLIENT_MAX
        && start.elapsed() < LOAD_LIMIT
    {
        let sent = start.elapsed();
        let answer = try_post(&client, url, body).await;
        samples.push(sample(sent, start.elapsed(), answer));
    }
    samples
}

fn sample(sent: Duration, ended: Duration, answer: reqwest::Result<Answer>) -> Sample {
    match answer {
        Ok(answer) => Sample {
            sent,
            ended,
            status: answer.status,
            node: answer.header("x-grapevine-node").to_string(),
            upstream: answer.header("x-grapevine-upstream").to_string(),
            headers: answer.headers,
        },
        Err(error) => Sample {
            sent,
            ended,
            status: 0,
            node: format!("{error:?}"),
            upstream: String::new(),
            headers: HeaderMap::new(),
        },
    }
}
