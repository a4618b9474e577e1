//! What tasks of `workflow:process` are about: a run, or the delivery of its end.

use grapevine_core::ids::ServiceKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::admission::check_kind;
use super::super::id::{Id, Kind};
use super::super::service::TaskRefused;
use super::super::task::NewTask;
use super::check::check;
use super::document::Workflow;

/// The key of the service.
pub const SERVICE: &str = "workflow:process";

/// The service's key.
pub fn service_key() -> ServiceKey {
    ServiceKey::new(SERVICE).expect("the key is spelled right")
}

/// What a task of this service is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(super) enum WorkflowJob {
    /// A run.
    Run(Box<RunJob>),
    /// The delivery of a run's end.
    Deliver(Delivery),
}

/// One run of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunJob {
    /// The definition that it came from; `None` when it came with the request.
    pub(super) workflow_id: Option<Id>,
    /// What is run.
    pub(super) workflow: Workflow,
    /// What it is given.
    pub(super) input: Value,
    /// Where its end is delivered.
    pub(super) webhook: Option<String>,
}

/// The run whose end is delivered, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) run: Id,
    pub(super) url: String,
}

/// The payload of a run's task.
pub(crate) fn run_payload(
    workflow_id: Option<Id>,
    workflow: Workflow,
    input: Value,
    webhook: Option<String>,
) -> Value {
    let job = RunJob {
        workflow_id,
        workflow,
        input,
        webhook,
    };
    serde_json::to_value(WorkflowJob::Run(Box::new(job))).expect("text keys always are JSON")
}

/// Whether `task` delivers the end of `run`, once for each end.
pub(crate) fn is_delivery_of(task: &NewTask, run: &Id) -> bool {
    match serde_json::from_value(task.payload.clone()) {
        Ok(WorkflowJob::Deliver(delivery)) => delivery.is_of(run, task.idempotency_key.as_deref()),
        _ => false,
    }
}

/// Whether `task` may be a run: made by the API of workflows, of a workflow that can be run.
///
/// # Errors
/// Why not.
pub(super) fn check_run(task: &NewTask, job: RunJob) -> Result<(), TaskRefused> {
    check_kind(task, Kind::Run)?;
    check(job.workflow).map(|_| ()).map_err(|problems| {
        let first = problems
            .first()
            .map(|it| format!("{} {}", it.path, it.message));
        TaskRefused::new("invalid_workflow", first.unwrap_or_default())
    })
}
