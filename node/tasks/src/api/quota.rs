//! What is refused before it is kept: tasks of services that no node serves, and more than one client's share
//! of a store.

use std::time::Duration;

use grapevine_base::exchange::TaskCaller;
use grapevine_core::ids::ServiceKey;
use grapevine_core::quota::QuotaExceeded;
use grapevine_core::work;
use http::StatusCode;

use super::ApiError;
use crate::hub::Hub;
use crate::store::Store;
use crate::task::Submitter;
use crate::upload::UploadError;

/// Services that an error names.
const NAMED_MAX: usize = 16;

/// When to come back with a task that found the queue full.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A task of a service that no node serves would wait forever, and be counted and gossiped all the while.
pub(super) fn check_service(
    hub: &Hub,
    caller: &TaskCaller,
    service: &ServiceKey,
) -> Result<(), ApiError> {
    let named = hub.named();
    let view = hub.driver().view();
    let of_key = caller.services.as_ref();
    if of_key.is_some_and(|services| services.contains(service))
        || work::is_known(&view, hub.mode(), &named, service)
    {
        return Ok(());
    }
    let mut known: Vec<&ServiceKey> = work::served_by_any(&view).into_iter().collect();
    known.extend(&named);
    known.sort();
    known.dedup();
    let left_out = known.len().saturating_sub(NAMED_MAX);
    let known: Vec<&str> = known
        .iter()
        .take(NAMED_MAX)
        .map(|key| key.as_str())
        .collect();
    let more = match left_out {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let message = format!(
        "no node is there for the service '{service}'; known are {}{more}. Its operator names it in WORKER_MODE of \
         the node that runs it, in the services of a worker's key, or in tasks.services",
        known.join(", ")
    );
    Err(ApiError {
        code: "unknown_service",
        ..ApiError::invalid("service", message)
    })
}

/// Whether the caller may have one more task waiting in `store`. Tasks that come in the same moment are not counted
/// yet: it may have as many more as it sends at once.
pub(super) async fn check_waiting(
    hub: &Hub,
    store: &dyn Store,
    caller: &TaskCaller,
) -> Result<(), ApiError> {
    let usage = store.usage(&Submitter::of(caller).account()).await?;
    let admitted = hub.quota().admit_task(usage.waiting);
    admitted.map_err(|over| {
        hub.watcher().refused(over);
        let message = format!(
            "{} has {} tasks waiting of at most {} (tasks.quota.waiting); send more when some have run, cancel some, or \
             ask the operator for more",
            who(caller),
            usage.waiting,
            hub.quota().waiting,
        );
        ApiError {
            retry_after: Some(RETRY_AFTER),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "waiting_tasks_quota", message)
        }
    })
}

/// Why an upload is not taken.
pub(super) fn refused_upload(hub: &Hub, caller: &TaskCaller, error: UploadError) -> ApiError {
    let quota = hub.quota();
    let (code, what) = match error {
        UploadError::Store(error) => return error.into(),
        UploadError::Over(QuotaExceeded::Files) => (
            "files_quota",
            format!("{} files (tasks.quota.files)", quota.files),
        ),
        UploadError::Over(QuotaExceeded::FileBytes | QuotaExceeded::Waiting) => (
            "file_bytes_quota",
            format!(
                "{} bytes of files (tasks.quota.file_bytes)",
                quota.file_bytes
            ),
        ),
    };
    let message = format!(
        "{} may have {what}, and this would be more; delete files (DELETE /v1/files/ID), give them expires_after, or \
         ask the operator for more",
        who(caller)
    );
    ApiError {
        param: Some("file"),
        ..ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
    }
}

fn who(caller: &TaskCaller) -> String {
    match &caller.key {
        Some(key) => format!("the key '{key}'"),
        None => "your network".to_owned(),
    }
}
