//! The service `workflow:process`: runs the steps of a workflow, each as soon as what it waits for is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use grapevine_core::ids::ServiceKey;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::super::service::{Service, TaskError, TaskRefused, Work};
use super::super::store::{Store, StoreError};
use super::super::task::{NewTask, OUTPUT_BYTES_MAX, Task, TaskFault, TaskProgress, Timestamp};
use super::call::{Caller, fault, no_list, not_made};
use super::called::Called;
use super::check::{CheckedWorkflow, check};
use super::document::{CALLS_AT_ONCE_MAX, ITEMS_MAX, OnError, WorkflowStep};
use super::job::{RunJob, WorkflowJob, check_run, service_key};
use super::result::{NoteKey, StepResult, StepState};
use super::template::{TemplateScope, Templates};
use super::view;
use super::webhook::{Webhooks, queue_end};

/// What all outputs of a run may have together, in bytes of notes.
const RUN_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Runs workflows, and delivers their ends.
pub struct Workflows {
    webhooks: Option<Webhooks>,
}

impl Workflows {
    /// With what signs webhooks, where they are configured.
    pub fn new(webhooks: Option<Webhooks>) -> Self {
        Self { webhooks }
    }
}

#[async_trait]
impl Service for Workflows {
    fn key(&self) -> ServiceKey {
        service_key()
    }

    fn own_routes(&self) -> Option<&'static str> {
        Some("POST /v1/workflows/runs, or POST /v1/workflows/ID/runs")
    }

    async fn check(&self, task: &NewTask, store: &dyn Store) -> Result<(), TaskRefused> {
        let job = serde_json::from_value(task.payload.clone());
        match job.map_err(|error| TaskRefused::new("invalid_payload", error.to_string()))? {
            WorkflowJob::Run(job) => check_run(task, *job),
            WorkflowJob::Deliver(delivery) => delivery.check(task, store).await,
        }
    }

    async fn run(&self, task: &Task, work: &Work) -> Result<Value, TaskError> {
        let job = serde_json::from_value(task.new.payload.clone());
        match job.map_err(|error| fatal("invalid_payload", error.to_string()))? {
            WorkflowJob::Deliver(delivery) => match &self.webhooks {
                Some(webhooks) => webhooks.deliver(task, &delivery, work).await,
                None => {
                    let message = "this node has no tasks.webhooks to sign with";
                    Err(TaskError::Retry(TaskFault::new("webhooks_unset", message)))
                }
            },
            WorkflowJob::Run(job) => {
                let ended = run(task, &job, work).await;
                let is_over = matches!(
                    ended,
                    Ok(_) | Err(TaskError::Fatal(_) | TaskError::Cancelled)
                );
                if is_over {
                    let end = format!("attempt-{}", work.lease().attempt);
                    queue_end(task, &end, work.store().as_ref()).await?;
                }
                ended
            }
        }
    }

    /// Queues the delivery of the end.
    async fn settle(&self, task: &Task, store: &dyn Store) -> Result<(), StoreError> {
        queue_end(task, &view::end_of(task), store).await
    }
}

async fn run(task: &Task, job: &RunJob, work: &Work) -> Result<Value, TaskError> {
    let checked = check(job.workflow.clone()).map_err(|problems| {
        let first = problems
            .first()
            .map(|it| format!("{} {}", it.path, it.message));
        fatal("invalid_workflow", first.unwrap_or_default())
    })?;
    let calls = Semaphore::new(CALLS_AT_ONCE_MAX);
    let runner = Runner {
        checked: &checked,
        job,
        work,
        templates: Templates,
        caller: Caller {
            api: work.api().as_ref(),
            task: &task.new,
            calls: &calls,
        },
    };
    let done = tokio::select! {
        biased;
        () = work.cancelled() => return Err(TaskError::Cancelled),
        done = runner.steps() => done?,
    };
    runner.output(&done)
}

