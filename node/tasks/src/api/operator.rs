//! `/tasks` on the operator's port: everybody's tasks, without their payloads and outputs.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use grapevine_base::exchange::TaskCaller;
use grapevine_core::ids::NodeName;
use http::StatusCode;
use serde_json::{Value, json};

use super::ApiError;
use super::extract::Query;
use super::show::{self, Extent};
use super::tasks::{ListQuery, cancel_task, list_page, requeue_task};
use crate::hub::Hub;
use crate::id::Id;

/// The operator's routes, for the admin port, which decides who may call.
pub fn operator(hub: Hub) -> Router {
    Router::new()
        .route("/tasks", get(list))
        .route("/tasks/{id}", get(look))
        .route("/tasks/{id}/cancel", post(cancel))
        .route("/tasks/{id}/requeue", post(requeue))
        .with_state(hub)
}

async fn list(
    State(hub): State<Hub>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    check_here(&hub, query.node.as_deref())?;
    let counts = hub.store().counts().await?;
    let counts: BTreeMap<String, _> = counts
        .into_iter()
        .map(|(service, counts)| (service.0.to_string(), counts))
        .collect();
    let mut page = list_page(&hub, &TaskCaller::default(), query).await?;
    page["counts"] = json!(counts);
    let limits = hub.served();
    let limits = limits.map(|(service, _)| (service.to_string(), hub.concurrency(service)));
    page["concurrency"] = json!(limits.collect::<BTreeMap<_, _>>());
    Ok(Json(page))
}

/// Only a node's own operator sees what it keeps, at its own port: a peer could only claim to be that operator.
fn check_here(hub: &Hub, owner: Option<&str>) -> Result<(), ApiError> {
    match owner {
        Some(owner) if owner != hub.node().as_str() => {
            let message =
                format!("it is kept by node '{owner}'; ask at the admin port of that node");
            Err(ApiError::new(
                StatusCode::MISDIRECTED_REQUEST,
                "kept_elsewhere",
                message,
            ))
        }
        _ => Ok(()),
    }
}

fn check_kept_here(hub: &Hub, id: &str) -> Result<(), ApiError> {
    let owner = id.parse::<Id>().ok().and_then(|id| id.owner());
    check_here(hub, owner.as_ref().map(NodeName::as_str))
}

async fn look(State(hub): State<Hub>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    check_kept_here(&hub, &id)?;
    let (task, _) = show::find(&hub, &TaskCaller::default(), "task", &id).await?;
    Ok(Json(show::task(&task, Extent::State)))
}

async fn cancel(State(hub): State<Hub>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    check_kept_here(&hub, &id)?;
    let task = cancel_task(&hub, &TaskCaller::default(), &id).await?;
    Ok(Json(show::task(&task, Extent::State)))
}

async fn requeue(State(hub): State<Hub>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    check_kept_here(&hub, &id)?;
    let task = requeue_task(&hub, &TaskCaller::default(), &id).await?;
    Ok(Json(show::task(&task, Extent::State)))
}
