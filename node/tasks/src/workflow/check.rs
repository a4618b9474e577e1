//! What can be wrong with a workflow: every problem at once, each with its path.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_config::text::format_duration;
use serde::Serialize;
use serde_json::Value;

use super::document::{
    ATTEMPTS_MAX, CALLS_AT_ONCE_MAX, CallMethod, STEPS_MAX, TIMEOUT_MAX, Workflow, WorkflowStep,
};
use super::graph::Graph;
use super::template::{Reviewer, is_too_deep};

/// The longest name of a workflow in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The longest id of a step in bytes.
const STEP_ID_BYTES_MAX: usize = 64;

/// Paths that a step may not call: work that would be queued by work that is queued.
const QUEUES: [&str; 4] = ["/v1/workflows", "/v1/batches", "/v1/files", "/v1/tasks"];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkflowProblem {
    /// Where, such as `steps[1].call.body.messages[0].content`.
    pub path: String,
    /// What, and what to write instead.
    pub message: String,
}

/// A workflow that can be run.
#[derive(Clone, Debug)]
pub struct CheckedWorkflow {
    /// As it was written.
    pub workflow: Workflow,
    pub(super) graph: Graph,
}

/// Checks a workflow.
///
/// # Errors
/// Every problem there is; cycles are looked for once the rest is right.
pub fn check(workflow: Workflow) -> Result<CheckedWorkflow, Vec<WorkflowProblem>> {
    let mut checker = Checker::new(&workflow);
    checker.whole(&workflow);
    for (index, step) in workflow.steps.iter().enumerate() {
        checker.step(index, step);
    }
    if let Some(output) = &workflow.output {
        checker.template("output", output, None);
    }
    if !checker.problems.is_empty() {
        return Err(checker.problems);
    }
    let graph = Graph::new(checker.needs);
    if let Some(cycle) = graph.cycle() {
        return Err(vec![cycle_problem(&workflow, &cycle)]);
    }
    Ok(CheckedWorkflow { workflow, graph })
}

/// The steps by name, as far as names are right, and what was found.
struct Checker<'a> {
    steps: BTreeMap<&'a str, usize>,
    reviewer: Reviewer,
    needs: Vec<BTreeSet<usize>>,
    problems: Vec<WorkflowProblem>,
}

