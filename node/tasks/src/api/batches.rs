//! `/v1/batches`: OpenAI's Batches API.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use grapevine_base::exchange::TaskCaller;
use grapevine_config::text::parse_duration;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::extract::{Body, Query, Who};
use super::{ApiError, files, quota, show, tasks};
use crate::batch::{BatchJob, BatchPayload, WINDOW_GRACE, check, service_key, view};
use crate::hub::{Draft, Hub};
use crate::id::{Id, Kind};
use crate::store::{PAGE_MAX, Store, TaskQuery};
use crate::task::{CheckedText, Task, TaskPriority};

/// Batches listed when the client does not say how many.
const LIST_DEFAULT: usize = 20;

/// Batches have a lower priority than what somebody waits for.
const PRIORITY: TaskPriority = TaskPriority(-10);

pub(super) fn router() -> Router<Hub> {
    Router::new()
        .route("/v1/batches", post(create).get(list))
        .route("/v1/batches/{id}", get(look))
        .route("/v1/batches/{id}/cancel", post(cancel))
}

#[derive(Deserialize)]
struct Create {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

async fn create(
    State(hub): State<Hub>,
    Extension(caller): Who,
    headers: HeaderMap,
    Body(wanted): Body<Create>,
) -> Result<Json<Value>, ApiError> {
    check::endpoint(&wanted.endpoint).map_err(|why| ApiError::invalid("endpoint", why))?;
    let window = parse_duration(&wanted.completion_window).ok();
    let window = window.filter(|window| check::is_window(*window));
    let Some(window) = window else {
        let message = format!(
            "'{}' must be a span such as 24h, at most 7d",
            wanted.completion_window
        );
        return Err(ApiError::invalid("completion_window", message));
    };
    let (file, store) = files::find(&hub, &caller, &wanted.input_file_id).await?;
    if file.purpose != check::PURPOSE {
        let message = format!("file '{}' was not uploaded with purpose batch", file.id);
        return Err(ApiError::invalid("input_file_id", message));
    }
    let job = BatchJob {
        input_file_id: file.id.clone(),
        endpoint: wanted.endpoint,
        completion_window: wanted.completion_window,
        window_seconds: window.as_secs().max(1),
        metadata: metadata(wanted.metadata)?,
    };
    let draft = Draft {
        payload: serde_json::to_value(BatchPayload::Batch(job)).expect("text keys always are JSON"),
        priority: PRIORITY,
        idempotency_key: tasks::idempotency_key(&headers, None)?,
        expires_after: Some(window + WINDOW_GRACE),
        within: file.regions.clone(),
        ..Draft::default()
    };
    quota::check_waiting(&hub, store.as_ref(), &caller).await?;
    // A batch is kept where its file is.
    let id = Id::new(Kind::Batch, file.id.owner().as_ref());
    let id = hub
        .add_to(store.as_ref(), id, &service_key(), draft, &caller)
        .await?;
    let (task, job, store) = find(&hub, &caller, id.as_str()).await?;
    Ok(Json(view::batch(&task, &job, store.as_ref()).await?))
}

fn metadata(given: Option<Map<String, Value>>) -> Result<Value, ApiError> {
    let Some(given) = given else {
        return Ok(Value::Null);
    };
    check::metadata(&given).map_err(|why| ApiError::invalid("metadata", why))?;
    Ok(Value::Object(given))
}

/// A batch that is the caller's to see.
async fn find(
    hub: &Hub,
    caller: &TaskCaller,
    name: &str,
) -> Result<(Task, BatchJob, Arc<dyn Store>), ApiError> {
    let (task, store) = show::find(hub, caller, "batch", name).await?;
    let job = view::batch_job(&task);
    let job = job.ok_or_else(|| ApiError::not_found("batch", name))?;
    Ok((task, job, store))
}

async fn look(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (task, job, store) = find(&hub, &caller, &id).await?;
    Ok(Json(view::batch(&task, &job, store.as_ref()).await?))
}

async fn cancel(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (task, job, store) = find(&hub, &caller, &id).await?;
    if task.state.is_final() {
        let message = "the batch has ended already";
        return Err(ApiError::conflict("already_ended", message));
    }
    let missing = || ApiError::not_found("batch", &id);
    let task = hub.cancel(&store, &task.new.id).await?;
    let task = task.ok_or_else(missing)?;
    Ok(Json(view::batch(&task, &job, store.as_ref()).await?))
}

/// Which batches to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, PAGE_MAX);
    let before = query.after.as_deref().map(str::parse::<Id>).transpose();
    let mut before = before.map_err(|error| ApiError::invalid("after", error.to_string()))?;
    let store = hub.store();
    let mut found: Vec<(Task, BatchJob)> = Vec::new();
    // Background responses are of the same service; they are skipped page by page.
    while found.len() <= limit {
        let wanted = TaskQuery {
            service: Some(CheckedText(service_key())),
            state: None,
            key: caller.key.as_deref().map(str::to_owned),
            region: Some(CheckedText(hub.region().clone())),
            before: before.take(),
            max: PAGE_MAX,
        };
        let page = store.list(&wanted).await?;
        let Some(last) = page.last() else {
            break;
        };
        before = Some(last.new.id.clone());
        let was_full = page.len() == PAGE_MAX;
        found.extend(page.into_iter().filter_map(|task| {
            let job = view::batch_job(&task)?;
            Some((task, job))
        }));
        if !was_full {
            break;
        }
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let mut data = Vec::with_capacity(found.len());
    for (task, job) in &found {
        data.push(view::batch(task, job, store.as_ref()).await?);
    }
    let id = |entry: Option<&(Task, BatchJob)>| entry.map(|(task, _)| task.new.id.clone());
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "first_id": id(found.first()),
        "last_id": id(found.last()),
        "has_more": has_more,
    })))
}
