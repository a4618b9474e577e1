//! Workers out of process: they lease tasks over HTTP, keep the leases, and report how the tasks ended.
//!
//! A worker needs a key that is for its services, or a listener that needs no keys; and the node it asks must
//! serve the service by its mode. A task of another node's store is lent through here as well.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grapevine_base::exchange::TaskCaller;
use grapevine_core::ids::ServiceKey;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ApiError;
use super::extract::{Body, DurationParam, Who, service};
use super::show::{self, Extent};
use crate::behalf::Behalf;
use crate::hub::Hub;
use crate::pace::jittered;
use crate::store::{End, LEASES_MAX, Lease, LeaseAsk, LeaseHold, Store};
use crate::taking::{Taken, Taker};
use crate::task::{CheckedText, OUTPUT_BYTES_MAX, Task, TaskFault, TaskProgress};

/// The longest poll.
const POLL_MAX: Duration = Duration::from_secs(60);

/// The longest wait of one look within a poll.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The lease of a worker that asks for none.
const LEASE_DEFAULT: Duration = Duration::from_secs(60);

/// The shortest and the longest lease.
const LEASE_SPANS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

/// The longest name of a worker in bytes.
const WORKER_BYTES_MAX: usize = 100;

/// The longest code of a fault in bytes.
const CODE_BYTES_MAX: usize = 64;

