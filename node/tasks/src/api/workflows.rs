//! `/v1/workflows`: definitions, runs, and the check of a definition.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use grapevine_base::exchange::TaskCaller;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Body, Query, Who};
use super::{ApiError, quota, show, tasks};
use crate::hub::{Draft, Hub};
use crate::id::{Id, Kind};
use crate::store::{FileRecord, Note, PAGE_MAX, Store, TaskQuery, is_permitted};
use crate::task::{CheckedText, PAYLOAD_BYTES_MAX, Submitter, Task, Timestamp};
use crate::upload::Upload;
use crate::whole;
use crate::workflow::check::{WorkflowProblem, check};
use crate::workflow::document::Workflow;
use crate::workflow::view::{self, Depth};
use crate::workflow::{run_payload, service_key};

/// The purpose that definitions are stored with, which separates them from files of the Files API.
const PURPOSE: &str = "workflow";

/// The longest request: a run's payload with its input, before it is checked.
const BODY_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// Entries of a list unless asked for otherwise.
const LIST_DEFAULT: usize = 20;

pub(super) fn routes() -> Router<Hub> {
    Router::new()
        .route("/v1/workflows", post(create).get(list))
        .route("/v1/workflows/validate", post(validate))
        .route("/v1/workflows/runs", post(trigger_inline).get(list_runs))
        .route("/v1/workflows/runs/{run}", get(show_run))
        .route("/v1/workflows/runs/{run}/cancel", post(cancel_run))
        .route("/v1/workflows/{workflow}", get(show).delete(delete))
        .route("/v1/workflows/{workflow}/runs", post(trigger))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// What a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

/// What a run is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trigger {
    input: Value,
    webhook: Option<String>,
    idempotency_key: Option<String>,
    max_attempts: Option<u32>,
    /// A definition, where the path names none.
    workflow: Option<Value>,
}

impl Paging {
    fn read(&self) -> Result<(Option<Id>, usize), ApiError> {
        let after = self.after.as_deref().map(str::parse::<Id>).transpose();
        let after = after.map_err(|error| ApiError::invalid("after", error.to_string()))?;
        let limit = self.limit.unwrap_or(LIST_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            let message = format!("limit {limit} must be 1 to {PAGE_MAX}");
            return Err(ApiError::invalid("limit", message));
        }
        Ok((after, limit))
    }
}

/// Reads a definition and checks it.
fn read(document: Value) -> Result<Workflow, Vec<WorkflowProblem>> {
    let unread = |error: serde_json::Error| {
        vec![WorkflowProblem {
            path: String::new(),
            message: error.to_string(),
        }]
    };
    let workflow: Workflow = serde_json::from_value(document).map_err(unread)?;
    check(workflow).map(|checked| checked.workflow)
}

fn read_or_refuse(document: Value) -> Result<Workflow, ApiError> {
    read(document).map_err(|problems| {
        let messages: Vec<String> = problems
            .iter()
            .map(|problem| match problem.path.as_str() {
                "" => problem.message.clone(),
                path => format!("{path}: {}", problem.message),
            })
            .collect();
        ApiError {
            code: "invalid_workflow",
            ..ApiError::invalid("workflow", messages.join("; "))
        }
    })
}

async fn validate(Body(document): Body<Value>) -> Json<Value> {
    let problems = read(document).err().unwrap_or_default();
    Json(json!({
        "object": "workflow.validation",
        "valid": problems.is_empty(),
        "problems": problems,
    }))
}

async fn create(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Body(document): Body<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let workflow = read_or_refuse(document)?;
    let content = serde_json::to_vec(&workflow);
    let content = Bytes::from(content.expect("text keys always are JSON"));
    let record = FileRecord {
        id: hub.new_id(Kind::Workflow),
        filename: workflow.name.clone().unwrap_or_default(),
        purpose: PURPOSE.to_owned(),
        key: caller.key.as_deref().map(str::to_owned),
        account: Submitter::of(&caller).account(),
        regions: caller.regions.iter().cloned().map(CheckedText).collect(),
        bytes: content.len() as u64,
        created_at: Timestamp::now(),
        expires_at: None,
    };
    let written = Upload::whole(&hub, record.clone(), &content).await;
    written.map_err(|error| quota::refused_upload(&hub, &caller, error))?;
    Ok((StatusCode::CREATED, Json(shown(&record, Some(&workflow)))))
}

