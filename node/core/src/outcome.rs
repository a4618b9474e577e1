//! How an attempt ended, and whom that counts against.
//!
//! The only place that decides what counts against an upstream or a peer, and whether the request may
//! go on to the next candidate. Shells report what they saw as an [`Outcome`] and follow the
//! [`Verdict`].

use std::time::Duration;

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
    /// The upstream answered with this HTTP status; `retry_after` is what it asked for, where it did.
    Status {
        /// The HTTP status.
        status: u16,
        /// What `Retry-After` (or `retry-after-ms`) asked for.
        retry_after: Option<Duration>,
    },
    /// No connection to the upstream could be opened, TLS included.
    ConnectFailed,
    /// A wait at the upstream ran out.
    TimedOut(Stage),
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
    /// Our credential does not work there; every later request would fail too.
    Credential,
    /// The peer or the way to it.
    Peer,
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
    /// How long the upstream asks for no requests, where it does.
    pub cooldown: Option<Duration>,
    /// Whether the upstream may have worked for this attempt, so that another one costs the retry
    /// budget, which counts what multiplies load; what reached nobody costs nobody anything.
    pub costs_retry: bool,
}

/// Which failures lead to the next candidate. The default is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// Connections that could not be opened or broke before the head.
    pub connect: bool,
    /// Waits that ran out before the head.
    pub timeout: bool,
    /// Single statuses.
    pub statuses: Vec<u16>,
    /// Every status of 500 and above.
    pub server_errors: bool,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self {
            connect: true,
            timeout: true,
            statuses: vec![408, 429],
            server_errors: true,
        }
    }
}

impl RetryOn {
    /// Nothing that the operator can choose.
    pub const fn nothing() -> Self {
        Self {
            connect: false,
            timeout: false,
            statuses: Vec::new(),
            server_errors: false,
        }
    }
}

/// Anthropic's status for "overloaded".
const OVERLOADED: u16 = 529;

/// A 429 without `Retry-After` asks for this long.
const COOLDOWN_DEFAULT: Duration = Duration::from_secs(1);

/// No upstream cools down for longer than this, whatever it asks for; probing finds out earlier.
pub const COOLDOWN_MAX: Duration = Duration::from_secs(300);

impl Outcome {
    /// Whether the upstream reports that it has no room for more at the moment; it may mean a rate.
    pub fn lacks_room(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 429 | 503 | OVERLOADED,
                ..
            }
        )
    }

    /// A plain answer with `status`.
    pub const fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
        }
    }

    /// Whom it counts against; the same whatever is tried next.
    pub fn blame(&self) -> Blame {
        self.verdict(&RetryOn::nothing()).blame
    }

    /// How long the upstream asks for no requests, where it does.
    pub fn cooldown(&self) -> Option<Duration> {
        self.verdict(&RetryOn::nothing()).cooldown
    }

    /// What follows.
    pub fn verdict(&self, retry_on: &RetryOn) -> Verdict {
        match *self {
            Self::Status {
                status,
                retry_after,
            } => status_verdict(status, retry_after, retry_on),
            Self::ConnectFailed => failed(Blame::Upstream, retry_on.connect, false),
            Self::Reset => failed(Blame::Upstream, retry_on.connect, true),
            Self::TimedOut(Stage::Connect) => failed(Blame::Upstream, retry_on.timeout, false),
            Self::TimedOut(_) => failed(Blame::Upstream, retry_on.timeout, true),
            Self::BrokenOff => failed(Blame::Upstream, false, false),
            Self::Refused(Refusal::Protocol) => failed(Blame::Peer, true, false),
            Self::Refused(_) => failed(Blame::Nobody, true, false),
            Self::PeerLost => failed(Blame::Peer, true, true),
            Self::PeerUnreached => failed(Blame::Peer, true, false),
            Self::Cancelled | Self::DeadlinePassed => failed(Blame::Nobody, false, false),
        }
    }

    /// One word for metrics and the operator's list of requests.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Status {
                status: 0..=399, ..
            } => "answered",
            Self::Status { status: 429, .. } => "rate_limited",
            Self::Status {
                status: 401 | 403, ..
            } => "credential_refused",
            Self::Status {
                status: 400..=499, ..
            } => "client_error",
            Self::Status { .. } => "server_error",
            Self::ConnectFailed => "connect_failed",
            Self::TimedOut(Stage::Connect) => "connect_timeout",
            Self::TimedOut(Stage::FirstByte) => "first_byte_timeout",
            Self::TimedOut(Stage::Answer) => "answer_timeout",
            Self::TimedOut(Stage::Idle) => "idle_timeout",
            Self::TimedOut(Stage::Total) => "total_timeout",
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

