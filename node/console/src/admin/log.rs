//! The level of the log, shown and changed while the node runs.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use grapevine_config::is_log_filter;
use grapevine_observe::log;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    level: String,
}

pub(super) async fn show() -> Json<Value> {
    Json(json!({ "level": log::level() }))
}

/// Holds until the node ends, until it is called again, or until `log.level` changes in the file.
pub(super) async fn set(Json(wanted): Json<Wanted>) -> Response {
    let level = wanted.level.trim();
    if !is_log_filter(level) || log::set_level(level).is_err() {
        let error = "level: use error, warn, info, debug, trace, off, or a list of TARGET=LEVEL";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    }
    info!(level, "log level set");
    show().await.into_response()
}
