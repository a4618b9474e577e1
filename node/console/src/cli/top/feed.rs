//! Asks the admin port every second, on a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

use grapevine_base::causes;
use grapevine_base::page::MeshPage;
use grapevine_core::outcome::RequestEnd;
use reqwest::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::super::admin_port::{AdminPort, AskError, client, runtime};
use super::super::records::{RequestEntry, RequestsPage};

/// How often the port is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Requests that are asked for: more than a screen has lines.
const REQUESTS: &str = "200";

/// Updates that wait to be drawn; while the queue is full, the port is not asked.
const UPDATES_MAX: usize = 4;

/// The largest page of metrics that is looked through, in lines.
const METRIC_LINES_MAX: usize = 200_000;

/// The port's answers at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) mesh: MeshPage,
    /// The newest first.
    pub(super) requests: Vec<RequestEntry>,
    pub(super) counts: TopCounts,
}

/// Counts since the node's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopCounts {
    /// Requests that ended at the node.
    pub(super) requests: u64,
    /// Those of them that failed: with a 5xx, or broken off by an upstream or a node.
    pub(super) failed: u64,
    /// Attempts by their upstream's owner and name.
    pub(super) attempts: BTreeMap<(String, String), u64>,
}

/// Something to show.
#[derive(Clone, Debug)]
pub(super) enum FeedUpdate {
    /// The port's answers.
    Page(Box<Page>),
    /// It did not answer, with the reason.
    Silence(String),
    /// A signal asks the program to end.
    End,
}

/// Updates as they arrive, until it is dropped.
#[derive(Debug)]
pub(super) struct Feed(std::cell::RefCell<mpsc::Receiver<FeedUpdate>>);

impl Feed {
    /// Begins to ask `port`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(port: AdminPort) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(UPDATES_MAX);
        thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || ask_on(&port, &sender))?;
        Ok(Self(receiver.into()))
    }

    /// The next update, if there is one; `End` when the asking has ended.
    pub(super) fn poll(&self) -> Option<FeedUpdate> {
        match self.0.borrow_mut().try_recv() {
            Ok(update) => Some(update),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(FeedUpdate::End),
        }
    }
}

/// The current answers of `port`.
///
/// # Errors
/// When it does not answer, or not as a node does.
pub(super) fn first(port: &AdminPort) -> Result<Page, AskError> {
    runtime()?.block_on(ask(port, &client()?))
}

fn ask_on(port: &AdminPort, sender: &mpsc::Sender<FeedUpdate>) {
    let ready = runtime().and_then(|runtime| Ok((runtime, client()?)));
    let (runtime, client) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            // The receiver may be gone.
            let _ = sender.try_send(FeedUpdate::Silence(causes::joined(&error)));
            return;
        }
    };
    runtime.block_on(async {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        let Ok(mut interrupt) = signal(SignalKind::interrupt()) else {
            return;
        };
        loop {
            let update = tokio::select! {
                update = after_a_while(port, &client) => update,
                _ = terminate.recv() => FeedUpdate::End,
                _ = interrupt.recv() => FeedUpdate::End,
            };
            if sender.send(update).await.is_err() {
                return;
            }
        }
    });
}

async fn after_a_while(port: &AdminPort, client: &Client) -> FeedUpdate {
    tokio::time::sleep(INTERVAL).await;
    match ask(port, client).await {
        Ok(page) => FeedUpdate::Page(Box::new(page)),
        Err(error) => FeedUpdate::Silence(causes::joined(&error)),
    }
}

async fn ask(port: &AdminPort, client: &Client) -> Result<Page, AskError> {
    let mesh: MeshPage = port.read(&port.fetch(client, "/mesh", &[]).await?)?;
    let requests = port
        .fetch(client, "/requests", &[("limit", REQUESTS)])
        .await?;
    let requests: RequestsPage = port.read(&requests)?;
    let metrics = port.fetch(client, "/metrics", &[]).await?;
    Ok(Page {
        mesh,
        requests: requests.requests,
        counts: counts(&String::from_utf8_lossy(&metrics)),
    })
}

/// The counts in a page of metrics; absent ones are zero.
pub(super) fn counts(text: &str) -> TopCounts {
    let mut counts = TopCounts::default();
    for line in text.lines().take(METRIC_LINES_MAX) {
        let Some((labels, value)) = line.split_once("} ") else {
            continue;
        };
        let value = value
            .split(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or(0.0);
        // Counts are whole and far below what a float holds exactly.
        let value = value as u64;
        if let Some(labels) = labels.strip_prefix("grapevine_requests_ended_total{") {
            counts.requests = counts.requests.saturating_add(value);
            if label(labels, "end").is_some_and(is_failed) {
                counts.failed = counts.failed.saturating_add(value);
            }
        } else if let Some(labels) = labels.strip_prefix("grapevine_attempts_total{")
            && let (Some(node), Some(upstream)) = (label(labels, "node"), label(labels, "upstream"))
        {
            let count = counts
                .attempts
                .entry((node.to_owned(), upstream.to_owned()))
                .or_default();
            *count = count.saturating_add(value);
        }
    }
    counts
}

fn is_failed(end: &str) -> bool {
    let ends = RequestEnd::ALL.into_iter();
    ends.filter(|it| it.is_failed())
        .any(|it| it.as_str() == end)
}

/// The value of a label; values hold no quotes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = labels;
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        if key.trim_start_matches(',') == name {
            return Some(value);
        }
        rest = after;
    }
}
