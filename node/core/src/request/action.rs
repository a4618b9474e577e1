//! The actions of a request, and the events that its driver returns.

use std::time::Duration;

use crate::Instant;
use crate::fact::Load;
use crate::ids::ModelName;
use crate::outcome::{Finding, Outcome};
use crate::route::{Choice, PlanError};

/// Names an attempt within its request: the first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub(super) u32);

impl AttemptId {
    /// The attempt's position among all of its request, from 0.
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// What the driver does next.
#[derive(Debug)]
pub enum Action {
    /// Asks [`crate::route::plan`] again for at most [`attempts_left`](super::Request::attempts_left) candidates, and hands the result
    /// to [`replan`](super::Request::replan).
    Plan,
    /// Asks [`crate::route::plan`] for another model than before, and hands the result to
    /// [`start_fallback`](super::Request::start_fallback). From here on the request is one for that model.
    PlanFor {
        /// The model that stands in.
        model: ModelName,
    },
    /// Calls the candidate, and reports what happened by [`on`](super::Request::on).
    Try {
        /// The attempt that this begins.
        attempt: AttemptId,
        /// The candidate.
        choice: Choice,
        /// All candidates are ejected and this one is tried all the same.
        is_last_resort: bool,
    },
    /// Waits until then, and goes on by [`resume`](super::Request::resume): the upstream that failed is tried again.
    Pause {
        /// The end of the pause.
        until: Instant,
    },
    /// Waits for the first piece of the answer's body: only then it is an answer.
    AwaitBody(AttemptId),
    /// Keeps what came of the answer's body, and waits for the rest of it: until all of it is there, it turns out
    /// to be longer than [`REST_BYTES_MAX`](super::REST_BYTES_MAX), or the time is over. Then it reports
    /// [`AttemptEvent::FirstByte`], and where the answer breaks before, its failure: no client has seen anything of it.
    AwaitRest {
        /// The attempt whose answer it is.
        attempt: AttemptId,
        /// The end of the wait.
        until: Instant,
    },
    /// Gives the client this answer. It is the only one that it gets.
    Relay(AttemptId),
    /// Gives the client an error of this node's own.
    Fail(RequestError),
}

/// What happened to an attempt.
#[derive(Debug)]
pub enum AttemptEvent {
    /// The head of an answer came.
    Head {
        /// Its HTTP status.
        status: u16,
        /// What its `Retry-After` asks for, where it has one.
        retry_after: Option<Duration>,
        /// What it shows, by its words too where it is an error.
        finding: Finding,
        /// The error's code, or where a redirect leads, for the operator.
        detail: Option<String>,
        /// The upstream's load as its owner reported it with the answer; `None` for an own upstream.
        load: Option<Load>,
    },
    /// The first piece of the body came, and not all of it: the answer is no stream, and may be awaited whole.
    FirstPiece {
        /// The length of that piece.
        bytes: u64,
        /// That of the whole body, where the head has it.
        length: Option<u64>,
    },
    /// The first piece of the body came, or its clean end; of an answer whose rest was awaited, all that it is to be
    /// given with.
    FirstByte {
        /// What that piece shows, where it is none of the answers that the head announced.
        finding: Option<Finding>,
    },
    /// The attempt has waited for its first byte for [`STALL_MIN`](crate::latency::STALL_MIN) or longer, and the view
    /// says by now that its upstream answers nobody ([`Candidate::answers_nobody`](crate::view::Candidate)).
    Stalled,
    /// There is no answer, or no more of it.
    Failed {
        /// Why.
        outcome: Outcome,
        /// The same for the operator.
        detail: String,
        /// The load that a refusing peer reported.
        load: Option<Load>,
    },
}

/// Why a request got no answer from any upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There was nothing to try.
    NoPlan(PlanError),
    /// Another attempt would have exceeded the node's retry budget.
    RetriesSpent,
    /// The last attempt without an answer ended like this.
    Failed(Outcome),
}

/// An attempt that is over.
#[derive(Debug)]
pub struct EndedAttempt {
    /// It.
    pub id: AttemptId,
    /// The candidate.
    pub choice: Choice,
    /// The model that it was asked for, where the request names one.
    pub model: Option<ModelName>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, from the request's arrival.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, for the operator.
    pub detail: Option<String>,
}