fn shown(record: &FileRecord, workflow: Option<&Workflow>) -> Value {
    let mut shown = json!({
        "id": record.id,
        "object": "workflow",
        "name": (!record.filename.is_empty()).then_some(&record.filename),
        "created_at": record.created_at.seconds(),
    });
    if let Some(workflow) = workflow {
        shown["workflow"] = json!(workflow);
    }
    shown
}

async fn list(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = paging.read()?;
    let key = caller.key.as_deref();
    let (mut records, mut before): (Vec<FileRecord>, _) = (Vec::new(), after);
    // Files of the Files API are skipped page by page.
    while records.len() <= limit {
        let page = hub.store().files(key, before.as_ref(), PAGE_MAX).await?;
        before = page.last().map(|record| record.id.clone());
        let was_full = page.len() == PAGE_MAX;
        let is_wanted =
            |it: &FileRecord| it.purpose == PURPOSE && is_permitted(&it.regions, hub.region());
        records.extend(page.into_iter().filter(is_wanted));
        if !was_full {
            break;
        }
    }
    let has_more = records.len() > limit;
    records.truncate(limit);
    let data: Vec<Value> = records.iter().map(|record| shown(record, None)).collect();
    Ok(Json(page(data, has_more)))
}

fn page(data: Vec<Value>, has_more: bool) -> Value {
    let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
    json!({
        "object": "list",
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": has_more,
        "data": data,
    })
}

/// A definition that is the caller's to see.
async fn definition(
    hub: &Hub,
    caller: &TaskCaller,
    name: &str,
) -> Result<(FileRecord, Workflow, Arc<dyn Store>), ApiError> {
    let (record, store) = show::find_file(hub, caller, Kind::Workflow, "workflow", name).await?;
    let content = whole::read(store.as_ref(), &record.id).await?;
    let workflow = serde_json::from_slice(&content).map_err(|error| {
        let message = format!("the definition of '{name}' cannot be read: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", message)
    })?;
    Ok((record, workflow, store))
}

async fn show(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (record, workflow, _) = definition(&hub, &caller, &name).await?;
    Ok(Json(shown(&record, Some(&workflow))))
}

async fn delete(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (record, _, store) = definition(&hub, &caller, &name).await?;
    let deleted = store.delete_file(&record.id).await?;
    Ok(Json(
        json!({"id": record.id, "object": "workflow.deleted", "deleted": deleted}),
    ))
}

async fn trigger(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(trigger): Body<Trigger>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if trigger.workflow.is_some() {
        let message = "must be left out: the path names the workflow";
        return Err(ApiError::invalid("workflow", message));
    }
    let (record, workflow, _) = definition(&hub, &caller, &name).await?;
    begin(&hub, &caller, &headers, workflow, Some(record), trigger).await
}

async fn trigger_inline(
    State(hub): State<Hub>,
    Extension(caller): Who,
    headers: HeaderMap,
    Body(mut trigger): Body<Trigger>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Some(document) = trigger.workflow.take() else {
        return Err(ApiError::invalid("workflow", "is missing"));
    };
    let workflow = read_or_refuse(document)?;
    begin(&hub, &caller, &headers, workflow, None, trigger).await
}

