//! What a task of this service may ask for. The API asks here before it accepts one, and the worker again before
//! it runs one: a task may come out of a peer's store, or out of an engine that others write to.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::admission::{check_kind, is_within};
use super::super::id::{Id, Kind};
use super::super::refused::TaskRefused;
use super::super::store::Store;
use super::super::task::NewTask;
use super::{BatchJob, BatchPayload, ENDPOINTS, ResponseBody, ResponseJob, WINDOW_MAX, response};

/// What a batch's input must have been uploaded for.
pub(crate) const PURPOSE: &str = "batch";

/// Pairs of metadata, and how long they may be (OpenAI's limits).
const METADATA_MAX: usize = 16;
const METADATA_KEY_BYTES_MAX: usize = 64;
const METADATA_VALUE_BYTES_MAX: usize = 512;

/// Whether lines of a batch may call `endpoint`.
///
/// # Errors
/// Why not.
pub(crate) fn endpoint(endpoint: &str) -> Result<(), String> {
    match ENDPOINTS.contains(&endpoint) {
        true => Ok(()),
        false => Err(format!(
            "'{endpoint}' must be one of {}",
            ENDPOINTS.join(", ")
        )),
    }
}

/// Whether a batch may take so long.
pub(crate) fn is_window(window: Duration) -> bool {
    !window.is_zero() && window <= WINDOW_MAX
}

/// Whether a client's metadata is within its limits.
///
/// # Errors
/// What they must be.
pub(crate) fn metadata(given: &Map<String, Value>) -> Result<(), String> {
    let fits = |(key, value): (&String, &Value)| {
        let value = value.as_str().map(str::len);
        key.len() <= METADATA_KEY_BYTES_MAX
            && value.is_some_and(|length| length <= METADATA_VALUE_BYTES_MAX)
    };
    if given.len() <= METADATA_MAX && given.iter().all(fits) {
        return Ok(());
    }
    Err(format!(
        "must be at most {METADATA_MAX} texts of at most {METADATA_VALUE_BYTES_MAX} bytes, with keys of at most \
         {METADATA_KEY_BYTES_MAX}"
    ))
}

/// Whether `task` may be accepted, and run. `store` keeps it and what it names.
///
/// # Errors
/// Why not.
pub(super) async fn check(task: &NewTask, store: &dyn Store) -> Result<(), TaskRefused> {
    let job = serde_json::from_value(task.payload.clone());
    match job.map_err(|error| TaskRefused::new("invalid_payload", error.to_string()))? {
        BatchPayload::Batch(job) => batch(task, &job, store).await,
        BatchPayload::Response(job) => response_job(task, &job, store).await,
    }
}

async fn batch(task: &NewTask, job: &BatchJob, store: &dyn Store) -> Result<(), TaskRefused> {
    check_kind(task, Kind::Batch)?;
    endpoint(&job.endpoint).map_err(|why| TaskRefused::new("invalid_endpoint", why))?;
    if !is_window(Duration::from_secs(job.window_seconds)) {
        let message = "the batch's completion window is not within its limits";
        return Err(TaskRefused::new("invalid_window", message));
    }
    match &job.metadata {
        Value::Null => Ok(()),
        Value::Object(given) => metadata(given),
        _ => Err("must be an object".to_owned()),
    }
    .map_err(|why| TaskRefused::new("invalid_metadata", format!("metadata {why}")))?;
    input(task, &job.input_file_id, PURPOSE, store).await
}

async fn response_job(
    task: &NewTask,
    job: &ResponseJob,
    store: &dyn Store,
) -> Result<(), TaskRefused> {
    check_kind(task, Kind::Response)?;
    match &job.body {
        ResponseBody::Here(Value::Object(body)) if body.get("stream") != Some(&true.into()) => {
            Ok(())
        }
        ResponseBody::Here(_) => Err(TaskRefused::new(
            "invalid_payload",
            "the request must be an object, and its stream not true",
        )),
        ResponseBody::File(file) if *file == response::input_id(&task.id) => {
            input(task, file, response::PURPOSE, store).await
        }
        ResponseBody::File(_) => Err(TaskRefused::new(
            "invalid_payload",
            "the request's file is not that of this response",
        )),
    }
}

/// The file that a task reads must be its submitter's, for this, and permitted wherever the task goes.
async fn input(
    task: &NewTask,
    file: &Id,
    purpose: &str,
    store: &dyn Store,
) -> Result<(), TaskRefused> {
    let record = store.file(file).await?;
    let record = record.filter(|record| task.submitter.may_see(record.key.as_deref()));
    let Some(record) = record.filter(|record| record.purpose == purpose) else {
        return Err(TaskRefused::new(
            "input_file_gone",
            "the input file was deleted",
        ));
    };
    match is_within(&task.regions, &record.regions) {
        true => Ok(()),
        false => Err(TaskRefused::new(
            "residency",
            "the input file's data residency does not permit all regions that may see the task",
        )),
    }
}
