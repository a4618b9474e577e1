//! The public API of background work, one module for each part of it.
//!
//! The public listener authenticates the [`TaskCaller`](grapevine_base::exchange::TaskCaller), which every request
//! carries as an extension, and adds its own headers to the answer. A caller with a key sees what holders of this
//! key submitted; where no keys are needed, everyone sees everything.

mod batches;
mod error;
pub mod extract;
mod files;
mod form;
mod operator;
mod quota;
mod responses;
mod show;
mod tasks;
mod workers;
mod workflows;

use axum::Router;
use axum::extract::Request;
use http::{Method, StatusCode};

use super::hub::Hub;

pub use error::ApiError;
pub use operator::operator;

/// Everything there is, as one router.
pub fn router(hub: Hub) -> Router {
    let parts = [
        batches::router(),
        files::router(),
        responses::router(),
        tasks::router(),
        workers::router(),
        workflows::routes(),
    ];
    let all = parts.into_iter().fold(Router::new(), Router::merge);
    all.method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .with_state(hub)
}

async fn unknown_path(request: Request) -> ApiError {
    let message = format!("nothing is served at '{}'", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "unknown_path", message)
}

async fn wrong_method(method: Method) -> ApiError {
    let message = format!("this path does not take {method}");
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
