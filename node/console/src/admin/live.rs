//! `GET /live`: the mesh and the requests as they change, as server-sent events.
//!
//! One task renders each snapshot of the mesh for all watchers, and none while nobody watches. It does so
//! twice a second, and at once after a health transition. A slow watcher gets the newest snapshot when it
//! is ready for it: nothing piles up. The list of requests is per watcher, since each has seen different
//! ones.
//!
//! Bounds: [`WATCHERS_MAX`] watchers, two events waiting for each, and 640 KiB in an event of either
//! kind, which `snapshot` ensures by cutting lists.

mod snapshot;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use futures_util::stream;
use grapevine_core::view::View;
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::Admin;

/// Watchers at most; further ones get 503.
pub(super) const WATCHERS_MAX: usize = 32;

/// The pause between two snapshots while no health changes.
const PAUSE: Duration = Duration::from_millis(500);

/// The same where the mesh has over [`LARGE`] nodes.
const PAUSE_LARGE: Duration = Duration::from_secs(2);

/// A mesh with more nodes than this is large.
const LARGE: usize = 200;

/// The shortest pause, so that flapping health does not flood watchers.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// What all watchers share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Live(Arc<Shared>);

struct Shared {
    admin: Admin,
    pictures: watch::Sender<Bytes>,
    arrived: Notify,
    seats: Arc<Semaphore>,
}

/// One watcher.
struct Watcher {
    live: Live,
    pictures: watch::Receiver<Bytes>,
    /// Events made and not yet sent: at most two.
    events: VecDeque<Bytes>,
    /// Requests that were shown, or skipped because they were too many.
    seen: u64,
    _seat: OwnedSemaphorePermit,
}

impl Live {
    pub(super) fn new(admin: Admin) -> Self {
        Self(Arc::new(Shared {
            admin,
            pictures: watch::Sender::new(Bytes::new()),
            arrived: Notify::new(),
            seats: Arc::new(Semaphore::new(WATCHERS_MAX)),
        }))
    }

    /// Renders snapshots while somebody watches.
    pub(super) async fn run(self) -> Infallible {
        let Shared {
            admin,
            pictures,
            arrived,
            ..
        } = &*self.0;
        let mut changes = admin.driver.changes();
        loop {
            if pictures.receiver_count() == 0 {
                arrived.notified().await;
            }
            let view = admin.driver.view().clone();
            pictures.send_replace(self.picture(&view));
            let drawn_at = Instant::now();
            let pause = match view.nodes.len() > LARGE {
                true => PAUSE_LARGE,
                false => PAUSE,
            };
            tokio::select! {
                () = sleep_until(drawn_at + pause) => {}
                () = health_changes(admin, &mut changes, health(&view)) => {
                    sleep_until(drawn_at + PAUSE_MIN).await;
                }
            }
        }
    }

    fn picture(&self, view: &View) -> Bytes {
        event("mesh", &snapshot::picture(&self.0.admin, view))
    }

    /// The event of the requests after the first `seen`, if there are any, and their total.
    fn requests(&self, seen: u64) -> (Option<Bytes>, u64) {
        let history = &self.0.admin.history;
        let (records, total) = history.since(seen, snapshot::REQUESTS_MAX);
        let shown =
            (!records.is_empty()).then(|| event("requests", &snapshot::requests(&records, total)));
        (shown, total)
    }
}

impl Watcher {
    /// The next event, when it is time for it.
    async fn next(&mut self) -> Option<Bytes> {
        while self.events.is_empty() {
            // The sender is in the shared part that this watcher holds.
            self.pictures.changed().await.ok()?;
            let picture = self.pictures.borrow_and_update().clone();
            self.queue(picture);
        }
        self.events.pop_front()
    }

    fn queue(&mut self, picture: Bytes) {
        let (requests, seen) = self.live.requests(self.seen);
        self.seen = seen;
        self.events.push_back(picture);
        self.events.extend(requests);
    }
}

/// Starts a watch: a snapshot at once, then one after the other.
pub(super) async fn watch(State(live): State<Live>) -> Response {
    let Ok(seat) = Arc::clone(&live.0.seats).try_acquire_owned() else {
        return refusal();
    };
    let mut watcher = Watcher {
        pictures: live.0.pictures.subscribe(),
        events: VecDeque::new(),
        seen: 0,
        live: live.clone(),
        _seat: seat,
    };
    let picture = live.picture(&live.0.admin.driver.view());
    watcher.queue(picture);
    live.0.arrived.notify_one();
    let events = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

fn refusal() -> Response {
    let error = format!(
        "{WATCHERS_MAX} watch already, which is the most (WATCHERS_MAX); close a dashboard, or ask /mesh"
    );
    let retry = [(header::RETRY_AFTER, "5")];
    (
        StatusCode::SERVICE_UNAVAILABLE,
        retry,
        Json(json!({"error": error})),
    )
        .into_response()
}

/// Returns when the health of something differs from `shown`.
async fn health_changes(admin: &Admin, changes: &mut watch::Receiver<()>, shown: u64) {
    // An error means that the driver has ended: the node is shutting down.
    while changes.changed().await.is_ok() {
        if health(&admin.driver.view()) != shown {
            return;
        }
    }
    std::future::pending().await
}

/// A hash of the health of all nodes, links and upstreams.
fn health(view: &View) -> u64 {
    let mut hasher = DefaultHasher::new();
    for node in &view.nodes {
        (&node.name, node.live, node.reach as u8, node.phase.as_str()).hash(&mut hasher);
        for upstream in &node.upstreams {
            let standing = upstream.fact.standing;
            (&upstream.fact.name, standing.as_str(), standing.reason()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn event(name: &str, data: &Value) -> Bytes {
    // JSON has no line break of its own in it, which would end the event's line.
    format!("event: {name}\ndata: {data}\n\n").into()
}