/// What the steps of one run share.
struct Runner<'a> {
    checked: &'a CheckedWorkflow,
    job: &'a RunJob,
    work: &'a Work,
    templates: Templates,
    caller: Caller<'a>,
}

/// What was done before and until now.
#[derive(Default)]
struct Done {
    steps: BTreeMap<usize, StepResult>,
    items: BTreeMap<usize, BTreeMap<usize, StepResult>>,
    /// What templates see of the steps, shared by all that run at once.
    seen: BTreeMap<String, Arc<Value>>,
    bytes: usize,
}

impl Runner<'_> {
    /// Runs what is not done yet.
    async fn steps(&self) -> Result<Done, TaskError> {
        let mut done = self.remembered().await?;
        let steps = &self.checked.workflow.steps;
        let mut begun: BTreeSet<usize> = done.steps.keys().copied().collect();
        let mut running = FuturesUnordered::new();
        loop {
            self.report_progress(&done);
            let is_ready = |step: &usize| {
                let mut needs = self.checked.graph.needs(*step).iter();
                !begun.contains(step) && needs.all(|needed| done.steps.contains_key(needed))
            };
            let ready: Vec<usize> = (0..steps.len()).filter(is_ready).collect();
            for step in ready {
                begun.insert(step);
                let items = done.items.remove(&step).unwrap_or_default();
                let scope = self.scope(&done);
                running.push(async move { (step, self.step(step, scope, items).await) });
            }
            let Some((step, ended)) = running.next().await else {
                return Ok(done);
            };
            let result = ended?;
            let is_fatal =
                result.state == StepState::Failed && steps[step].on_error == OnError::Fail;
            if is_fatal {
                let number = NoteKey::failure(step, self.work.lease().attempt);
                self.work.save(&[result.note(number)]).await?;
                return Err(self.failed(step, &result));
            }
            let note = result.note(NoteKey { step, item: None }.number());
            done.bytes += note.content.len();
            if done.bytes > RUN_BYTES_MAX {
                let message = format!("the steps gave more than {RUN_BYTES_MAX} bytes together");
                return Err(fatal("too_long", message));
            }
            self.work.save(&[note]).await?;
            self.end(&mut done, step, result);
        }
    }

    /// What earlier attempts finished.
    async fn remembered(&self) -> Result<Done, TaskError> {
        let mut done = Done::default();
        for (number, note) in self.work.notes().await? {
            let Some(key) = NoteKey::of(number) else {
                continue;
            };
            let Some(result) = StepResult::read(&note.content) else {
                let message = format!("note {number} of the run cannot be read");
                return Err(fatal("damaged", message));
            };
            done.bytes += note.content.len();
            match key.item {
                None => self.end(&mut done, key.step, result),
                Some(item) => {
                    done.items.entry(key.step).or_default().insert(item, result);
                }
            }
        }
        Ok(done)
    }

    /// Records how a step ended.
    fn end(&self, done: &mut Done, step: usize, result: StepResult) {
        if let Some(known) = self.checked.workflow.steps.get(step) {
            done.seen.insert(known.id.clone(), Arc::new(result.scope()));
        }
        done.steps.insert(step, result);
    }

    fn report_progress(&self, done: &Done) {
        let failed = done
            .steps
            .values()
            .filter(|it| it.state == StepState::Failed);
        let failed = failed.count() as u64;
        self.work.set_progress(TaskProgress {
            completed: done.steps.len() as u64 - failed,
            failed,
            total: self.checked.workflow.steps.len() as u64,
        });
    }

    fn scope(&self, done: &Done) -> TemplateScope<'_> {
        TemplateScope::new(&self.job.input, done.seen.clone())
    }

    /// Runs one step to its end.
    async fn step(
        &self,
        index: usize,
        scope: TemplateScope<'_>,
        items: BTreeMap<usize, StepResult>,
    ) -> Result<StepResult, TaskError> {
        let step = &self.checked.workflow.steps[index];
        let began = Timestamp::now();
        if let Some(condition) = &step.condition {
            match self.templates.holds(condition, &scope) {
                Ok(true) => {}
                Ok(false) => return Ok(StepResult::skipped(began)),
                Err(error) => return Ok(StepResult::of(began, not_made("if", &error))),
            }
        }
        let Some(list) = &step.for_each else {
            return Ok(StepResult::of(began, self.call(step, &scope).await));
        };
        let list = match self.templates.value(list, &scope) {
            Ok(Value::Array(list)) if list.len() <= ITEMS_MAX => list,
            Ok(other) => {
                let fault = fault("for_each", no_list(&other));
                return Ok(StepResult::of(began, Called::not_made(fault)));
            }
            Err(error) => return Ok(StepResult::of(began, not_made("for_each", &error))),
        };
        self.each(index, &scope, &list, items, began).await
    }

    async fn call(&self, step: &WorkflowStep, scope: &TemplateScope<'_>) -> Called {
        let body = step.call.body.as_ref();
        match body
            .map(|body| self.templates.fill(body, scope))
            .transpose()
        {
            Ok(body) => self.caller.call(step, body.as_ref()).await,
            Err(error) => not_made("call.body", &error),
        }
    }

    /// Calls for each item of `list` that was not called before; each is noted as it ends.
    async fn each(
        &self,
        index: usize,
        scope: &TemplateScope<'_>,
        list: &[Value],
        mut items: BTreeMap<usize, StepResult>,
        began: Timestamp,
    ) -> Result<StepResult, TaskError> {
        let step = &self.checked.workflow.steps[index];
        let open: Vec<usize> = (0..list.len())
            .filter(|item| !items.contains_key(item))
            .collect();
        let calls = open.into_iter().map(|item| async move {
            let began = Timestamp::now();
            let called = self.call(step, &scope.with_item(&list[item], item)).await;
            (item, StepResult::of(began, called))
        });
        let mut calls = stream::iter(calls).buffer_unordered(step.concurrency);
        while let Some((item, result)) = calls.next().await {
            if result.state == StepState::Failed && step.on_error == OnError::Fail {
                return Ok(result.at_item(item));
            }
            let key = NoteKey {
                step: index,
                item: Some(item),
            };
            self.work.save(&[result.note(key.number())]).await?;
            items.insert(item, result);
        }
        Ok(StepResult::of_items(began, items.into_values()))
    }

    fn failed(&self, step: usize, result: &StepResult) -> TaskError {
        let id = &self.checked.workflow.steps[step].id;
        let code = result
            .error
            .as_ref()
            .map_or("unknown", |error| error.code.as_str());
        let status = result
            .status
            .map_or_else(String::new, |status| format!(" with status {status}"));
        // The upstream's message stays in the step's own record: it may quote the request.
        fatal(
            "step_failed",
            format!("step {id:?} failed{status} ({code})"),
        )
    }

    /// What the run gives.
    fn output(&self, done: &Done) -> Result<Value, TaskError> {
        let workflow = &self.checked.workflow;
        let output = match &workflow.output {
            Some(template) => {
                let filled = self.templates.fill(template, &self.scope(done));
                filled.map_err(|error| fatal("output", format!("output.{error}")))?
            }
            None => {
                let ends = self.checked.graph.ends().into_iter();
                let outputs = ends.filter_map(|step| {
                    let result = done.steps.get(&step)?;
                    Some((workflow.steps[step].id.clone(), result.output.clone()))
                });
                Value::Object(outputs.collect::<Map<_, _>>())
            }
        };
        let length = serde_json::to_string(&output).map_or(usize::MAX, |text| text.len());
        if length > OUTPUT_BYTES_MAX {
            let message = format!(
                "the output has {length} bytes of the {OUTPUT_BYTES_MAX} that are kept; \
                 give the workflow an output that takes less of its steps"
            );
            return Err(fatal("output_too_long", message));
        }
        Ok(output)
    }
}

fn fatal(code: &str, message: impl Into<String>) -> TaskError {
    TaskError::Fatal(TaskFault::new(code, message))
}
