//! Errors about the limits of the client's key.

use std::time::Duration;

use grapevine_base::limits::{LimitKind, LimitsOutOfUse};
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use grapevine_core::ids::ModelName;
use http::StatusCode;

use super::Problem;

impl Problem {
    /// What the request needs of a limit is not there.
    pub(in super::super) fn limit_reached(
        kind: LimitKind,
        spec: LimitSpec,
        retry_after: Duration,
        wall: WallTime,
    ) -> Self {
        let amount = shown(kind, spec);
        if kind == LimitKind::Money {
            let until = wall.until_next(spec.window);
            let hours = until.as_secs() / 3_600;
            let minutes = until.as_secs() / 60 % 60;
            let message = format!(
                "what this request may cost is more than is left of this API key's budget ({amount}); the next \
                 period begins in {hours}h{minutes}m"
            );
            return Self::new(StatusCode::PAYMENT_REQUIRED, "budget_exhausted", message);
        }
        let message = format!("this API key is at its limit ({amount}); try again later");
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
        }
    }

    /// The request needs more than the whole limit.
    pub(in super::super) fn larger_than_limit(
        kind: LimitKind,
        units: u64,
        spec: LimitSpec,
    ) -> Self {
        let amount = shown(kind, spec);
        if kind == LimitKind::Money {
            let message = format!(
                "this request may cost more than the whole budget of this API key ({amount}); set a lower \
                 'max_tokens'"
            );
            return Self {
                param: Some("max_tokens"),
                ..Self::new(StatusCode::PAYMENT_REQUIRED, "budget_exhausted", message)
            };
        }
        let message = format!(
            "this request may use {units} {}, more than the whole limit of this API key ({amount}); send a \
             shorter one, or set a lower 'max_tokens'",
            kind.as_str()
        );
        Self {
            param: Some("max_tokens"),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "larger_than_limit", message)
        }
    }

    /// A stream has used more than its limit had left.
    pub(in super::super) fn budget_exceeded(kind: LimitKind, spec: LimitSpec) -> Self {
        let amount = shown(kind, spec);
        let status = match kind {
            LimitKind::Money => StatusCode::PAYMENT_REQUIRED,
            LimitKind::Requests | LimitKind::Tokens => StatusCode::TOO_MANY_REQUESTS,
        };
        let message = format!(
            "this answer used more than its request could reserve, and this API key's limit ({amount}) has no more; \
             what came before is incomplete"
        );
        Self::new(status, "budget_exceeded", message)
    }

    /// The key has a budget, and what the request would cost is not known.
    pub(in super::super) fn no_price(model: Option<&ModelName>) -> Self {
        let message = match model {
            Some(model) => format!(
                "this API key has a budget, and the model '{model}' has no price; ask the operator to add one \
                 (prices)"
            ),
            None => {
                "this API key has a budget, and the request names no model; set 'model'".to_owned()
            }
        };
        Self {
            param: Some("model"),
            ..Self::new(StatusCode::FORBIDDEN, "model_has_no_price", message)
        }
    }

    /// This node cannot apply limits, and so it does not serve keys that have some.
    pub(in super::super) fn limits_out_of_use(error: LimitsOutOfUse) -> Self {
        match error {
            LimitsOutOfUse::NotListed => Self::passing(
                StatusCode::SERVICE_UNAVAILABLE,
                "limits_not_held",
                "this API key has limits, and this node is not one of those that hold their rights (limits.nodes); \
                 ask another node",
            ),
            LimitsOutOfUse::Busy => Self::passing(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "this node has no room for the limits of another API key just now",
            ),
        }
    }

    /// An issued key's limits are not known where its background work runs.
    pub(in super::super) fn limits_of_background() -> Self {
        let message = "background work is not possible with an issued API key that has limits; use one of the \
                       configuration (keys), or one without limits";
        Self::new(StatusCode::FORBIDDEN, "limits_without_background", message)
    }
}

/// A limit in words.
fn shown(kind: LimitKind, spec: LimitSpec) -> String {
    let window = match spec.window {
        LimitWindow::Minute => "minute",
        LimitWindow::Day => "day",
        LimitWindow::Month => "month",
        LimitWindow::Held => "moment",
    };
    let amount = spec.amount;
    match kind {
        LimitKind::Requests => format!("{amount} requests in a {window}"),
        LimitKind::Tokens => format!("{amount} tokens in a {window}"),
        LimitKind::Money => {
            format!(
                "{}.{:06} US dollars a {window}",
                amount / 1_000_000,
                amount % 1_000_000
            )
        }
    }
}
