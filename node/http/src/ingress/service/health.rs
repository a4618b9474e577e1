//! The paths by which balancers learn whether the node is alive and ready.

use grapevine_base::exchange::{CallLocal, CallPeer};
use http::{Method, StatusCode};
use serde_json::json;

use super::super::Context;

/// The answer to a health check; `None` for every other path.
pub(super) fn health_check<L: CallLocal, P: CallPeer>(
    context: &Context<L, P>,
    method: &Method,
    path: &str,
) -> Option<(StatusCode, serde_json::Value)> {
    let is_read = method == Method::GET || method == Method::HEAD;
    match path {
        "/healthz" | "/health/liveliness" if is_read => {
            Some((StatusCode::OK, json!({"status": "alive"})))
        }
        "/readyz" | "/health/readiness" if is_read => {
            let summary = context.readiness.summary(&context.driver.view());
            let status = match summary.is_ready {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            Some((status, summary.body.clone()))
        }
        _ => None,
    }
}
