//! One response made in the background.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::headers;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::id::{Id, Kind};
use super::super::own;
use super::super::service::{TaskError, Work};
use super::super::store::{NOTE_BYTES_MAX, Note};
use super::super::task::{Task, TaskFault};
use super::super::whole;

/// The note that holds the answer's body, good or bad.
pub(crate) const ANSWER_NOTE: u64 = 0;

/// What a request's file is kept for.
pub(crate) const PURPOSE: &str = "response_input";

/// The name of a request's file, where it has one: it follows from the response's own.
pub(crate) fn input_id(response: &Id) -> Id {
    response.derived(Kind::File, "input")
}

/// Where responses are made.
const PATH: &str = "/v1/responses";

/// The longest wait that an answer's `Retry-After` is given.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// A response as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResponseJob {
    /// The model, for those who look before it is made.
    pub(crate) model: Option<String>,
    /// What is asked.
    pub(crate) body: Body,
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    /// Short enough for the task itself.
    Here(Value),
    /// In a file of the task's store.
    File(Id),
}

/// Makes the response; the service tries again what may do better.
pub(super) async fn run(task: &Task, job: &ResponseJob, work: &Work) -> Result<Value, TaskError> {
    let store = work.store().as_ref();
    let body = match &job.body {
        Body::Here(body) => Bytes::from(body.to_string()),
        Body::File(file) => whole::read(store, file).await?,
    };
    let request = own::request(
        &task.new,
        Method::POST,
        PathAndQuery::from_static(PATH),
        body,
    );
    let asked = async {
        let answer = work.api().call(request).await;
        let wait = headers::retry_after(&answer.headers, std::time::SystemTime::now());
        let body = Limited::new(answer.body, NOTE_BYTES_MAX).collect().await;
        (answer.status, wait, body.map(|body| body.to_bytes()))
    };
    let (status, wait, body) = tokio::select! {
        biased;
        () = work.cancelled() => return Err(TaskError::Cancelled),
        asked = asked => asked,
    };
    let Ok(body) = body else {
        let message = "the answer broke off, or is longer than can be kept";
        return Err(TaskError::Retry(TaskFault::new("broken_off", message)));
    };
    let may_do_better = matches!(status.as_u16(), 408 | 429 | 500..=599);
    let is_last = task.attempts >= task.new.attempts_max;
    if may_do_better && !is_last {
        let fault = fault(status);
        let wait = wait.map(|wait| wait.min(RETRY_AFTER_MAX));
        return Err(match wait {
            Some(wait) => TaskError::RetryAfter(fault, wait),
            None => TaskError::Retry(fault),
        });
    }
    let note = Note {
        number: ANSWER_NOTE,
        content: body,
    };
    work.save(&[note]).await?;
    match status.is_success() {
        true => Ok(json!({"status": status.as_u16()})),
        false => Err(TaskError::Fatal(fault(status))),
    }
}

fn fault(status: StatusCode) -> TaskFault {
    TaskFault::new(
        "upstream_error",
        format!("the answer's status was {status}"),
    )
}
