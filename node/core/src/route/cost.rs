//! What a candidate costs, in parts that can be shown.

use std::time::Duration;

use crate::health;
use crate::latency::RequestShape;
use crate::time::Instant;
use crate::view::{Candidate, Way};

/// The expected wait for the first byte, in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Round trip to the owner, and those of a dial where no link leads there.
    pub rtt: Duration,
    /// Time to first byte at the owner; of a whole answer that is all of its time.
    pub ttft: Duration,
    /// What its load adds.
    pub load: Duration,
    /// What the age of its figures adds.
    pub staleness: Duration,
    /// What the answers add that it breaks off.
    pub breaks: Duration,
}

/// Figures older than this begin to cost.
const FRESH: Duration = Duration::from_secs(5);

/// What each further second of age adds, as a share of the time to first byte.
const STALE_SHARE_PER_SECOND: f64 = 0.01;

/// What age adds at most, as a share of the time to first byte.
const STALE_SHARE_MAX: f64 = 0.5;

/// How much of an answer's time is lost when it breaks off: half of 4 s, as the median answer of a conversation takes,
/// by 129 tokens of 30 ms each (Azure's traces of 2023; Patel et al., Splitwise, ISCA 2024).
const BROKEN_AFTER: Duration = Duration::from_secs(2);

impl Cost {
    /// The cost of `candidate` at `now`.
    ///
    /// `rtt + ttft x (1 + load) + staleness + breaks`, where load is the share of its limit that is in use, `ttft` is
    /// that of a request of `shape`, and breaks is `break rate x (rtt + ttft + 2 s)`: whose answer breaks off starts
    /// again, and has lost what came of it. It is the expected loss to first order; a rate at which the second one
    /// matters makes an upstream suspect ([`health::BREAK_RATE_MAX`]).
    pub fn of(candidate: &Candidate, shape: RequestShape, now: Instant) -> Self {
        let upstream = &*candidate.upstream;
        let staleness = match upstream.way {
            Way::Local => 0.0,
            Way::Peer => {
                let age = now.since(upstream.figures_at).saturating_sub(FRESH);
                (age.as_secs_f64() * STALE_SHARE_PER_SECOND).min(STALE_SHARE_MAX)
            }
        };
        let ttft = candidate.expected(shape);
        Self {
            rtt: upstream.way_time(),
            ttft,
            load: ttft.mul_f64(upstream.load().get()),
            staleness: ttft.mul_f64(staleness),
            breaks: Self::breaks(candidate, shape, now),
        }
    }

    /// A rate says nothing of what its window no longer holds: an upstream that gets no more requests publishes none.
    fn breaks(candidate: &Candidate, shape: RequestShape, now: Instant) -> Duration {
        let upstream = &*candidate.upstream;
        if now.since(upstream.reported_at) >= health::BREAK_RATE_WINDOW {
            return Duration::ZERO;
        }
        let loss = Self::base(candidate, shape).saturating_add(BROKEN_AFTER);
        loss.mul_f64(upstream.break_rate.get())
    }

    /// What `candidate` costs a short stream at `now` without load and the age of figures.
    pub(crate) fn unloaded(candidate: &Candidate, now: Instant) -> Duration {
        let shape = RequestShape::default();
        Self::base(candidate, shape).saturating_add(Self::breaks(candidate, shape, now))
    }

    /// The wait for the first byte by way and upstream alone: round trip and time to first byte.
    pub(super) fn base(candidate: &Candidate, shape: RequestShape) -> Duration {
        let ttft = candidate.expected(shape);
        candidate.upstream.way_time().saturating_add(ttft)
    }

    /// As [`Cost::base`], with the recent low of the time to first byte: what no single peak raises.
    pub(super) fn low(candidate: &Candidate, shape: RequestShape) -> Duration {
        let ttft = candidate.expected_low(shape);
        candidate.upstream.way_time().saturating_add(ttft)
    }

    /// The sum of the parts.
    pub fn total(&self) -> Duration {
        self.rtt
            .saturating_add(self.ttft)
            .saturating_add(self.load)
            .saturating_add(self.staleness)
            .saturating_add(self.breaks)
    }
}