async fn begin(
    hub: &Hub,
    caller: &TaskCaller,
    headers: &HeaderMap,
    workflow: Workflow,
    definition: Option<FileRecord>,
    trigger: Trigger,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if let Some(url) = &trigger.webhook {
        let Some(webhooks) = hub.webhooks() else {
            let message =
                "webhooks are not set up at this node; its configuration has no tasks.webhooks";
            return Err(ApiError::invalid("webhook", message));
        };
        webhooks
            .check(url)
            .map_err(|why| ApiError::invalid("webhook", why))?;
    }
    let idempotency_key = tasks::idempotency_key(headers, trigger.idempotency_key)?;
    let (workflow_id, within) = match definition {
        Some(record) => (Some(record.id), record.regions),
        None => (None, Vec::new()),
    };
    let payload = run_payload(workflow_id, workflow, trigger.input, trigger.webhook);
    let draft = Draft {
        payload,
        attempts_max: tasks::attempts_max(trigger.max_attempts)?,
        idempotency_key,
        within,
        ..Draft::default()
    };
    quota::check_waiting(hub, hub.store().as_ref(), caller).await?;
    let id = hub.new_id(Kind::Run);
    let id = hub.add(id, &service_key(), draft, caller).await?;
    let accepted = json!({
        "id": id,
        "object": "workflow.run",
        "status": "queued",
        "url": format!("/v1/workflows/runs/{id}"),
    });
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn list_runs(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let (before, limit) = paging.read()?;
    let mut query = TaskQuery {
        service: Some(CheckedText(service_key())),
        state: None,
        key: caller.key.as_deref().map(str::to_owned),
        region: Some(CheckedText(hub.region().clone())),
        before,
        max: PAGE_MAX,
    };
    let mut runs: Vec<Task> = Vec::new();
    // Deliveries of webhooks are of the same service; they are skipped page by page.
    while runs.len() <= limit {
        let page = hub.store().list(&query).await?;
        query.before = page.last().map(|task| task.new.id.clone());
        let was_full = page.len() == PAGE_MAX;
        runs.extend(page.into_iter().filter(|it| it.new.id.kind() == Kind::Run));
        if !was_full {
            break;
        }
    }
    let has_more = runs.len() > limit;
    runs.truncate(limit);
    let data = runs.iter().map(|task| {
        let mut shown = view::run(task, &[], Depth::Short);
        // Without the notes the states of the steps are unknown.
        if let Some(fields) = shown.as_object_mut() {
            fields.remove("steps");
        }
        shown
    });
    Ok(Json(page(data.collect(), has_more)))
}

/// A run that is the caller's to see.
async fn run_of(
    hub: &Hub,
    caller: &TaskCaller,
    name: &str,
) -> Result<(Task, Arc<dyn Store>), ApiError> {
    let (task, store) = show::find(hub, caller, "run", name).await?;
    match task.new.id.kind() {
        Kind::Run => Ok((task, store)),
        _ => Err(ApiError::not_found("run", name)),
    }
}

async fn show_run(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (task, store) = run_of(&hub, &caller, &name).await?;
    let notes = all_notes(store.as_ref(), &task.new.id).await?;
    Ok(Json(view::run(&task, &notes, Depth::Full)))
}

/// Every note of a run: its service keeps them within 64 MiB.
async fn all_notes(store: &dyn Store, id: &Id) -> Result<Vec<Note>, ApiError> {
    let mut notes: Vec<Note> = Vec::new();
    loop {
        let from = notes.last().map_or(0, |note| note.number + 1);
        let page = store.notes(id, from).await?;
        if page.is_empty() {
            return Ok(notes);
        }
        notes.extend(page);
    }
}

async fn cancel_run(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (before, store) = run_of(&hub, &caller, &name).await?;
    if before.state.is_final() {
        let message = format!("the run is {} already", view::state(&before));
        return Err(ApiError::conflict("already_ended", message));
    }
    let id = &before.new.id;
    let task = hub.cancel(&store, id).await?;
    let task = task.ok_or_else(|| ApiError::not_found("run", &name))?;
    let notes = all_notes(store.as_ref(), id).await?;
    Ok(Json(view::run(&task, &notes, Depth::Full)))
}
