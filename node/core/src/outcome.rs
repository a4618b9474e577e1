//! How an attempt ended, and whom that counts against.
//!
//! The only place that decides what counts against an upstream or a peer, and whether the request may
//! go on to the next candidate. Shells report what they saw as an [`Outcome`] and follow the
//! [`Verdict`].

mod ending;
mod finding;
mod limits;
mod retry_on;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

pub use ending::{CLIENT_GONE, RequestEnd};
pub use finding::{ErrorRow, ErrorWords, Finding};
pub use retry_on::RetryOn;
pub use table::findings_table;
pub use words::ROWS;

/// Which wait ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Opening the connection.
    Connect,
    /// Waiting for the first byte of a stream.
    FirstByte,
    /// Waiting for the first byte of an answer that is no stream.
    Answer,
    /// Between two pieces of the response body.
    Idle,
    /// The whole call.
    Total,
}

/// Why a peer would not take a forwarded request. Nothing was done for it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The upstream or the node is at its limit of requests in flight.
    Full,
    /// The node is shutting down.
    Draining,
    /// The node has no such upstream, or it does not serve the model.
    UnknownUpstream,
    /// The upstream is ejected there.
    Ejected,
    /// The request may not be answered in that region.
    Residency,
    /// The request was forwarded before.
    HopLimit,
    /// The same request is in flight there already.
    Duplicate,
    /// The frame or its protocol version was not understood.
    Protocol,
}

/// How one try at one candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered with this HTTP status.
    Status {
        /// The HTTP status.
        status: u16,
        /// What `Retry-After` (or `retry-after-ms`) asked for.
        retry_after: Option<Duration>,
        /// What the answer shows.
        finding: Finding,
    },
    /// No connection to the upstream could be opened, TLS included.
    ConnectFailed,
    /// A wait at the upstream ran out.
    TimedOut(Stage),
    /// The upstream fell silent while several requests waited for it, and this one was taken back to be tried
    /// elsewhere.
    Stalled,
    /// The upstream's connection broke before the response head.
    Reset,
    /// The upstream's answer broke off after its head.
    BrokenOff,
    /// The peer would not take the request.
    Refused(Refusal),
    /// The link to the peer broke or stayed silent before the response head.
    PeerLost,
    /// There was no link to the peer, or nothing came from it that it could have sent after the request arrived:
    /// the request reached nobody, as far as is known.
    PeerUnreached,
    /// The client went away.
    Cancelled,
    /// The request's own deadline passed.
    DeadlinePassed,
}

/// Whom an outcome counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Counts as a success of the upstream.
    Success,
    /// Counts against nobody: the client's fault, or its choice.
    Nobody,
    /// The upstream failed.
    Upstream,
    /// The upstream, once another client's request or a probe confirms it: our credential does not work there.
    Credential,
    /// The upstream, at once and for minutes: our account there has no money.
    Account,
    /// The upstream for this model alone, at once and for minutes.
    Model,
    /// The peer or the way to it.
    Peer,
}

/// Of what an upstream asks for a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CooldownScope {
    /// The model that was asked for, where there was one.
    Model,
    /// All of the upstream.
    Upstream,
}

/// What the request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give this answer to the client.
    Answer,
    /// Try the next candidate; when none is left, give this answer or an error of our own.
    GoOn,
    /// End: nobody waits, or nothing may be tried any more.
    Stop,
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whom it counts against.
    pub blame: Blame,
    /// What the request does.
    pub next: Next,
    /// How long the upstream asks for no requests, where it does, and of what.
    pub cooldown: Option<(Duration, CooldownScope)>,
    /// Whether the upstream may have worked for this attempt, so that another one costs the retry
    /// budget, which counts what multiplies load; what reached nobody costs nobody anything.
    pub costs_retry: bool,
}

/// A 429 without `Retry-After` asks for this long.
const COOLDOWN_DEFAULT: Duration = Duration::from_secs(1);

/// No upstream cools down for longer than this, whatever it asks for; probing finds out earlier.
pub const COOLDOWN_MAX: Duration = Duration::from_secs(300);