/// The part of the router.
pub(super) fn router() -> Router<Hub> {
    Router::new()
        .route("/v1/tasks/lease", post(lease))
        .route("/v1/tasks/{id}/heartbeat", post(heartbeat))
        .route("/v1/tasks/{id}/complete", post(complete))
        .route("/v1/tasks/{id}/fail", post(fail))
        .route("/v1/tasks/{id}/release", post(release))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseBody {
    service: String,
    worker: String,
    #[serde(default = "one")]
    max: usize,
    lease_seconds: Option<DurationParam>,
    #[serde(default)]
    wait_seconds: DurationParam,
}

const fn one() -> usize {
    1
}

async fn lease(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Body(wanted): Body<LeaseBody>,
) -> Result<Json<Value>, ApiError> {
    let service = service("service", &wanted.service)?;
    check_worker(&hub, &caller, &service)?;
    let is_name = |name: &str| {
        (1..=WORKER_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
    };
    if !is_name(&wanted.worker) {
        let message = format!("worker must be a name of 1 to {WORKER_BYTES_MAX} bytes");
        return Err(ApiError::invalid("worker", message));
    }
    if !(1..=LEASES_MAX).contains(&wanted.max) {
        let message = format!("max must be from 1 to {LEASES_MAX}");
        return Err(ApiError::invalid("max", message));
    }
    let span = wanted.lease_seconds.map_or(LEASE_DEFAULT, |span| span.0);
    if !LEASE_SPANS.contains(&span) {
        let message = "lease_seconds must be from 1 to 3600";
        return Err(ApiError::invalid("lease_seconds", message));
    }
    let ask = LeaseAsk {
        service: CheckedText(service.clone()),
        worker: wanted.worker,
        region: CheckedText(hub.region().clone()),
        span,
        max: wanted.max,
        // A worker out of process is a process of its own: a suspect task ends nothing but that worker.
        suspects: true,
    };
    let taken = poll(&hub, &service, &ask, wanted.wait_seconds.0.min(POLL_MAX)).await?;
    let data: Vec<Value> = taken.iter().map(|taken| lent(taken, span)).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// Takes leases, waiting for some for at most `patience`.
async fn poll(
    hub: &Hub,
    service: &ServiceKey,
    ask: &LeaseAsk,
    patience: Duration,
) -> Result<Vec<Taken>, ApiError> {
    let until = Instant::now() + patience;
    // Peers lend only to nodes that publish the service.
    hub.publish(service);
    let mut taker = Taker::new(hub.clone());
    let mut phases = hub.driver().changes();
    loop {
        let taken = taker.take(ask).await?;
        let left = until.saturating_duration_since(Instant::now());
        let is_draining = hub.driver().view().phase == grapevine_core::fact::Phase::Draining;
        if !taken.is_empty() || left.is_zero() || is_draining {
            return Ok(taken);
        }
        tokio::select! {
            () = taker.wait(service, left.min(LOOK_MAX)) => {}
            () = draining(hub, &mut phases) => {}
        }
    }
}

/// Waits until the node drains: polls must not delay it.
async fn draining(hub: &Hub, views: &mut tokio::sync::watch::Receiver<()>) {
    while hub.driver().view().phase != grapevine_core::fact::Phase::Draining {
        if views.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A worker's key must be for the service, and the node must serve it.
fn check_worker(hub: &Hub, caller: &TaskCaller, service: &ServiceKey) -> Result<(), ApiError> {
    let is_for_it = match (&caller.services, &caller.key) {
        (Some(services), _) => services.contains(service),
        (None, key) => key.is_none(),
    };
    if !is_for_it {
        let message = format!(
            "this API key may not run tasks of '{service}'; a worker's key names it: \
             keys: [{{name, hash, services: [\"{service}\"]}}]"
        );
        return Err(ApiError::forbidden(message));
    }
    if !hub.mode().serves(service) {
        let message =
            format!("this node does not serve '{service}' by its WORKER_MODE; ask one that does");
        return Err(ApiError::forbidden(message));
    }
    Ok(())
}

/// What a worker presents with each call about its task.
#[derive(Serialize, Deserialize)]
struct Ticket {
    lease: Lease,
    span: Duration,
}

impl Ticket {
    fn write(&self) -> String {
        // A lease is names and numbers, which JSON can always hold.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Option<Self> {
        let ticket: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        LEASE_SPANS.contains(&ticket.span).then_some(ticket)
    }
}

fn lent(taken: &Taken, span: Duration) -> Value {
    let ticket = Ticket {
        lease: taken.lease.clone(),
        span,
    };
    json!({
        "lease": ticket.write(),
        "lease_seconds": span.as_secs_f64(),
        "task": show::task(&taken.task, Extent::Whole),
    })
}

/// A task that a worker makes a call about.
struct Lent {
    store: std::sync::Arc<dyn Store>,
    task: Task,
    ticket: Ticket,
}

async fn held(hub: &Hub, caller: &TaskCaller, id: &str, ticket: &str) -> Result<Lent, ApiError> {
    let ticket = Ticket::read(ticket).filter(|ticket| ticket.lease.id.as_str() == id);
    let Some(ticket) = ticket else {
        let message = "lease is not what POST /v1/tasks/lease gave for this task";
        return Err(ApiError::invalid("lease", message));
    };
    let (task, _) = show::find(hub, caller, "task", id).await?;
    check_worker(hub, caller, &task.new.service.0)?;
    let store = hub.store_of(&task.new.id, Behalf::Worker(task.new.id.clone()))?;
    Ok(Lent {
        store,
        task,
        ticket,
    })
}

/// The answer to a worker about its lease.
fn hold_answer(held: LeaseHold) -> Result<Json<Value>, ApiError> {
    match held {
        LeaseHold::Kept => Ok(Json(json!({"held": true, "cancel_requested": false}))),
        LeaseHold::CancelRequested => Ok(Json(json!({"held": true, "cancel_requested": true}))),
        LeaseHold::Lost => Err(ApiError::conflict(
            "lease_lost",
            "the lease ran out or the task ended: nothing was changed; drop the work",
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatBody {
    lease: String,
    progress: Option<TaskProgress>,
}

async fn heartbeat(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
    Body(body): Body<HeartbeatBody>,
) -> Result<Json<Value>, ApiError> {
    let held = held(&hub, &caller, &id, &body.lease).await?;
    let Ticket { lease, span } = &held.ticket;
    hold_answer(held.store.renew(lease, *span, body.progress).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteBody {
    lease: String,
    #[serde(default)]
    output: Value,
}

async fn complete(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
    Body(body): Body<CompleteBody>,
) -> Result<Json<Value>, ApiError> {
    let length = serde_json::to_string(&body.output).map_or(0, |text| text.len());
    if length > OUTPUT_BYTES_MAX {
        let message = format!(
            "the output has {length} bytes of at most {OUTPUT_BYTES_MAX}; put what is longer into a file"
        );
        return Err(ApiError::invalid("output", message));
    }
    let held = held(&hub, &caller, &id, &body.lease).await?;
    end(&hub, held, End::Completed(body.output)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailBody {
    lease: String,
    error: FaultBody,
    /// Left out: after the usual wait. `null`: never. A number: seconds.
    #[serde(default, deserialize_with = "written")]
    retry_after: Option<Option<DurationParam>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FaultBody {
    Message(String),
    Whole { code: String, message: String },
}

/// Distinguishes what was left out from what was written as `null`.
fn written<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<DurationParam>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

async fn fail(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
    Body(body): Body<FailBody>,
) -> Result<Json<Value>, ApiError> {
    let fault = match body.error {
        FaultBody::Message(message) => TaskFault::new("failed", message),
        FaultBody::Whole { code, .. } if code.len() > CODE_BYTES_MAX => {
            let message = format!("the code of an error has at most {CODE_BYTES_MAX} bytes");
            return Err(ApiError::invalid("error", message));
        }
        FaultBody::Whole { code, message } => TaskFault::new(&code, message),
    };
    let held = held(&hub, &caller, &id, &body.lease).await?;
    let policy = hub.policy(&held.task.new.service.0);
    let retry_after = match body.retry_after {
        Some(wait) => wait.map(|span| span.0),
        None => Some(jittered(policy.backoff_after(held.task.attempts))),
    };
    end(&hub, held, End::Failed { fault, retry_after }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    lease: String,
    /// The work was dropped because somebody wanted it cancelled.
    #[serde(default)]
    cancelled: bool,
}

async fn release(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
    Body(body): Body<ReleaseBody>,
) -> Result<Json<Value>, ApiError> {
    let held = held(&hub, &caller, &id, &body.lease).await?;
    let how = match body.cancelled {
        true => End::Cancelled,
        false => End::Returned,
    };
    end(&hub, held, how).await
}

async fn end(hub: &Hub, held: Lent, end: End) -> Result<Json<Value>, ApiError> {
    let how = match &end {
        End::Completed(_) => "completed",
        End::Failed { .. } => "failed",
        End::Cancelled => "cancelled",
        End::Returned => "returned",
    };
    let answer = hold_answer(held.store.finish(&held.ticket.lease, end).await?)?;
    let began = held.task.started_at.unwrap_or(held.task.created_at);
    let now = crate::task::Timestamp::now();
    let took = Duration::from_millis(now.0.saturating_sub(began.0));
    hub.watcher().ended(&held.task.new.service.0, how, took);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_out_wait_differs_from_null() {
        let wait = |text: &str| {
            let body: FailBody = serde_json::from_str(text).expect("a body");
            body.retry_after
                .map(|wait| wait.map(|span| span.0.as_secs()))
        };
        assert_eq!(wait(r#"{"lease": "x", "error": "e"}"#), None);
        assert_eq!(
            wait(r#"{"lease": "x", "error": "e", "retry_after": null}"#),
            Some(None)
        );
        assert_eq!(
            wait(r#"{"lease": "x", "error": {"code": "c", "message": "m"}, "retry_after": 2}"#),
            Some(Some(2))
        );
    }

    #[test]
    fn foreign_text_is_no_ticket() {
        for text in ["", "x", "e30", "AAAA"] {
            assert!(Ticket::read(text).is_none(), "{text}");
        }
    }
}
