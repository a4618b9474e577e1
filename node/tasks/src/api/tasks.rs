//! `/v1/tasks`: create, look, list, cancel, requeue.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use grapevine_base::exchange::TaskCaller;
use grapevine_core::ids::{NodeName, ServiceKey};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Body, DurationParam, Query, Who, service};
use super::show::{self, Extent};
use super::{ApiError, quota};
use crate::admission::ATTEMPTS_MAX;
use crate::behalf::Behalf;
use crate::hub::{Draft, Hub};
use crate::id::{Id, Kind};
use crate::store::{PAGE_MAX, TaskQuery};
use crate::task::{
    CheckedText, IDEMPOTENCY_KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, Task, TaskPriority, TaskState,
};

/// Tasks listed when the client does not say how many.
const LIST_DEFAULT: usize = 20;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The part of the router.
pub(super) fn router() -> Router<Hub> {
    Router::new()
        .route("/v1/tasks", post(create).get(list))
        .route("/v1/tasks/{id}", get(look))
        .route("/v1/tasks/{id}/cancel", post(cancel))
        .route("/v1/tasks/{id}/requeue", post(requeue))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    service: String,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    priority: i8,
    #[serde(default)]
    delay: DurationParam,
    expires_after: Option<DurationParam>,
    idempotency_key: Option<String>,
    max_attempts: Option<u32>,
}

async fn create(
    State(hub): State<Hub>,
    Extension(caller): Who,
    headers: HeaderMap,
    Body(wanted): Body<Create>,
) -> Result<Response, ApiError> {
    let service = service("service", &wanted.service)?;
    check_scope(&caller, &service)?;
    check_route(&hub, &service)?;
    quota::check_service(&hub, &caller, &service)?;
    let attempts_max = attempts_max(wanted.max_attempts)?;
    let length = serde_json::to_string(&wanted.payload).map_or(0, |text| text.len());
    if length > PAYLOAD_BYTES_MAX {
        let message = format!(
            "the payload has {length} bytes of at most {PAYLOAD_BYTES_MAX}; put what is longer into a file \
             (POST /v1/files) and name it in the payload"
        );
        return Err(ApiError {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..ApiError::invalid("payload", message)
        });
    }
    let draft = Draft {
        payload: wanted.payload,
        priority: TaskPriority(wanted.priority),
        attempts_max,
        delay: wanted.delay.0,
        expires_after: wanted.expires_after.map(|span| span.0),
        idempotency_key: idempotency_key(&headers, wanted.idempotency_key)?,
        within: Vec::new(),
    };
    quota::check_waiting(&hub, hub.store().as_ref(), &caller).await?;
    let id = hub
        .add(hub.new_id(Kind::Task), &service, draft, &caller)
        .await?;
    let answer = json!({
        "id": id.as_str(),
        "object": "task",
        "service": service.as_str(),
        "state": "waiting",
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Some services take only what their own routes make.
fn check_route(hub: &Hub, service: &ServiceKey) -> Result<(), ApiError> {
    let routes = hub.services().get(service);
    let Some(routes) = routes.and_then(|service| service.own_routes()) else {
        return Ok(());
    };
    let message = format!("'{service}' takes no tasks here; its tasks are made by {routes}");
    Err(ApiError::invalid("service", message))
}

/// Attempts as a client may ask for them.
pub(super) fn attempts_max(wanted: Option<u32>) -> Result<Option<u32>, ApiError> {
    if wanted.is_some_and(|count| !(1..=ATTEMPTS_MAX).contains(&count)) {
        let message = format!("max_attempts must be from 1 to {ATTEMPTS_MAX}");
        return Err(ApiError::invalid("max_attempts", message));
    }
    Ok(wanted)
}

/// A key that is for services may create tasks of these alone.
fn check_scope(caller: &TaskCaller, service: &ServiceKey) -> Result<(), ApiError> {
    match &caller.services {
        Some(services) if !services.contains(service) => {
            let message = format!("this API key is not for the service '{service}'");
            Err(ApiError::forbidden(message))
        }
        _ => Ok(()),
    }
}

/// The key of the header or of the body; both only when they agree.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    body: Option<String>,
) -> Result<Option<String>, ApiError> {
    let invalid = |message: &str| ApiError::invalid("idempotency_key", message);
    let header = headers.get(IDEMPOTENCY_KEY).map(|value| value.to_str());
    let header = header
        .transpose()
        .map_err(|_| invalid("header idempotency-key must be visible ASCII characters"))?;
    let key = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(invalid("the header and the body name two different keys"));
        }
        (Some(header), _) => Some(header.to_owned()),
        (None, body) => body,
    };
    // Half of what stores keep is reserved for the name of the client's own key.
    let max = IDEMPOTENCY_KEY_BYTES_MAX / 2;
    if key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > max)
    {
        return Err(invalid(&format!("the key must have 1 to {max} bytes")));
    }
    Ok(key)
}

