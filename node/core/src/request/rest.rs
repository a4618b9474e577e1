//! Whether an answer is kept until it is whole, so that one that breaks in its middle is invisible to the client.
//!
//! Only an answer that is no stream, which arrives in a moment once it is made: to wait for its end costs that moment.
//! One that is still not whole after [`REST_AWAITED_MAX`] is made while it is sent, maybe with blanks that keep its
//! connection alive, and passes from there on as it comes.
//!
//! An answer that broke in its middle is judged as one that broke before: it may have been billed too, and by the same
//! `retry_on` the request goes on, at another upstream. The failure itself is recorded as what it was.
//!
//! Bounds: [`REST_BYTES_MAX`] for each, and as many at a time as [`limit::RESTS_MAX`](crate::limit::RESTS_MAX); beyond
//! that, answers pass as they come.

use std::time::Duration;

use super::{Action, AttemptId, Request};
use crate::Instant;
use crate::latency::AnswerClass;
use crate::outcome::{Outcome, Stage};

/// The longest body that is kept until it is whole, in bytes.
pub const REST_BYTES_MAX: u64 = 64 * 1_024;

/// How long the rest of a body is awaited from its first piece on: shorter than anybody between the client and this
/// node lets a connection be silent (60 s are usual).
pub const REST_AWAITED_MAX: Duration = Duration::from_secs(15);

impl Request {
    /// The first piece of the answer of the attempt in flight came, and not all of it.
    pub(super) fn first_piece_came(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        bytes: u64,
        length: Option<u64>,
    ) -> Action {
        let may_fit = self.terms.shape.class == AnswerClass::Whole
            && bytes <= REST_BYTES_MAX
            && length.is_none_or(|length| length <= REST_BYTES_MAX);
        let rest = may_fit.then(|| self.guard.await_rest()).flatten();
        match (&mut self.in_flight, rest) {
            (Some(in_flight), Some(rest)) => {
                in_flight.rest = Some(rest);
                let until = now + REST_AWAITED_MAX;
                Action::AwaitRest { attempt, until }
            }
            _ => self.relay(now, attempt),
        }
    }

    /// The commit point: the client gets the answer of the attempt in flight.
    pub(super) fn relay(&mut self, now: Instant, attempt: AttemptId) -> Action {
        if let Some(attempt) = &mut self.in_flight {
            attempt.rest = None;
        }
        self.wins(now);
        Action::Relay(attempt)
    }
}

/// The outcome whose verdict holds for an answer that broke in its middle, and that no client has seen anything of.
pub(super) const fn as_before_commit(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::BrokenOff => Outcome::Reset,
        Outcome::TimedOut(Stage::Idle) => Outcome::TimedOut(Stage::Answer),
        outcome => outcome,
    }
}
