//! Where a request of any client would go: a question that only the operator may ask.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;

/// Explains where a request would go, as JSON; an error names what is wrong with the question.
pub type Explain = Arc<dyn Fn(&ExplainQuery) -> Result<Value, String> + Send + Sync>;

/// The request to explain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The client's address, trusted as given.
    pub client: IpAddr,
    /// The model; none is a request without one.
    pub model: Option<String>,
    /// The name of the client's key.
    pub key: Option<String>,
    /// The id of the conversation.
    pub session: Option<String>,
    /// The region that the client prefers.
    pub prefer_region: Option<String>,
    /// The regions that the client allows, separated by commas.
    pub allow_regions: Option<String>,
    /// The client's dialect; none prefers no upstream for its own.
    pub dialect: Option<String>,
}

pub(super) async fn explain(
    State(admin): State<Admin>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Response {
    let explained = match query {
        Ok(Query(query)) => (admin.explain)(&query),
        Err(rejection) => Err(format!(
            "{}; ask for ?client=IP&model=NAME",
            rejection.body_text()
        )),
    };
    match explained {
        Ok(plan) => Json(plan).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}