async fn look(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (task, _) = show::find(&hub, &caller, "task", &id).await?;
    Ok(Json(show::task(&task, Extent::Whole)))
}

/// Which tasks to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    service: Option<String>,
    state: Option<TaskState>,
    /// The last id of the page before.
    after: Option<String>,
    limit: Option<usize>,
    /// The node whose store is listed, where each node keeps its own.
    pub(super) node: Option<String>,
}

async fn list(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    list_page(&hub, &caller, query).await.map(Json)
}

/// A page of tasks in OpenAI's shape of a list, the newest first, without their payloads and outputs.
pub(super) async fn list_page(
    hub: &Hub,
    caller: &TaskCaller,
    query: ListQuery,
) -> Result<Value, ApiError> {
    let service = query.service.as_deref();
    let service = service.map(|text| service_of(caller, text)).transpose()?;
    if caller.services.is_some() && service.is_none() {
        let message = "this API key is for services; name one of them";
        return Err(ApiError::invalid("service", message));
    }
    let max = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, PAGE_MAX);
    let before = query.after.as_deref().map(str::parse::<Id>).transpose();
    let before = before.map_err(|error| ApiError::invalid("after", format!("{error}")))?;
    let wanted = TaskQuery {
        key: match caller.services {
            Some(_) => None,
            None => caller.key.as_deref().map(str::to_owned),
        },
        service: service.map(CheckedText),
        state: query.state,
        region: Some(CheckedText(hub.region().clone())),
        before,
        max,
    };
    let store = match query.node.as_deref() {
        Some(name) if name != hub.node().as_str() => {
            let name = NodeName::new(name)
                .map_err(|error| ApiError::invalid("node", format!("'{name}' {error}")))?;
            hub.store_at(&name, Behalf::of(caller))?
        }
        _ => std::sync::Arc::clone(hub.store()),
    };
    let tasks = store.list(&wanted).await?;
    let data: Vec<Value> = tasks
        .iter()
        .map(|task| show::task(task, Extent::State))
        .collect();
    let id = |task: Option<&Task>| task.map(|task| task.new.id.clone());
    Ok(json!({
        "object": "list",
        "data": data,
        "first_id": id(tasks.first()),
        "last_id": id(tasks.last()),
        "has_more": tasks.len() == max,
    }))
}

fn service_of(caller: &TaskCaller, text: &str) -> Result<ServiceKey, ApiError> {
    let service = service("service", text)?;
    check_scope(caller, &service)?;
    Ok(service)
}

async fn cancel(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let task = cancel_task(&hub, &caller, &id).await?;
    Ok(Json(show::task(&task, Extent::State)))
}

async fn requeue(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let task = requeue_task(&hub, &caller, &id).await?;
    Ok(Json(show::task(&task, Extent::State)))
}

/// Cancels a task, or asks its worker to; one that ended already stays as it is.
pub(super) async fn cancel_task(
    hub: &Hub,
    caller: &TaskCaller,
    id: &str,
) -> Result<Task, ApiError> {
    let (task, store) = show::find(hub, caller, "task", id).await?;
    let missing = || ApiError::not_found("task", id);
    hub.cancel(&store, &task.new.id).await?.ok_or_else(missing)
}

/// Requeues a task that ended without success.
pub(super) async fn requeue_task(
    hub: &Hub,
    caller: &TaskCaller,
    id: &str,
) -> Result<Task, ApiError> {
    let (task, store) = show::find(hub, caller, "task", id).await?;
    let missing = || ApiError::not_found("task", id);
    let task = store.requeue(&task.new.id).await?.ok_or_else(missing)?;
    if task.state == TaskState::Waiting {
        return Ok(task);
    }
    let message = format!(
        "the task is {}; only dead, cancelled and expired ones can wait again",
        task.state.as_str()
    );
    Err(ApiError::conflict("not_requeueable", message))
}
