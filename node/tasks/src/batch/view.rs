//! Batches and background responses as clients see them, in OpenAI's shapes.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::lenient;
use super::super::store::{Store, StoreError};
use super::super::task::{Task, TaskState, Timestamp};
use super::output::{self, Which};
use super::response::{ANSWER_NOTE, ResponseJob};
use super::{BatchCounts, BatchEnd, BatchJob, BatchOutput, BatchPayload};

/// How long after a batch expired without a worker its files may take to be there.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The batch of a task; `None` when the task is not one.
pub(crate) fn batch_job(task: &Task) -> Option<BatchJob> {
    match serde_json::from_value(task.new.payload.clone()) {
        Ok(BatchPayload::Batch(job)) => Some(job),
        _ => None,
    }
}

/// The response of a task; `None` when the task is not one.
pub(crate) fn response_job(task: &Task) -> Option<ResponseJob> {
    match serde_json::from_value(task.new.payload.clone()) {
        Ok(BatchPayload::Response(job)) => Some(job),
        _ => None,
    }
}

/// A batch. Two looks into the store, once it ended.
pub(crate) async fn batch(
    task: &Task,
    job: &BatchJob,
    store: &dyn Store,
) -> Result<Value, StoreError> {
    let output: Option<BatchOutput> = task
        .output
        .clone()
        .and_then(|output| serde_json::from_value(output).ok());
    let mut status = status(task, output.as_ref());
    if task.state == TaskState::Expired
        && task
            .ended_at
            .is_some_and(|at| Timestamp::now() < at.after(SETTLED_WITHIN))
        && !is_settled(task, store).await?
    {
        status = "finalizing";
    }
    let ended_at = task.ended_at.map(Timestamp::seconds);
    let at = |wanted: &str| ended_at.filter(|_| status == wanted);
    let progress = task.progress.unwrap_or_default();
    let counts = output.as_ref().map(|output| output.counts);
    let counts = counts.unwrap_or(BatchCounts {
        total: progress.total,
        completed: progress.completed,
        failed: progress.failed,
    });
    let mut files = [Value::Null, Value::Null];
    if task.state.is_final() {
        for (slot, which) in files.iter_mut().zip([Which::Output, Which::Errors]) {
            let id = output::id(&task.new.id, which);
            if store.file(&id).await?.is_some() {
                *slot = json!(id);
            }
        }
    }
    let [output_file, error_file] = files;
    let window = Duration::from_secs(job.window_seconds);
    Ok(json!({
        "id": task.new.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": errors(task, output.as_ref()),
        "input_file_id": job.input_file_id,
        "completion_window": job.completion_window,
        "status": status,
        "output_file_id": output_file,
        "error_file_id": error_file,
        "created_at": task.created_at.seconds(),
        "in_progress_at": task.started_at.map(Timestamp::seconds),
        "expires_at": task.created_at.after(window).seconds(),
        "finalizing_at": at("completed"),
        "completed_at": at("completed"),
        "failed_at": at("failed"),
        "expired_at": at("expired"),
        "cancelling_at": at("cancelled"),
        "cancelled_at": at("cancelled"),
        "request_counts": counts,
        "metadata": job.metadata,
    }))
}

/// Whether the files of a batch that no worker ended are there. The error file is written last; that of a batch
/// that expired almost always has lines.
pub(super) async fn is_settled(task: &Task, store: &dyn Store) -> Result<bool, StoreError> {
    let batch = &task.new.id;
    let has = async |which| store.file(&output::id(batch, which)).await;
    if has(Which::Errors).await?.is_some() {
        return Ok(true);
    }
    Ok(task.state != TaskState::Expired && has(Which::Output).await?.is_some())
}

fn status(task: &Task, output: Option<&BatchOutput>) -> &'static str {
    let counted = task.progress.is_some_and(|progress| progress.total > 0);
    match task.state {
        TaskState::Waiting | TaskState::Running if task.cancel_requested => "cancelling",
        TaskState::Waiting | TaskState::Running if !counted => "validating",
        TaskState::Waiting | TaskState::Running => "in_progress",
        TaskState::Completed => match output.map(|output| output.status) {
            Some(BatchEnd::Completed) => "completed",
            Some(BatchEnd::Expired) => "expired",
            Some(BatchEnd::Failed) | None => "failed",
        },
        TaskState::Dead => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Expired => "expired",
    }
}

fn errors(task: &Task, output: Option<&BatchOutput>) -> Value {
    let mut data: Vec<Value> = output
        .into_iter()
        .flat_map(|output| &output.errors)
        .map(|fault| {
            json!({
                "code": fault.code,
                "message": fault.message,
                "line": fault.line,
                "param": null,
            })
        })
        .collect();
    if let (TaskState::Dead, Some(fault)) = (task.state, &task.fault) {
        data.push(json!({
            "code": fault.code,
            "message": fault.message,
            "line": null,
            "param": null,
        }));
    }
    match data.is_empty() {
        true => Value::Null,
        false => json!({"object": "list", "data": data}),
    }
}

/// A background response. One look into the store, once it ended.
pub(crate) async fn response(
    task: &Task,
    job: &ResponseJob,
    store: &dyn Store,
) -> Result<Value, StoreError> {
    let mut shown = json!({
        "id": task.new.id,
        "object": "response",
        "created_at": task.created_at.seconds(),
        "status": response_status(task.state),
        "background": true,
        "model": job.model,
        "error": null,
        "incomplete_details": null,
        "output": [],
        "usage": null,
    });
    if !matches!(task.state, TaskState::Completed | TaskState::Dead) {
        return Ok(shown);
    }
    let notes = store.notes(&task.new.id, ANSWER_NOTE).await?;
    let answer = notes.first().filter(|note| note.number == ANSWER_NOTE);
    let answer = answer.and_then(|note| lenient::parse(&note.content).ok());
    match (task.state, answer) {
        (TaskState::Completed, Some(Value::Object(mut answer))) => {
            answer.insert("id".to_owned(), json!(task.new.id));
            answer.insert("background".to_owned(), true.into());
            shown = Value::Object(answer);
        }
        (_, answer) => {
            shown["status"] = "failed".into();
            let reported = answer.map(|mut answer| answer["error"].take());
            let fault = task.fault.as_ref();
            shown["error"] = match reported.filter(Value::is_object) {
                Some(error) => json!({"code": error["code"], "message": error["message"]}),
                None => json!({
                    "code": fault.map(|fault| &fault.code),
                    "message": fault.map(|fault| &fault.message),
                }),
            };
        }
    }
    Ok(shown)
}

fn response_status(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "queued",
        TaskState::Running => "in_progress",
        TaskState::Completed => "completed",
        TaskState::Dead | TaskState::Expired => "failed",
        TaskState::Cancelled => "cancelled",
    }
}
