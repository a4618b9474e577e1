//! The operator's port: the mesh as this node sees it, the last requests, metrics, readiness, drain.
//!
//! Off the request path; everything is built from the published view on demand.
//!
//! [`dashboard`] is the page at `/`, [`live`] the event stream it reads.

mod authorize;
mod browsers;
mod dashboard;
mod explain;
mod keys;
mod limits;
mod live;
mod log;
mod mesh;
mod serve;
mod serving;
mod summary;
mod switch;
mod usage;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use grapevine_core::connection::Patience;
use grapevine_core::mode::Mode;
use live::Live;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::info;

use grapevine_base::clock;
use grapevine_base::driver::DriverHandle;
use grapevine_base::families::Form;
use grapevine_base::limits::LimitsHandle;
use grapevine_base::listener::ConnectionTable;
use grapevine_base::listener::metrics::Listener;
use grapevine_base::readiness::Readiness;
use grapevine_config::Secret;
use grapevine_keys::rights::ClientKey;
use grapevine_observe::history::{History, REQUESTS_MAX};
use grapevine_observe::losses::Losses;
use grapevine_observe::metrics::Metrics;
use grapevine_observe::pulse::Pulse;

pub use authorize::TokenGuard;
pub use explain::{Explain, ExplainQuery};
pub use keys::{StatementsRefused, TakeStatements, key_to_json};
pub use switch::ReloadAsk;
pub use usage::ShowUsage;

/// Requests listed when the caller gives no number.
const REQUESTS_DEFAULT: usize = 50;

/// What the operator's port shows and does.
#[derive(Clone)]
pub struct Admin {
    /// The view.
    pub driver: DriverHandle,
    /// The last requests.
    pub history: History,
    /// The last minutes in numbers.
    pub pulse: Pulse,
    /// The metrics.
    pub metrics: Metrics,
    /// Whether the node is ready, and why not.
    pub readiness: Readiness,
    /// What has been lost so far.
    pub losses: Arc<dyn Fn() -> Losses + Send + Sync>,
    /// The configuration with its secrets hidden.
    pub config: Arc<dyn Fn() -> Arc<Value> + Send + Sync>,
    /// Explains where a request would go.
    pub explain: Explain,
    /// Begins to drain the node when set.
    pub drain: watch::Sender<bool>,
    /// Reads the configuration again.
    pub reload: mpsc::Sender<ReloadAsk>,
    /// Shows and changes background work.
    pub tasks: Router,
    /// The bearer token that requests must carry.
    pub token: Option<Secret>,
    /// The record of wrong tokens.
    pub guard: TokenGuard,
    /// How long to wait for requests.
    pub patience: Patience,
    /// Concurrent connections; when all slots are taken, idle ones are closed.
    pub connections_max: usize,
    /// Which requests and which background work the node serves.
    pub mode: Mode,
    /// The keys in force, and who takes statements about them.
    pub keys: Arc<dyn TakeStatements>,
    /// The keys of the file.
    pub filed_keys: Arc<dyn Fn() -> Vec<Arc<ClientKey>> + Send + Sync>,
    /// Sums what was used.
    pub usage: Arc<dyn ShowUsage>,
    /// The limits of keys.
    pub limits: LimitsHandle,
}

/// The operator's port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "admin.listen: cannot listen on {address}: {source}; choose another with --admin-listen, or stop what listens there"
)]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Admin {
    /// Opens the port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
        TcpListener::bind(address)
            .await
            .map_err(|source| AdminError { address, source })
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let (max, patience) = (self.connections_max, self.patience);
        let table = ConnectionTable::new(max, self.metrics.connections().of(Listener::Admin, max));
        let open = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
            .merge(dashboard::router());
        let live = Live::new(self.clone());
        let closed = Router::new()
            .route("/mesh", get(mesh))
            .route("/live", get(live::watch).with_state(live.clone()))
            .route("/requests", get(requests))
            .route("/metrics", get(metrics))
            .route("/config", get(config))
            .route("/explain", get(explain::explain))
            .route("/drain", post(drain))
            .route("/reload", post(switch::reload))
            .route("/upstreams/{name}/disable", post(switch::disable))
            .route("/upstreams/{name}/enable", post(switch::enable))
            .route("/keys", get(keys::show))
            .route("/keys/statements", post(keys::take))
            .route("/usage", get(usage::show))
            .route("/log", get(log::show).put(log::set))
            .route("/serving", get(serving::requests))
            .route("/serving/{key}", get(serving::service))
            .with_state(self.clone())
            .merge(self.tasks.clone())
            .route_layer(from_fn_with_state(self, authorize::authorize));
        let router = open.merge(closed).fallback(not_found);
        tokio::select! {
            never = serve::serve(&listener, router, &table, patience) => never,
            never = live.run() => never,
        }
    }
}

async fn healthz() -> &'static str {
    "ok"
}

/// Everybody sees whether the node is ready, with codes; only the operator sees the details.
async fn readyz(State(admin): State<Admin>, request: Request) -> Response {
    let view = admin.driver.view().clone();
    let (is_ready, body) = if authorize::is_operator(&admin, &request) {
        let reasons = admin.readiness.reasons(&view);
        (reasons.is_ready(), reasons.to_json())
    } else {
        let summary = admin.readiness.summary(&view);
        (summary.is_ready, summary.body.clone())
    };
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(body)).into_response()
}

async fn mesh(State(admin): State<Admin>) -> Json<Value> {
    let now = admin.driver.now();
    let mut json = mesh::to_json(&admin.driver.view(), &admin.mode, now);
    let losses = (admin.losses)();
    json["gossip_quarantined"] = losses.quarantined_to_json();
    mesh::add_credentials(&mut json, &losses.credentials);
    summary::add_configured(&mut json, &(admin.config)());
    json["limits"] = limits::to_json(&admin.limits, now);
    for (key, value) in admin.readiness.files().to_json(clock::wall()) {
        json[key] = value;
    }
    Json(json)
}

#[derive(Deserialize)]
struct RequestsQuery {
    limit: Option<usize>,
}

async fn requests(State(admin): State<Admin>, Query(query): Query<RequestsQuery>) -> Json<Value> {
    let limit = query.limit.unwrap_or(REQUESTS_DEFAULT).min(REQUESTS_MAX);
    let last = admin.history.last(limit);
    let requests: Vec<Value> = last.iter().map(|record| record.to_json()).collect();
    Json(json!({ "requests": requests }))
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT);
    let form = Form::for_scraper(accepted.and_then(|value| value.to_str().ok()));
    let losses = (admin.losses)();
    let text = admin.metrics.scrape(&admin.driver.view(), &losses, form);
    ([(header::CONTENT_TYPE, form.content_type())], text).into_response()
}

async fn config(State(admin): State<Admin>) -> Json<Value> {
    Json(Value::clone(&(admin.config)()))
}

async fn drain(State(admin): State<Admin>) -> Response {
    info!("drain begun by the operator");
    admin.drain.send_replace(true);
    (StatusCode::ACCEPTED, Json(json!({"draining": true}))).into_response()
}

async fn not_found() -> Response {
    let error = "try / (the dashboard), /mesh, /live, /requests, /tasks, /metrics, /config, /explain, /log, \
                 /keys, /usage, /serving, /healthz, /readyz, or POST /drain, /reload, \
                 /upstreams/NAME/disable, /upstreams/NAME/enable";
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}