fn status_verdict(status: u16, retry_after: Option<Duration>, retry_on: &RetryOn) -> Verdict {
    let requested = retry_after.map(|span| span.min(COOLDOWN_MAX));
    let listed = retry_on.statuses.contains(&status) || (retry_on.server_errors && status >= 500);
    let next = if listed { Next::GoOn } else { Next::Answer };
    match status {
        429 => Verdict {
            blame: Blame::Nobody,
            next,
            cooldown: Some(requested.unwrap_or(COOLDOWN_DEFAULT)),
            costs_retry: true,
        },
        // Not configurable: the client cannot mend our credential.
        401 | 403 => Verdict {
            blame: Blame::Credential,
            next: Next::GoOn,
            cooldown: None,
            costs_retry: false,
        },
        408 | 500.. => Verdict {
            blame: Blame::Upstream,
            next,
            cooldown: requested,
            costs_retry: true,
        },
        400..=499 => Verdict {
            blame: Blame::Nobody,
            next,
            cooldown: None,
            costs_retry: true,
        },
        _ => Verdict {
            blame: Blame::Success,
            next: Next::Answer,
            cooldown: None,
            costs_retry: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        outcome.verdict(&RetryOn::default())
    }

    #[test]
    fn good_answer_is_a_success_and_goes_to_the_client() {
        let verdict = verdict(Outcome::status(200));
        assert_eq!(
            (verdict.blame, verdict.next),
            (Blame::Success, Next::Answer)
        );
    }

    #[test]
    fn client_error_counts_against_nobody() {
        for status in [400, 404, 409, 413, 422] {
            let verdict = verdict(Outcome::status(status));
            assert_eq!(
                (verdict.blame, verdict.next),
                (Blame::Nobody, Next::Answer),
                "{status}"
            );
        }
    }

    #[test]
    fn refused_credential_ejects_and_goes_on_whatever_is_configured() {
        let never = RetryOn {
            connect: false,
            timeout: false,
            statuses: vec![],
            server_errors: false,
        };
        let verdict = Outcome::status(401).verdict(&never);
        assert_eq!(
            (verdict.blame, verdict.next),
            (Blame::Credential, Next::GoOn)
        );
    }

    #[test]
    fn rate_limit_cools_down_and_blames_nobody() {
        let with_retry_after = Outcome::Status {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
        };
        let verdict_with_retry_after = verdict(with_retry_after);
        assert_eq!(verdict_with_retry_after.blame, Blame::Nobody);
        assert_eq!(
            verdict_with_retry_after.cooldown,
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            verdict(Outcome::status(429)).cooldown,
            Some(COOLDOWN_DEFAULT)
        );
    }

    #[test]
    fn cooldown_has_a_limit_however_long_the_requested_one() {
        let outcome = Outcome::Status {
            status: 429,
            retry_after: Some(Duration::from_secs(86_400)),
        };
        assert_eq!(verdict(outcome).cooldown, Some(COOLDOWN_MAX));
    }

    #[test]
    fn server_errors_and_overload_go_on() {
        for status in [408, 500, 502, 503, 529] {
            let verdict = verdict(Outcome::status(status));
            assert_eq!(
                (verdict.blame, verdict.next),
                (Blame::Upstream, Next::GoOn),
                "{status}"
            );
        }
    }

    #[test]
    fn unlisted_failure_goes_to_the_client() {
        let only_connect = RetryOn {
            timeout: false,
            statuses: vec![],
            server_errors: false,
            ..RetryOn::default()
        };
        assert_eq!(
            Outcome::status(500).verdict(&only_connect).next,
            Next::Answer
        );
        assert_eq!(
            Outcome::TimedOut(Stage::FirstByte)
                .verdict(&only_connect)
                .next,
            Next::Stop
        );
        assert_eq!(
            Outcome::ConnectFailed.verdict(&only_connect).next,
            Next::GoOn
        );
    }

    #[test]
    fn refused_connection_costs_no_retry() {
        assert!(!verdict(Outcome::ConnectFailed).costs_retry);
        assert!(!verdict(Outcome::Refused(Refusal::Full)).costs_retry);
        assert!(verdict(Outcome::Reset).costs_retry);
    }

    #[test]
    fn request_that_reached_nobody_costs_no_retry() {
        let unreached = verdict(Outcome::PeerUnreached);
        assert_eq!((unreached.blame, unreached.next), (Blame::Peer, Next::GoOn));
        assert!(!unreached.costs_retry);
        assert!(verdict(Outcome::PeerLost).costs_retry);
    }
}
