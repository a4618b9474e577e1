//! One call of a step: attempts until one succeeds, or no other would.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{CallApi, OwnAnswer};
use grapevine_base::headers;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::super::lenient;
use super::super::own;
use super::super::pace::jittered;
use super::super::task::{NewTask, TaskFault};
use super::called::{Called, StepFault};
use super::document::{ApiCall, CallMethod, ITEMS_MAX, Retry, WorkflowStep};
use super::result::ANSWER_BYTES_MAX;
use super::template::{TemplateError, is_too_deep};

/// The longest wait that an answer's `Retry-After` is given.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How much longer the request itself may take than the step: the step's own timeout is reported as such.
const GRACE: Duration = Duration::from_secs(1);

/// Makes the calls of one run, so many at once.
pub(super) struct Caller<'a> {
    pub(super) api: &'a dyn CallApi,
    /// On whose behalf.
    pub(super) task: &'a NewTask,
    pub(super) calls: &'a Semaphore,
}

/// How one attempt ended.
struct Tried {
    output: Result<Value, StepFault>,
    status: Option<u16>,
    /// When to try again; `None` where that would not help.
    again: Option<Duration>,
}

impl Caller<'_> {
    /// Calls what `step` names with `body`.
    pub(super) async fn call(&self, step: &WorkflowStep, body: Option<&Value>) -> Called {
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => Bytes::from(body.unwrap_or_default()),
            Err(error) => return Called::not_made(fault("template", error.to_string())),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let tried = self.attempt(step, body.clone()).await;
            let wait = tried.again.filter(|_| attempts < step.retry.attempts);
            let Some(wait) = wait else {
                return Called {
                    output: tried.output,
                    status: tried.status,
                    attempts,
                };
            };
            sleep(wait.max(backoff(step.retry, attempts))).await;
        }
    }

    async fn attempt(&self, step: &WorkflowStep, body: Bytes) -> Tried {
        // The semaphore lives as long as the run and is never closed.
        let _permit = self.calls.acquire().await;
        let (method, path) = match target(&step.call) {
            Ok(target) => target,
            Err(error) => return Tried::failed(fault("invalid_path", error), None),
        };
        let mut request = own::request(self.task, method, path, body);
        request.timeout = Some(step.timeout.0 + GRACE);
        let whole = async {
            let answer = self.api.call(request).await;
            judge(answer).await
        };
        match timeout(step.timeout.0, whole).await {
            Ok(tried) => tried,
            Err(_) => {
                let fault = fault("timeout", "no whole answer came within the step's timeout");
                Tried::failed(fault, Some(Duration::ZERO))
            }
        }
    }
}

fn target(call: &ApiCall) -> Result<(Method, PathAndQuery), String> {
    let path = call.path.parse::<PathAndQuery>();
    let method = match call.method {
        CallMethod::Post => Method::POST,
        CallMethod::Get => Method::GET,
    };
    Ok((method, path.map_err(|error| error.to_string())?))
}

/// Reads an answer whole, and decides whether another attempt may do better.
async fn judge(answer: OwnAnswer) -> Tried {
    let status = answer.status;
    let retry_after = headers::retry_after(&answer.headers, std::time::SystemTime::now());
    let is_json = is_json(&answer.headers);
    let body = Limited::new(answer.body, ANSWER_BYTES_MAX).collect().await;
    let body = match body {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let fault = fault(
                "too_long",
                format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"),
            );
            return Tried {
                status: Some(status.as_u16()),
                ..Tried::failed(fault, None)
            };
        }
        Err(_) => {
            let fault = fault("broken_off", "the answer broke off");
            return Tried {
                status: Some(status.as_u16()),
                ..Tried::failed(fault, Some(Duration::ZERO))
            };
        }
    };
    let value = match lenient::parse(&body) {
        // Deeper than a template's own: what keeps it reads no more than twice of that, with what is around it.
        Ok(value) if is_json && !is_too_deep(&value) => value,
        _ => Value::String(String::from_utf8_lossy(&body).into_owned()),
    };
    if status.is_success() {
        return Tried {
            output: Ok(value),
            status: Some(status.as_u16()),
            again: None,
        };
    }
    let again = may_do_better(status).then(|| retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
    Tried {
        output: Err(reported(status, &value)),
        status: Some(status.as_u16()),
        again,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content = headers.get(http::header::CONTENT_TYPE);
    let content = content
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    content
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().ends_with("json"))
}

/// What the OpenAI SDKs try again.
fn may_do_better(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429 | 500..=599)
}

/// The fault of an error in the API's shape, with its own code and message.
fn reported(status: StatusCode, body: &Value) -> StepFault {
    let error = &body["error"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let code = text(&error["code"]).or_else(|| text(&error["type"]));
    let message = text(&error["message"]).or_else(|| text(error));
    fault(
        &code.unwrap_or_else(|| "status".to_owned()),
        message.unwrap_or_else(|| format!("the answer's status was {status}")),
    )
}

pub(super) fn fault(code: &str, message: impl Into<String>) -> StepFault {
    let TaskFault { code, message } = TaskFault::new(code, message);
    StepFault { code, message }
}

/// The wait after `attempts`: doubled with each, jittered down to half of it.
fn backoff(retry: Retry, attempts: u32) -> Duration {
    let doubled = retry
        .backoff
        .0
        .saturating_mul(1 << attempts.saturating_sub(1).min(16));
    jittered(doubled)
}

impl Tried {
    fn failed(fault: StepFault, again: Option<Duration>) -> Self {
        Self {
            output: Err(fault),
            status: None,
            again,
        }
    }
}

/// No call was made, since the template of `what` gives nothing.
pub(super) fn not_made(what: &str, error: &TemplateError) -> Called {
    let location = match error.path.as_str() {
        "" => what.to_owned(),
        path if path.starts_with('[') => format!("{what}{path}"),
        path => format!("{what}.{path}"),
    };
    Called::not_made(fault("template", format!("{location} {}", error.detail)))
}

/// Why `value` is nothing to fan out over.
pub(super) fn no_list(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!(
                "for_each gives {} items, more than {ITEMS_MAX}",
                items.len()
            )
        }
        _ => "for_each gives no list".to_owned(),
    }
}