impl<'a> Checker<'a> {
    fn new(workflow: &'a Workflow) -> Self {
        let ids = workflow.steps.iter().enumerate();
        Self {
            // Of two steps with one id the first has it; the second is reported.
            steps: ids
                .rev()
                .map(|(index, step)| (step.id.as_str(), index))
                .collect(),
            reviewer: Reviewer::default(),
            needs: vec![BTreeSet::new(); workflow.steps.len()],
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(WorkflowProblem {
            path: path.into(),
            message: message.into(),
        });
    }

    fn whole(&mut self, workflow: &Workflow) {
        if workflow
            .name
            .as_ref()
            .is_some_and(|name| name.len() > NAME_BYTES_MAX)
        {
            self.problem("name", format!("is longer than {NAME_BYTES_MAX} bytes"));
        }
        if workflow.steps.is_empty() {
            self.problem("steps", "is empty; a workflow has at least one step");
        }
        if workflow.steps.len() > STEPS_MAX {
            self.problem("steps", format!("has more than {STEPS_MAX} steps"));
        }
    }

    fn step(&mut self, index: usize, step: &WorkflowStep) {
        let path = format!("steps[{index}]");
        self.id(&path, index, step);
        self.call(&path, step);
        self.limits(&path, step);
        for (position, name) in step.after.iter().enumerate() {
            self.need(&format!("{path}.after[{position}]"), name, Some(index));
        }
        if let Some(condition) = &step.condition {
            self.expression(&format!("{path}.if"), condition, index);
        }
        if let Some(list) = &step.for_each {
            self.expression(&format!("{path}.for_each"), list, index);
        }
        if let Some(body) = &step.call.body {
            let owner = Owner {
                index,
                fans_out: step.for_each.is_some(),
            };
            self.template(&format!("{path}.call.body"), body, Some(owner));
        }
    }

    fn id(&mut self, path: &str, index: usize, step: &WorkflowStep) {
        let path = format!("{path}.id");
        let id = step.id.as_str();
        let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_name = id.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(id);
        if !is_name || id.len() > STEP_ID_BYTES_MAX {
            let message = format!(
                "{id:?} must be a letter, then letters, digits and '_', at most {STEP_ID_BYTES_MAX}"
            );
            self.problem(path, message);
        } else if self.steps.get(id) != Some(&index) {
            self.problem(path, format!("{id:?} is the id of another step too"));
        }
    }

    fn call(&mut self, path: &str, step: &WorkflowStep) {
        let call = &step.call;
        let path = format!("{path}.call");
        let is_under = |prefix: &&str| {
            let rest = call.path.strip_prefix(*prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        };
        let visible = call.path.bytes().all(|byte| byte.is_ascii_graphic());
        if !call.path.starts_with("/v1/") || !visible || call.path.contains("..") {
            let message = format!(
                "{:?} is no path of the API; write one such as /v1/chat/completions",
                call.path
            );
            self.problem(format!("{path}.path"), message);
        } else if QUEUES.iter().any(is_under) {
            let message = format!("{:?} queues work itself, which a step may not", call.path);
            self.problem(format!("{path}.path"), message);
        }
        match (call.method, &call.body) {
            (CallMethod::Get, Some(_)) => {
                self.problem(format!("{path}.body"), "must be left out with GET");
            }
            (CallMethod::Post, None) => {
                self.problem(format!("{path}.body"), "is missing; POST needs one");
            }
            (_, Some(Value::Object(fields)))
                if fields.get("stream") == Some(&Value::Bool(true)) =>
            {
                let message = "must not be true: a step takes an answer whole";
                self.problem(format!("{path}.body.stream"), message);
            }
            (_, Some(body)) if is_too_deep(body) => {
                self.problem(format!("{path}.body"), "is nested too deeply");
            }
            _ => {}
        }
    }

    fn limits(&mut self, path: &str, step: &WorkflowStep) {
        if !(1..=CALLS_AT_ONCE_MAX).contains(&step.concurrency) {
            let message = format!("{} must be 1 to {CALLS_AT_ONCE_MAX}", step.concurrency);
            self.problem(format!("{path}.concurrency"), message);
        }
        if !(1..=ATTEMPTS_MAX).contains(&step.retry.attempts) {
            let message = format!("{} must be 1 to {ATTEMPTS_MAX}", step.retry.attempts);
            self.problem(format!("{path}.retry.attempts"), message);
        }
        let spans = [
            ("timeout", step.timeout.0, std::time::Duration::from_secs(1)),
            (
                "retry.backoff",
                step.retry.backoff.0,
                std::time::Duration::ZERO,
            ),
        ];
        for (name, span, least) in spans {
            if span < least || span > TIMEOUT_MAX {
                let (span, least) = (format_duration(span), format_duration(least));
                let message = format!("{span} must be {least} to {}", format_duration(TIMEOUT_MAX));
                self.problem(format!("{path}.{name}"), message);
            }
        }
    }

    /// An expression of a step, outside of its items.
    fn expression(&mut self, path: &str, text: &str, index: usize) {
        match self.reviewer.expression_references(text) {
            Ok(names) => {
                let owner = Owner {
                    index,
                    fans_out: false,
                };
                for name in names {
                    self.reference(path, &name, Some(owner));
                }
            }
            Err(error) => self.problem(path, error.detail),
        }
    }

    fn template(&mut self, path: &str, template: &Value, owner: Option<Owner>) {
        let join = |inner: &str| match inner {
            "" => path.to_owned(),
            inner if inner.starts_with('[') => format!("{path}{inner}"),
            inner => format!("{path}.{inner}"),
        };
        match self.reviewer.references(template) {
            Ok(found) => {
                for (inner, name) in found {
                    self.reference(&join(&inner), &name, owner);
                }
            }
            Err(errors) => {
                for error in errors {
                    self.problem(join(&error.path), error.detail);
                }
            }
        }
    }

    fn reference(&mut self, path: &str, name: &str, owner: Option<Owner>) {
        let mut parts = name.split('.');
        match (parts.next(), parts.next()) {
            (Some("trigger"), _) => {}
            (Some("item" | "index"), _) if owner.is_some_and(|owner| owner.fans_out) => {}
            (Some(word @ ("item" | "index")), _) => {
                let message = format!("{word:?} is there only in the call of a step with for_each");
                self.problem(path, message);
            }
            (Some("steps"), Some(step)) => {
                let part = parts.next();
                self.need(path, step, owner.map(|owner| owner.index));
                let known = ["output", "state", "status", "error"];
                if part.is_none_or(|part| !known.contains(&part)) {
                    let message = format!("write steps.{step}.output, .state, .status or .error");
                    self.problem(path, message);
                }
            }
            (Some("steps"), None) => {
                self.problem(path, "names no step; write steps.ID.output");
            }
            _ if is_function(name) => {}
            _ => {
                let message = format!("refers to {name:?}, which is neither trigger nor steps.ID");
                self.problem(path, message);
            }
        }
    }

    /// `step`, by its name, comes before `index`.
    fn need(&mut self, path: &str, step: &str, index: Option<usize>) {
        match self.steps.get(step) {
            None => self.problem(
                path,
                format!("refers to step {step:?}, which does not exist"),
            ),
            Some(needed) => {
                if let Some(index) = index {
                    self.needs[index].insert(*needed);
                }
            }
        }
    }
}

/// The step that a template belongs to.
#[derive(Clone, Copy)]
struct Owner {
    index: usize,
    fans_out: bool,
}

/// Functions of the template language, which it counts among the names that a text refers to.
fn is_function(name: &str) -> bool {
    name == "range"
}

fn cycle_problem(workflow: &Workflow, cycle: &[usize]) -> WorkflowProblem {
    let ids = cycle.iter().chain(cycle.first());
    let way: Vec<&str> = ids.map(|step| workflow.steps[*step].id.as_str()).collect();
    WorkflowProblem {
        path: format!("steps[{}]", cycle[0]),
        message: format!("waits for itself: {}", way.join(" -> ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(document: Value) -> Vec<(String, String)> {
        let workflow = serde_json::from_value(document).expect("a document");
        let problems = check(workflow).err().unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| (problem.path, problem.message))
            .collect()
    }

    fn step(id: &str, content: &str) -> Value {
        json!({"id": id, "call": {"path": "/v1/chat/completions", "body": {
            "model": "m", "messages": [{"role": "user", "content": content}]}}})
    }

    #[test]
    fn good_workflow_passes_with_its_order() {
        let workflow = json!({
            "name": "n",
            "steps": [
                {"id": "each", "for_each": "trigger.topics", "if": "trigger.topics | length > 0",
                 "call": {"path": "/v1/embeddings", "body": {"input": "{{ item }} {{ index }}"}}},
                step("last", "{{ steps.each.output }} {{ steps.first.output.choices[0].text }}"),
                step("first", "{{ trigger.topic }}"),
            ],
            "output": "{{ steps.last.output }}",
        });
        let checked = check(serde_json::from_value(workflow).expect("a document")).expect("good");
        assert_eq!(checked.graph.needs(1), &BTreeSet::from([0, 2]));
        assert_eq!(checked.graph.ends(), [1]);
    }

    #[test]
    fn each_unknown_reference_is_named_with_its_path() {
        let found = problems(json!({"steps": [
            step("a", "{{ steps.nobody.output }} {{ item }} {{ other.x }} {{ steps.a }}"),
            {"id": "b", "after": ["ghost"], "if": "steps.c.output", "call": {"path": "/v1/models", "method": "GET"}},
        ], "output": {"x": "{{ steps.d.output }}"}}));
        let content = "steps[0].call.body.messages[0].content";
        let has = |path: &str, word: &str| {
            let mut found = found.iter();
            found.any(|(at, message)| at == path && message.contains(word))
        };
        assert!(has(content, "\"nobody\""), "{found:?}");
        assert!(
            has(content, "\"item\"") && has(content, "\"other.x\""),
            "{found:?}"
        );
        assert!(has(content, "steps.a.output"), "{found:?}");
        assert!(has("steps[1].after[0]", "\"ghost\""), "{found:?}");
        assert!(
            has("steps[1].if", "\"c\"") && has("output.x", "\"d\""),
            "{found:?}"
        );
    }

    #[test]
    fn hostile_texts_are_named_wherever_they_stand() {
        let hostile = "'x' | indent(1000000000000)";
        let text = format!("{{{{ {hostile} }}}}");
        let found = problems(json!({"steps": [
            step("a", &text),
            {"id": "b", "if": hostile, "call": {"path": "/v1/models", "method": "GET"}},
            {"id": "c", "for_each": hostile, "call": {"path": "/v1/models", "method": "GET"}},
        ], "output": {"x": text}}));
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "steps[0].call.body.messages[0].content",
                "steps[1].if",
                "steps[2].for_each",
                "output.x"
            ]
        );
        for (path, message) in &found {
            assert!(
                message.contains("1000000000000") && message.contains("write 0 to 1000"),
                "{path}: {message}"
            );
        }
    }

    #[test]
    fn cycles_are_named_in_their_order() {
        let found = problems(json!({"steps": [
            step("a", "{{ steps.c.output }}"),
            step("b", "{{ steps.a.output }}"),
            step("c", "{{ steps.b.output }}"),
        ]}));
        assert_eq!(
            found,
            [(
                "steps[0]".to_owned(),
                "waits for itself: a -> c -> b -> a".to_owned()
            )]
        );
        let own = problems(json!({"steps": [step("a", "{{ steps.a.output }}")]}));
        assert!(own[0].1.contains("a -> a"), "{own:?}");
    }

    #[test]
    fn bad_ids_paths_and_limits_are_reported_at_once() {
        let found = problems(json!({"steps": [
            {"id": "1a", "call": {"path": "chat"}},
            {"id": "b", "concurrency": 65, "timeout": "2h", "retry": {"attempts": 0},
             "call": {"path": "/v1/batches/x", "body": {"stream": true}}},
            {"id": "b", "call": {"path": "/v1/models", "method": "GET", "body": {}}},
        ]}));
        let paths: BTreeSet<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        for path in [
            "steps[0].id",
            "steps[0].call.path",
            "steps[0].call.body",
            "steps[1].concurrency",
            "steps[1].timeout",
            "steps[1].retry.attempts",
            "steps[1].call.path",
            "steps[1].call.body.stream",
            "steps[2].id",
            "steps[2].call.body",
        ] {
            assert!(paths.contains(path), "{path}: {found:?}");
        }
        assert_eq!(problems(json!({"steps": []}))[0].0, "steps");
    }
}
