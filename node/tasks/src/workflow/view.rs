//! A run as clients see it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::store::Note;
use super::super::task::{Task, TaskState};
use super::check::{CheckedWorkflow, check};
use super::job::{RunJob, WorkflowJob};
use super::result::{NoteKey, StepResult, StepState};

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Without steps' outputs.
    Short,
    /// Everything.
    Full,
}

/// The job of a run; `None` when the task is not a run.
pub(super) fn job(task: &Task) -> Option<RunJob> {
    match serde_json::from_value(task.new.payload.clone()) {
        Ok(WorkflowJob::Run(job)) => Some(*job),
        _ => None,
    }
}

/// Where a run stands, in one word.
pub(crate) fn state(task: &Task) -> &'static str {
    match task.state {
        TaskState::Waiting if task.attempts == 0 => "queued",
        TaskState::Waiting | TaskState::Running if task.cancel_requested => "cancelling",
        TaskState::Waiting | TaskState::Running => "running",
        TaskState::Completed => "completed",
        TaskState::Dead => "failed",
        TaskState::Cancelled => "cancelled",
        TaskState::Expired => "expired",
    }
}

/// The name of an end, by which it is delivered once: that of the attempt which ended with the run, else its time.
pub(crate) fn end_of(task: &Task) -> String {
    let last = task.history.last();
    match last.filter(|last| Some(last.at) == task.ended_at) {
        Some(last) => format!("attempt-{}", last.attempt),
        None => {
            let ended_at = task.ended_at.unwrap_or(task.created_at);
            format!("{}-{}", task.state.as_str(), ended_at.0)
        }
    }
}

/// A run with its steps. `notes` are all of its notes.
pub(crate) fn run(task: &Task, notes: &[Note], depth: Depth) -> Value {
    let Some(job) = job(task) else {
        return json!({"id": task.new.id, "object": "workflow.run", "status": state(task)});
    };
    let mut shown = json!({
        "id": task.new.id,
        "object": "workflow.run",
        "workflow": {"id": job.workflow_id, "name": job.workflow.name},
        "status": state(task),
        "created_at": task.created_at.seconds(),
        "started_at": task.started_at.map(|at| at.seconds()),
        "ended_at": task.ended_at.map(|at| at.seconds()),
        "attempts": task.attempts,
        "error": task.fault,
        "output": task.output,
        "steps": steps(task, &job, notes, depth),
    });
    if depth == Depth::Full {
        shown["input"] = job.input;
    }
    shown
}

fn steps(task: &Task, job: &RunJob, notes: &[Note], depth: Depth) -> Vec<Value> {
    // It was checked when it was taken.
    let checked = check(job.workflow.clone()).ok();
    let mut results: BTreeMap<usize, StepResult> = BTreeMap::new();
    let mut items: BTreeMap<usize, u64> = BTreeMap::new();
    let last_lease = task.history.last().map(|ended| ended.attempt);
    for note in notes {
        let Some(result) = StepResult::read(&note.content) else {
            continue;
        };
        match NoteKey::of(note.number) {
            Some(NoteKey { step, item: None }) => {
                results.insert(step, result);
            }
            Some(NoteKey {
                step,
                item: Some(_),
            }) => *items.entry(step).or_default() += 1,
            None => {
                let step = last_lease.and_then(|lease| NoteKey::failed_step(note.number, lease));
                // A failure ends its attempt: after a requeue it is the past.
                if let Some(step) = step.filter(|_| task.state == TaskState::Dead) {
                    results.insert(step, result);
                }
            }
        }
    }
    let steps = job.workflow.steps.iter().enumerate();
    let steps = steps.map(|(index, step)| {
        let state = match results.get(&index) {
            Some(result) => result.state,
            None => open_state(task, checked.as_ref(), index, &results),
        };
        let mut shown = json!({"id": step.id, "state": state});
        if let Some(result) = results.get(&index) {
            shown["attempts"] = result.attempts.into();
            shown["status"] = result.status.into();
            shown["error"] = json!(result.error);
            shown["started_at"] = result.started_at.seconds().into();
            shown["ended_at"] = result.ended_at.seconds().into();
            if depth == Depth::Full {
                shown["output"] = result.output.clone();
            }
        }
        if step.for_each.is_some() {
            shown["items_done"] = items.get(&index).copied().unwrap_or_default().into();
        }
        shown
    });
    steps.collect()
}

/// A step without a result runs when all that it waits for is done, and somebody runs the run.
fn open_state(
    task: &Task,
    checked: Option<&CheckedWorkflow>,
    step: usize,
    results: &BTreeMap<usize, StepResult>,
) -> StepState {
    let is_ready = checked.is_some_and(|checked| {
        let mut needs = checked.graph.needs(step).iter();
        needs.all(|needed| results.contains_key(needed))
    });
    match task.state {
        TaskState::Running if is_ready => StepState::Running,
        _ => StepState::Waiting,
    }
}
