//! `/serving`: what the node serves, for programs that share its machine.
//!
//! The same answers as the program's `App::serving`, by the node's mode alone, whether or not a
//! program that does the work is running.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use grapevine_core::ids::ServiceKey;
use serde_json::json;

use super::Admin;

/// Whether the node answers API requests.
pub(super) async fn requests(State(admin): State<Admin>) -> Response {
    answer(admin.mode.serves_requests())
}

/// Whether the node runs tasks of a service.
pub(super) async fn service(State(admin): State<Admin>, Path(key): Path<String>) -> Response {
    match ServiceKey::new(&key) {
        Ok(key) => answer(admin.mode.serves(&key)),
        Err(error) => {
            let error =
                format!("{key:?} is no service key: it {error}; name one as in workflow:process");
            (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
        }
    }
}

fn answer(serving: bool) -> Response {
    Json(json!({"serving": serving})).into_response()
}