impl Outcome {
    /// A plain answer with `status`, judged by that alone.
    pub const fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
            finding: Finding::of_status(status),
        }
    }

    /// Whom it counts against; the same whatever is tried next.
    pub fn blame(&self) -> Blame {
        self.verdict(&RetryOn::nothing()).blame
    }

    /// How long the upstream asks for no requests, where it does, and of what.
    pub fn cooldown(&self) -> Option<(Duration, CooldownScope)> {
        self.verdict(&RetryOn::nothing()).cooldown
    }

    /// What the answer shows, where there was one.
    pub const fn finding(&self) -> Option<Finding> {
        match self {
            Self::Status { finding, .. } => Some(*finding),
            _ => None,
        }
    }

    /// What follows.
    pub fn verdict(&self, retry_on: &RetryOn) -> Verdict {
        match *self {
            Self::Status {
                status,
                retry_after,
                finding,
            } => answer_verdict(status, retry_after, finding, retry_on),
            Self::ConnectFailed => failed(Blame::Upstream, retry_on.connect, false),
            Self::Reset => failed(Blame::Upstream, retry_on.connect, true),
            Self::TimedOut(Stage::Connect) => failed(Blame::Upstream, retry_on.timeout, false),
            // An upstream that took a request and still works is not failing: our impatience counts against
            // nobody. What became of an upstream that hangs is found by its silence (`health`).
            Self::TimedOut(Stage::FirstByte) => failed(Blame::Nobody, retry_on.timeout, true),
            // It may have been billed.
            Self::TimedOut(Stage::Answer) => failed(Blame::Nobody, retry_on.answer_timeout, true),
            Self::TimedOut(Stage::Total) => failed(Blame::Nobody, false, true),
            Self::TimedOut(Stage::Idle) => failed(Blame::Upstream, false, true),
            Self::Stalled => failed(Blame::Nobody, true, true),
            Self::BrokenOff => failed(Blame::Upstream, false, false),
            Self::Refused(Refusal::Protocol) => failed(Blame::Peer, true, false),
            Self::Refused(_) => failed(Blame::Nobody, true, false),
            Self::PeerLost => failed(Blame::Peer, true, true),
            Self::PeerUnreached => failed(Blame::Peer, true, false),
            Self::Cancelled | Self::DeadlinePassed => failed(Blame::Nobody, false, false),
        }
    }

    /// The same answer, as it turned out to show `finding`.
    pub const fn shown_as(self, finding: Finding) -> Self {
        match self {
            Self::Status {
                status,
                retry_after,
                ..
            } => Self::Status {
                status,
                retry_after,
                finding,
            },
            other => other,
        }
    }

    /// Whether the same request may succeed at the same upstream a moment later.
    pub const fn may_be_repeated(&self) -> bool {
        match self {
            Self::Status {
                finding,
                retry_after,
                ..
            } => matches!(finding, Finding::Failed | Finding::HiddenError) && retry_after.is_none(),
            Self::ConnectFailed | Self::Reset | Self::TimedOut(Stage::Connect) => true,
            _ => false,
        }
    }

    /// Whether the content of the request may have caused it.
    pub const fn may_be_the_requests_fault(&self) -> bool {
        match self {
            Self::Status { finding, .. } => {
                matches!(
                    finding,
                    Finding::Failed
                        | Finding::HiddenError
                        | Finding::NotAnAnswer
                        | Finding::Forbidden
                )
            }
            Self::Reset => true,
            _ => false,
        }
    }

    /// Whether `other` is a failure of the same kind.
    pub fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Status {
                    status, finding, ..
                },
                Self::Status {
                    status: other_status,
                    finding: other_finding,
                    ..
                },
            ) => status == other_status && finding == other_finding,
            (one, other) => one == other,
        }
    }

    /// Whether nobody was to blame and somebody waited for nothing: it would have taken at least this long.
    pub const fn is_in_vain(&self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::DeadlinePassed
                | Self::Stalled
                | Self::TimedOut(Stage::FirstByte | Stage::Answer)
        )
    }

    /// One word for metrics and the operator's list of requests.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Status { finding, .. } => finding.as_str(),
            Self::ConnectFailed => "connect_failed",
            Self::TimedOut(Stage::Connect) => "connect_timeout",
            Self::TimedOut(Stage::FirstByte) => "first_byte_timeout",
            Self::TimedOut(Stage::Answer) => "answer_timeout",
            Self::TimedOut(Stage::Idle) => "idle_timeout",
            Self::TimedOut(Stage::Total) => "total_timeout",
            Self::Stalled => "stalled",
            Self::Reset => "reset",
            Self::BrokenOff => "broken_off",
            Self::Refused(Refusal::Full) => "refused_full",
            Self::Refused(Refusal::Draining) => "refused_draining",
            Self::Refused(Refusal::UnknownUpstream) => "refused_unknown_upstream",
            Self::Refused(Refusal::Ejected) => "refused_ejected",
            Self::Refused(Refusal::Residency) => "refused_residency",
            Self::Refused(Refusal::HopLimit) => "refused_hop_limit",
            Self::Refused(Refusal::Duplicate) => "refused_duplicate",
            Self::Refused(Refusal::Protocol) => "refused_protocol",
            Self::PeerLost => "peer_lost",
            Self::PeerUnreached => "peer_unreached",
            Self::Cancelled => "cancelled",
            Self::DeadlinePassed => "deadline_passed",
        }
    }
}

