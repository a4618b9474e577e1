//! Errors about the limits of the client's key, and of the accounts that upstreams draw on.

use std::fmt;
use std::time::Duration;

use grapevine_base::limits::{LimitKind, LimitsOutOfUse};
use grapevine_base::queue::{QueueRefusal, QueueRefused};
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use grapevine_core::ids::ModelName;
use http::StatusCode;

use super::Problem;

/// A limit that has too little for a request.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Reached<'a> {
    pub(in super::super) kind: LimitKind,
    pub(in super::super) spec: LimitSpec,
    /// `None` where it is for every model.
    pub(in super::super) model: Option<&'a ModelName>,
}

/// When a client tries again that has too many requests in flight: nobody knows when one ends.
const CONCURRENCY_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Problem {
    /// What the request needs of a limit is not there.
    pub(in super::super) fn limit_reached(
        reached: Reached<'_>,
        retry_after: Duration,
        wall: WallTime,
    ) -> Self {
        let refused = |code, message, retry_after| Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
        };
        match reached.kind {
            LimitKind::Money => {
                let until = wall.until_next(reached.spec.window);
                let hours = until.as_secs() / 3_600;
                let minutes = until.as_secs() / 60 % 60;
                let message = format!(
                    "what this request may cost is more than is left of this API key's budget ({reached}); the next \
                     period begins in {hours}h{minutes}m"
                );
                Self::new(StatusCode::PAYMENT_REQUIRED, "budget_exhausted", message)
            }
            LimitKind::Concurrency => {
                let message = format!(
                    "this API key has as many requests in flight as it may ({reached}); try again when one has ended"
                );
                refused("concurrency_limited", message, CONCURRENCY_RETRY_AFTER)
            }
            LimitKind::Requests | LimitKind::Tokens => {
                let message = format!("this API key is at its limit ({reached}); try again later");
                refused("rate_limited", message, retry_after)
            }
        }
    }

    /// The request needs more than the whole limit.
    pub(in super::super) fn larger_than_limit(reached: Reached<'_>, units: u64) -> Self {
        let (status, code, message) = match reached.kind {
            LimitKind::Money => {
                let message = format!(
                    "this request may cost more than the whole budget of this API key ({reached}); set a lower \
                     'max_tokens'"
                );
                (StatusCode::PAYMENT_REQUIRED, "budget_exhausted", message)
            }
            kind => {
                let message = format!(
                    "this request may use {units} {}, more than the whole limit of this API key ({reached}); send a \
                     shorter one, or set a lower 'max_tokens'",
                    kind.as_str()
                );
                (StatusCode::TOO_MANY_REQUESTS, "larger_than_limit", message)
            }
        };
        Self {
            param: Some("max_tokens"),
            ..Self::new(status, code, message)
        }
    }

    /// No upstream may be asked: the accounts that they draw on are at limits of the operator's own. `retry_after` is
    /// when the first of them is not; `None` where the request is larger than a whole limit, or its model has no price.
    pub(in super::super) fn account_limit_reached(retry_after: Option<Duration>) -> Self {
        let message = match retry_after {
            Some(_) => {
                "every account by which this model could be asked is at a limit that this gateway's operator has set; \
                 your key is not at fault; try again later"
            }
            None => {
                "this request may use more than a whole limit that this gateway's operator has set for the account, or \
                 has no price there; set a lower 'max_tokens', or ask the operator"
            }
        };
        Self {
            retry_after,
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "account_limit_reached",
                message,
            )
        }
    }

    /// A stream has used more than its limit had left.
    pub(in super::super) fn budget_exceeded(reached: Reached<'_>) -> Self {
        let status = match reached.kind {
            LimitKind::Money => StatusCode::PAYMENT_REQUIRED,
            _ => StatusCode::TOO_MANY_REQUESTS,
        };
        let message = format!(
            "this answer used more than its request could reserve, and this API key's limit ({reached}) has no more; \
             what came before is incomplete"
        );
        Self::new(status, "budget_exceeded", message)
    }

    /// The node has as many requests in flight as it may, and none ended in time.
    pub(in super::super) fn no_slot(refused: QueueRefused) -> Self {
        let (status, code, message) = match refused.by {
            QueueRefusal::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "this node is at its limit of requests in flight, and too many wait already; try again later",
            ),
            QueueRefusal::KeyFull => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_waiting",
                "this node is at its limit of requests in flight, and too many requests of this API key wait already; \
                 send fewer at a time",
            ),
            QueueRefusal::TooLate => (
                StatusCode::TOO_MANY_REQUESTS,
                "waited_too_long",
                "this node is at its limit of requests in flight, and this request's turn did not come in time; try \
                 again later",
            ),
        };
        Self {
            retry_after: Some(refused.retry_after),
            ..Self::new(status, code, message)
        }
    }

    /// A request with a limit on requests at once ran for `most`.
    pub(in super::super) fn held_too_long(most: Duration) -> Self {
        let message = format!(
            "this API key has a limit on requests at once, and none of them may run for longer than {} minutes; what \
             came before is incomplete",
            most.as_secs() / 60
        );
        Self::new(StatusCode::GATEWAY_TIMEOUT, "held_too_long", message)
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
}

/// The limit in words.
impl fmt::Display for Reached<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = match self.spec.window {
            LimitWindow::Minute => "minute",
            LimitWindow::Day => "day",
            LimitWindow::Month => "month",
            LimitWindow::Held => "moment",
        };
        let amount = self.spec.amount;
        match self.kind {
            LimitKind::Concurrency => write!(formatter, "{amount} requests at once")?,
            LimitKind::Requests => write!(formatter, "{amount} requests in a {window}")?,
            LimitKind::Tokens => write!(formatter, "{amount} tokens in a {window}")?,
            LimitKind::Money => {
                let (whole, part) = (amount / 1_000_000, amount % 1_000_000);
                write!(formatter, "{whole}.{part:06} US dollars a {window}")?;
            }
        }
        match self.model {
            Some(model) => write!(formatter, " for the model '{model}'"),
            None => Ok(()),
        }
    }
}
