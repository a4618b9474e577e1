//! `/v1/responses` with `background: true`: made later, and polled.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use grapevine_base::exchange::TaskCaller;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::extract::{Body, Who};
use super::{ApiError, quota, show, tasks};
use crate::batch::{self, BatchPayload, ResponseBody, ResponseJob, service_key, view};
use crate::hub::{Draft, Hub};
use crate::id::Kind;
use crate::store::{FileRecord, Store};
use crate::task::{CheckedText, PAYLOAD_BYTES_MAX, Submitter, Task, Timestamp};
use crate::upload::Upload;

/// The longest request.
const BODY_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// What is left in a payload for all but the body.
const PAYLOAD_ROOM: usize = 8 * 1_024;

pub(super) fn router() -> Router<Hub> {
    Router::new()
        .route("/v1/responses", post(create))
        .route("/v1/responses/{id}", get(look))
        .route("/v1/responses/{id}/cancel", post(cancel))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn create(
    State(hub): State<Hub>,
    Extension(caller): Who,
    headers: HeaderMap,
    Body(mut asked): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    asked.remove("background");
    if asked.get("stream") == Some(&Value::Bool(true)) {
        let message = "must not be true with background; poll GET /v1/responses/{id}";
        return Err(ApiError::invalid("stream", message));
    }
    if asked.get("store") == Some(&Value::Bool(false)) {
        let message = "must not be false with background: the response is kept to be polled";
        return Err(ApiError::invalid("store", message));
    }
    let model = asked
        .get("model")
        .and_then(Value::as_str)
        .map(str::to_owned);
    quota::check_waiting(&hub, hub.store().as_ref(), &caller).await?;
    let idempotency_key = tasks::idempotency_key(&headers, None)?;
    let id = hub.new_id(Kind::Response);
    let body = Value::Object(asked);
    let text = body.to_string();
    let body = match text.len() + PAYLOAD_ROOM <= PAYLOAD_BYTES_MAX {
        true => ResponseBody::Here(body),
        false => {
            let file = batch::input_id(&id);
            let content = Bytes::from(text);
            let record = FileRecord {
                id: file.clone(),
                filename: format!("{id}.json"),
                purpose: batch::RESPONSE_PURPOSE.to_owned(),
                key: caller.key.as_deref().map(str::to_owned),
                account: Submitter::of(&caller).account(),
                regions: caller.regions.iter().cloned().map(CheckedText).collect(),
                bytes: content.len() as u64,
                created_at: Timestamp::now(),
                expires_at: None,
            };
            let written = Upload::whole(&hub, record, &content).await;
            written.map_err(|error| quota::refused_upload(&hub, &caller, error))?;
            ResponseBody::File(file)
        }
    };
    let input = match &body {
        ResponseBody::Here(_) => None,
        ResponseBody::File(file) => Some(file.clone()),
    };
    let job = BatchPayload::Response(ResponseJob { model, body });
    let draft = Draft {
        payload: serde_json::to_value(job).expect("text keys always are JSON"),
        idempotency_key,
        ..Draft::default()
    };
    let added = hub.add(id.clone(), &service_key(), draft, &caller).await;
    if let (Some(file), false) = (input, added.as_ref().is_ok_and(|added| *added == id)) {
        // Nothing will ever read it: the task was refused, or is an earlier one with an input of its own.
        hub.store().delete_file(&file).await?;
    }
    look_at(&hub, &caller, added?.as_str()).await
}

/// A response that is the caller's to see.
async fn find(
    hub: &Hub,
    caller: &TaskCaller,
    name: &str,
) -> Result<(Task, ResponseJob, Arc<dyn Store>), ApiError> {
    let (task, store) = show::find(hub, caller, "response", name).await?;
    let job = view::response_job(&task);
    let job = job.ok_or_else(|| ApiError::not_found("response", name))?;
    Ok((task, job, store))
}

async fn look_at(hub: &Hub, caller: &TaskCaller, name: &str) -> Result<Json<Value>, ApiError> {
    let (task, job, store) = find(hub, caller, name).await?;
    Ok(Json(view::response(&task, &job, store.as_ref()).await?))
}

async fn look(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    look_at(&hub, &caller, &id).await
}

async fn cancel(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (task, job, store) = find(&hub, &caller, &id).await?;
    let missing = || ApiError::not_found("response", &id);
    // One that ended stays as it is: OpenAI's cancel may be sent twice.
    let task = hub.cancel(&store, &task.new.id).await?;
    let task = task.ok_or_else(missing)?;
    Ok(Json(view::response(&task, &job, store.as_ref()).await?))
}