const fn failed(blame: Blame, goes_on: bool, costs_retry: bool) -> Verdict {
    let next = if goes_on { Next::GoOn } else { Next::Stop };
    Verdict {
        blame,
        next,
        cooldown: None,
        costs_retry,
    }
}

fn answer_verdict(
    status: u16,
    retry_after: Option<Duration>,
    finding: Finding,
    retry_on: &RetryOn,
) -> Verdict {
    let requested = retry_after.map(|span| span.min(COOLDOWN_MAX));
    let listed = retry_on.statuses.contains(&status) || (retry_on.server_errors && status >= 500);
    let if_listed = if listed { Next::GoOn } else { Next::Answer };
    let rest = |scope| Some((requested.unwrap_or(COOLDOWN_DEFAULT), scope));
    let verdict = |blame, next, cooldown, costs_retry| Verdict {
        blame,
        next,
        cooldown,
        costs_retry,
    };
    match finding {
        Finding::Answered => verdict(Blame::Success, Next::Answer, None, false),
        Finding::ClientMistake
        | Finding::ContextTooLong
        | Finding::ContentPolicy
        | Finding::ClientIdentity => verdict(Blame::Nobody, Next::Answer, None, true),
        // Not configurable, as what follows: the client cannot mend it, and another upstream may do.
        Finding::Credential | Finding::Forbidden => {
            verdict(Blame::Credential, Next::GoOn, None, false)
        }
        Finding::Account => verdict(Blame::Account, Next::GoOn, None, false),
        Finding::ModelMissing => verdict(Blame::Model, Next::GoOn, None, false),
        Finding::RateOfModel | Finding::RateOfPlace => {
            verdict(Blame::Nobody, if_listed, rest(CooldownScope::Model), true)
        }
        // The upstream was not asked, and what is left to the account elsewhere may do.
        Finding::AccountLimit => verdict(Blame::Nobody, Next::GoOn, None, false),
        Finding::RateOfAccount => verdict(
            Blame::Nobody,
            if_listed,
            rest(CooldownScope::Upstream),
            true,
        ),
        Finding::Failed => {
            let cooldown = requested.map(|span| (span, CooldownScope::Model));
            verdict(Blame::Upstream, if_listed, cooldown, true)
        }
        Finding::Redirect => verdict(Blame::Upstream, Next::GoOn, None, false),
        Finding::HiddenError | Finding::NotAnAnswer => {
            verdict(Blame::Upstream, Next::GoOn, None, true)
        }
    }
}
