//! Errors of our own: the party at fault, whether a retry helps, and the same in the API's own shape.

mod kept;
mod key;
mod limit;
mod refused;
mod shape;
mod websocket;

use std::time::Duration;

use grapevine_core::forwarding::Methods;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::outcome::{Finding, Outcome, Refusal, Stage};
use grapevine_core::residency::Fence;
use grapevine_core::route::{Bar, PlanError};
use http::StatusCode;

use grapevine_observe::metrics::RESIDENCY;

pub(super) use limit::Reached;
pub(super) use shape::Shape;

/// The longest wait that an error of ours asks for: clients should retry soon, since a mesh recovers soon.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// The wait that an error asks for when no better value is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The code of a request that is wrong in itself.
const INVALID: &str = "invalid_request";

/// Names that an error about an unknown model suggests.
const NEAREST_MAX: usize = 3;

/// Why this node answers with an error of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(super) status: StatusCode,
    /// One word, for programs, headers and records.
    pub(super) code: &'static str,
    /// For people: what happened, who is at fault, what to do.
    pub(super) message: String,
    /// The part of the request that is at fault.
    pub(super) param: Option<&'static str>,
    /// The methods that the path takes, where the method is at fault.
    pub(super) allow: Option<Methods>,
    /// When a retry may help; `None` when it does not.
    pub(super) retry_after: Option<Duration>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            allow: None,
            retry_after: None,
        }
    }

    fn passing(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(status, code, message)
        }
    }

    /// The request is wrong at `param`.
    pub(super) fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            param,
            ..Self::new(StatusCode::BAD_REQUEST, INVALID, message)
        }
    }

    pub(super) fn missing_key() -> Self {
        let message =
            "no API key was given; send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'";
        Self::new(StatusCode::UNAUTHORIZED, "missing_api_key", message)
    }

    pub(super) fn model_not_allowed(model: &ModelName) -> Self {
        let message = format!("this API key may not use the model '{model}'");
        Self {
            param: Some("model"),
            ..Self::new(StatusCode::FORBIDDEN, "model_not_allowed", message)
        }
    }

    pub(super) fn key_of_a_worker() -> Self {
        let message = "this API key is for tasks of its services alone: it may create, lease and end them \
                       below /v1/tasks";
        Self::new(StatusCode::FORBIDDEN, "key_is_for_services", message)
    }

    pub(super) fn no_background() -> Self {
        let message = "this node takes no background work: its configuration says 'tasks.queue: off'; \
                       ask another node";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_task_store", message)
    }

    /// The node reserves its remaining request slots for clients.
    pub(super) fn reserved_for_clients() -> Self {
        let message =
            "half of this node's request slots are taken; the rest is reserved for clients";
        Self::passing(StatusCode::SERVICE_UNAVAILABLE, "yielding", message)
    }

    /// This node may not even store the request's content.
    pub(super) fn not_here(region: &RegionName, fence: Option<&Fence>) -> Self {
        match fence {
            Some(fence) => Self::residency(Some(fence)),
            None => {
                let message =
                    format!("the request does not allow region '{region}', where this node is");
                Self::new(
                    StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
                    "no_allowed_region",
                    message,
                )
            }
        }
    }

    pub(super) fn model_not_shown() -> Self {
        let message = "this API key is limited to some models, and the request names none";
        Self {
            param: Some("model"),
            ..Self::new(StatusCode::FORBIDDEN, "model_not_allowed", message)
        }
    }

    pub(super) fn method_not_allowed(allowed: Methods) -> Self {
        let message = format!("this path takes {allowed} only");
        Self {
            allow: Some(allowed),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                message,
            )
        }
    }

    pub(super) fn body_too_large(max: usize) -> Self {
        let message = format!("the request body is larger than the limit of {max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(super) fn body_timed_out() -> Self {
        let message =
            "the request body did not arrive in time; send it faster or in smaller requests";
        Self::passing(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    }

    /// All bodies together hold their memory: this one would be refused from any client.
    pub(super) fn body_memory_full(limit: u64) -> Self {
        let message = format!(
            "request bodies hold the memory that this node has for them (limits.body_memory: {limit} bytes); \
             try again soon, or ask another node"
        );
        Self::passing(StatusCode::SERVICE_UNAVAILABLE, "body_memory_full", message)
    }

    /// The client's bodies hold its share.
    pub(super) fn body_share_full(limit: u64) -> Self {
        let message = format!(
            "the requests of this client hold their share of the memory for request bodies \
             (limits.body_memory: {limit} bytes); send fewer or smaller ones at a time"
        );
        Self::passing(StatusCode::TOO_MANY_REQUESTS, "body_share_full", message)
    }

    pub(super) fn looped() -> Self {
        let message = "the request came back to the mesh it had left (CDN-Loop): an upstream's \
                       base_url points at a grapevine node";
        Self::new(StatusCode::LOOP_DETECTED, "loop_detected", message)
    }

    /// The limit of waiting polls is reached, of all or of this client.
    pub(super) fn polls_full(max: u32) -> Self {
        let message = format!(
            "the limit of waiting polls for tasks is reached (limits.polls: {max}, half of them for one client); poll \
            with fewer workers, at another node, or lease several tasks at once (max)"
        );
        Self::passing(StatusCode::TOO_MANY_REQUESTS, "polls_full", message)
    }

    pub(super) fn draining() -> Self {
        let message = "this node is shutting down; ask another one";
        Self::passing(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
    }

    pub(super) fn budget_spent() -> Self {
        let message =
            "an attempt failed, and the retry budget is spent: too much is failing just now";
        Self::passing(
            StatusCode::SERVICE_UNAVAILABLE,
            "retry_budget_spent",
            message,
        )
    }

    /// There is no candidate for the request for `model`.
    pub(super) fn no_plan(
        model: Option<&ModelName>,
        error: PlanError,
        fence: Option<&Fence>,
    ) -> Self {
        match error {
            PlanError::UnknownModel { nearest } => Self::unknown_model(model, &nearest),
            PlanError::Joining => Self::joining(),
            PlanError::NoneReachable { retry_after } => Self {
                retry_after: Some(retry_after.min(RETRY_AFTER_MAX)),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "no_upstream_reachable",
                    "every upstream for this model is out of reach; try again soon",
                )
            },
            PlanError::Resting { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "upstreams_resting",
                    "every upstream for this model asked for a rest; try again when it is over",
                )
            },
            PlanError::NotAllowed {
                by: Bar::ClientRegions,
            } => Self::new(
                StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
                "no_allowed_region",
                "no upstream for this model is in a region that the request allows",
            ),
            PlanError::OwnerGone => Self::owner_gone(),
            PlanError::NotAllowed {
                by: by @ (Bar::Owner | Bar::Upstream),
            } => Self::not_there(by),
            PlanError::NotAllowed { by: Bar::Residency } => Self::residency(fence),
            PlanError::NotAllowed { by: Bar::WebSocket } => Self::no_websocket(model),
            PlanError::NotAllowed { by: Bar::Dialect } => Self::new(
                StatusCode::BAD_REQUEST,
                "not_translatable",
                "no upstream of this model has this API, and the request cannot be written for another",
            ),
        }
    }

    /// Residency permits no upstream that could serve the request; `fence` is this node's own, unless another
    /// node's rules refused it.
    pub(super) fn residency(fence: Option<&Fence>) -> Self {
        let reason = match fence {
            Some(fence) if fence.regions.is_empty() => {
                format!("the data residency rules {fence} have no region in common")
            }
            Some(fence) => {
                let regions: Vec<&str> = fence.regions.iter().map(RegionName::as_str).collect();
                let regions = regions.join(", ");
                format!(
                    "data residency ({fence}) permits {regions} only, where nothing can serve it"
                )
            }
            None => {
                "the data residency rules of the nodes that serve it do not permit it".to_owned()
            }
        };
        let message = format!("the request may not leave its fence: {reason}");
        Self::new(
            StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            RESIDENCY,
            message,
        )
    }

    /// The node has just started: what it does not know yet must not lead to a final answer.
    pub(super) fn joining() -> Self {
        let message = "no node that this one knows has what is asked for, and it does not know all of the mesh yet, \
             since a node has just started; try again soon";
        Self::passing(StatusCode::SERVICE_UNAVAILABLE, "node_joining", message)
    }

    pub(super) fn no_node_ready() -> Self {
        let message = "no node of the mesh is ready for requests; try again soon";
        Self::passing(StatusCode::SERVICE_UNAVAILABLE, "no_node_ready", message)
    }

    pub(super) fn no_node_allowed() -> Self {
        Self::new(
            StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            "no_allowed_region",
            "no ready node is in a region that the request allows",
        )
    }

    pub(super) fn unknown_model(model: Option<&ModelName>, nearest: &[ModelName]) -> Self {
        let nearest: Vec<&str> = nearest
            .iter()
            .take(NEAREST_MAX)
            .map(ModelName::as_str)
            .collect();
        let hint = match nearest.as_slice() {
            [] => "GET /v1/models lists what there is".to_owned(),
            names => format!("similar names: {}", names.join(", ")),
        };
        let message = match model {
            Some(model) => format!("the model '{model}' does not exist in this mesh; {hint}"),
            None => "no upstream takes requests without a model".to_owned(),
        };
        Self {
            param: Some("model"),
            ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message)
        }
    }

    /// The last attempt ended in `outcome`, and no other is left.
    pub(super) fn failed(outcome: &Outcome) -> Self {
        let bad_gateway = |code, message| Self::passing(StatusCode::BAD_GATEWAY, code, message);
        match outcome {
            Outcome::Status {
                finding: Finding::Redirect,
                ..
            } => bad_gateway(
                "upstream_redirect",
                "the upstream answers with a redirect, which this gateway does not follow: its base_url is wrong",
            ),
            Outcome::Status {
                finding: Finding::AccountLimit,
                retry_after,
                ..
            } => Self::account_limit_reached(*retry_after),
            Outcome::Status {
                finding: Finding::NotAnAnswer,
                ..
            } => bad_gateway(
                "upstream_no_answer",
                "the upstream answered with nothing, or with a page, under the status of a success",
            ),
            Outcome::Status {
                finding: Finding::Credential,
                ..
            } => bad_gateway(
                "upstream_credential",
                "the upstream refused this gateway's own credential; your key is not at fault",
            ),
            Outcome::TimedOut(Stage::Connect) | Outcome::ConnectFailed => bad_gateway(
                "upstream_unreachable",
                "no connection to an upstream could be opened",
            ),
            Outcome::TimedOut(_) | Outcome::Stalled => Self::passing(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "the upstream did not answer in time",
            ),
            Outcome::DeadlinePassed => Self::passing(
                StatusCode::GATEWAY_TIMEOUT,
                "deadline_passed",
                "no upstream answered within the request's own time limit",
            ),
            Outcome::Refused(Refusal::Residency) => Self::residency(None),
            Outcome::Refused(Refusal::Protocol) => bad_gateway(
                "peer_refused",
                "the node that serves the model does not take this request; its version or its 'forward' \
                 differs from this node's",
            ),
            Outcome::Refused(_) => Self::passing(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "every upstream for this model is at its limit or not taking requests",
            ),
            Outcome::BrokenOff => bad_gateway(
                "upstream_broken_off",
                "the upstream's answer broke off; what came before is incomplete",
            ),
            Outcome::PeerLost | Outcome::PeerUnreached => {
                bad_gateway("peer_lost", "the node that was asked went away")
            }
            Outcome::Status { .. } | Outcome::Reset | Outcome::Cancelled => bad_gateway(
                "upstream_error",
                "the upstream closed the connection without an answer, or broke the rules of HTTP",
            ),
        }
    }
}
