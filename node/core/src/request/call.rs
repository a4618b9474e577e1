//! One call of an upstream, and what its caller reports of it.
//!
//! The node that a request entered makes one for each attempt; the owner of an upstream makes one for each
//! request that a peer forwarded. Both report alike.

use std::sync::Arc;
use std::time::Duration;

use crate::Instant;
use crate::engine::{AnswerReport, AttemptReport, Event, WaitReport};
use crate::forwarding::PathScope;
use crate::health::Witness;
use crate::ids::{ModelName, NodeName, UpstreamName};
use crate::latency::{self, RequestShape};
use crate::outcome::{Blame, Outcome};
use crate::view::{UpstreamView, Way};

/// What is to be reported to the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestReport {
    /// What happened.
    pub event: Event,
    /// Must arrive, and soon: it may count against somebody, or an upstream asked for a cooldown. A report that is
    /// not urgent may be lost where the engine is behind, since the next one contains the same.
    pub is_urgent: bool,
}

/// A call in flight.
#[derive(Debug)]
pub struct UpstreamCall {
    /// The peer that it goes to; `None` for an own upstream.
    peer: Option<NodeName>,
    upstream: UpstreamName,
    model: Option<ModelName>,
    shape: RequestShape,
    scope: PathScope,
    witness: Witness,
    /// `None` before the first byte of the answer's body, and after it was reported.
    first_byte: Option<Duration>,
    /// The answer began and its body goes on.
    is_answering: bool,
}

impl UpstreamCall {
    /// A call of `upstream` as this node sees it.
    pub fn at(
        upstream: &UpstreamView,
        scope: PathScope,
        model: Option<ModelName>,
        shape: RequestShape,
        witness: Witness,
    ) -> Self {
        let peer = (upstream.way == Way::Peer).then(|| upstream.node.clone());
        Self {
            peer,
            ..Self::of_own(upstream.name.clone(), scope, model, shape, witness)
        }
    }

    /// A call of an own upstream.
    pub const fn of_own(
        upstream: UpstreamName,
        scope: PathScope,
        model: Option<ModelName>,
        shape: RequestShape,
        witness: Witness,
    ) -> Self {
        Self {
            peer: None,
            upstream,
            model,
            shape,
            scope,
            witness,
            first_byte: None,
            is_answering: false,
        }
    }

    /// When it began.
    pub const fn began_at(&self) -> Instant {
        self.witness.began_at
    }

    /// The first byte of the answer's body came. Returns how long it took.
    pub fn first_byte_came(&mut self, now: Instant) -> Duration {
        let first_byte = now.since(self.witness.began_at);
        self.first_byte = Some(first_byte);
        first_byte
    }

    /// The body of a good answer goes on: its beginning is reported by itself, where the upstream is our own.
    pub fn answer_goes_on(&mut self, now: Instant) -> Option<RequestReport> {
        self.is_answering = true;
        if self.peer.is_some() {
            return None;
        }
        let first_byte =
            (self.first_byte.take()).unwrap_or_else(|| now.since(self.witness.began_at));
        let report = AnswerReport {
            upstream: self.upstream.clone(),
            model: self.model.clone(),
            shape: self.shape,
            first_byte,
        };
        let is_counted = self.scope == PathScope::Inference;
        is_counted.then_some(RequestReport {
            event: Event::AnswerBegan(report),
            is_urgent: false,
        })
    }

    /// The request failed elsewhere in the same way.
    pub(super) fn doubt(&mut self) {
        self.witness.is_doubtful = true;
    }

    /// It ended.
    pub fn ended(self, now: Instant, outcome: Outcome, detail: Option<Arc<str>>) -> RequestReport {
        let outcome = self.scope.counted(outcome);
        let in_vain = outcome.is_in_vain() && !self.is_answering;
        let waited = in_vain.then(|| now.since(self.witness.began_at));
        let first_byte = self.first_byte.or(waited);
        let report = AttemptReport {
            peer: self.peer,
            upstream: self.upstream,
            model: self.model,
            shape: self.shape,
            outcome,
            witness: self.witness,
            detail,
            first_byte: first_byte.filter(|_| self.scope == PathScope::Inference),
        };
        RequestReport {
            is_urgent: !matches!(outcome.blame(), Blame::Success | Blame::Nobody)
                || outcome.cooldown().is_some(),
            event: Event::AttemptEnded(report),
        }
    }
}

/// Between two reports of a call that waits for as long as a stall does.
const STALL_PAUSE: Duration = Duration::from_secs(1);

/// When a call of an own upstream that still waits for its first byte is reported: at twice what was expected,
/// and again with each doubling of the wait.
#[derive(Clone, Copy, Debug)]
pub struct LongWait {
    witness: Witness,
    shape: RequestShape,
    due_at: Instant,
    /// From when on it may be a stall; `None` where it cannot be one.
    stalled_at: Option<Instant>,
}

impl LongWait {
    /// For a call that began as `witness` saw it. Its first byte is `expected` after so long, and of a hundred
    /// answers of its class nearly all took at most `p99`, where that is known.
    pub fn new(
        witness: Witness,
        shape: RequestShape,
        expected: Option<Duration>,
        p99: Option<Duration>,
    ) -> Self {
        let stalled_after = latency::stalled_after(shape.class, p99);
        Self {
            witness,
            shape,
            due_at: witness.began_at + latency::slow_after(expected),
            stalled_at: stalled_after.map(|after| witness.began_at + after),
        }
    }

    /// When the next report is due.
    pub const fn due_at(&self) -> Instant {
        self.due_at
    }

    /// The report that is due now, of a call that asks `upstream` for `model`.
    pub fn report(
        &mut self,
        now: Instant,
        upstream: UpstreamName,
        model: Option<ModelName>,
    ) -> Event {
        let waited = now.since(self.witness.began_at);
        self.due_at = now + waited;
        // The engine hears of it when it may be a stall, however far away the next doubling is.
        if let Some(stalled_at) = self.stalled_at {
            let next = match now < stalled_at {
                true => stalled_at,
                false => now + STALL_PAUSE,
            };
            self.due_at = self.due_at.min(next);
        }
        Event::AnswerAwaited(WaitReport {
            upstream,
            model,
            shape: self.shape,
            waited,
            witness: self.witness,
        })
    }
}
