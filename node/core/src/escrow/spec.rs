//! What a limit is: whose, of how much, in which window; and the spans that keep it.

use std::time::Duration;

use crate::random;

/// The longest that a request may hold a unit of a limit on concurrency: the node must end a request before
/// (`timeout.total`).
pub const HOLD_MAX: Duration = Duration::from_secs(60 * 60);

/// One minute, the window of rates.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Borrowed rights of a rate are void after this without an answer from the lender: what a side that is cut off may
/// still use of another's rights.
const RATE_LEASE: Duration = Duration::from_secs(10);

/// The same for concurrency. Longer, since a lapse costs up to [`HOLD_MAX`] of what was lent.
const HELD_LEASE: Duration = Duration::from_secs(600);

/// How much longer than the borrower's a lender's clock runs before it takes back what it lent: by this part of the
/// span, and by [`LEASE_MARGIN`].
///
/// A crystal is within 0.01 % of true time, and the kernel slews by at most 0.05 %; two of them are within 0.1 %.
const DRIFT: u32 = 1_000;

/// Covers a request thread that was stopped between reading the clock and taking a unit.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// A limit's name: 128 bits of a hash, the same on every node and in every build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub u128);

impl LimitId {
    /// The limit that `parts` name together: the key, the model where there is one, what is counted, the window.
    ///
    /// The amount is no part: a limit that is raised in the middle of a month keeps what was spent in it.
    pub fn of(parts: &[&str]) -> Self {
        let mut text = Vec::new();
        for part in parts {
            // The length keeps ("ab", "c") apart from ("a", "bc").
            text.extend((part.len() as u64).to_le_bytes());
            text.extend(part.as_bytes());
        }
        let low = random::mix(random::hash(&text));
        text.reverse();
        let high = random::mix(random::hash(&text) ^ 0x9e37_79b9_7f4a_7c15);
        Self(u128::from(high) << 64 | u128::from(low))
    }

    /// 64 bits of it.
    pub(super) const fn low(self) -> u64 {
        self.0 as u64
    }
}

/// What a limit counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitWindow {
    /// Any 60 s: a sliding window.
    Minute,
    /// A day of the calendar, UTC.
    Day,
    /// A month of the calendar, UTC.
    Month,
    /// At once: a unit is held from the start of a request to its end.
    Held,
}

impl LimitWindow {
    /// Its name where limits are shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Month => "month",
            Self::Held => "at once",
        }
    }
}

/// How much, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    /// Units: requests, tokens, or millionths of the currency's unit.
    pub amount: u64,
    /// Over what.
    pub window: LimitWindow,
}

/// How rights are lent: one lease for all limits of a class between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseClass {
    /// A right that was used is ready again a window later.
    Rate,
    /// A right that is used is ready again when its request has ended.
    Held,
    /// A right that was used is gone until the next window.
    Budget,
}

impl LimitWindow {
    /// How its rights are lent.
    pub const fn class(self) -> LeaseClass {
        match self {
            Self::Minute => LeaseClass::Rate,
            Self::Held => LeaseClass::Held,
            Self::Day | Self::Month => LeaseClass::Budget,
        }
    }
}

impl LeaseClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rate, Self::Held, Self::Budget];

    /// How long a used right rests at most before it may be used again; `None` where it may not.
    ///
    /// By a slightly longer measure than the window, so that a clock that runs fast never shortens it.
    pub(super) fn rest(self) -> Option<Duration> {
        match self {
            Self::Rate => Some(guarded(MINUTE)),
            Self::Held => Some(guarded(HOLD_MAX)),
            Self::Budget => None,
        }
    }

    /// How long what was borrowed may be used after the borrower asked; `None`: until the window ends.
    pub(super) const fn lease(self) -> Option<Duration> {
        match self {
            Self::Rate => Some(RATE_LEASE),
            Self::Held => Some(HELD_LEASE),
            Self::Budget => None,
        }
    }

    /// How long the lender waits after its answer before it counts what it lent as used.
    pub(super) fn reclaim(self) -> Option<Duration> {
        self.lease().map(|lease| guarded(lease) + LEASE_MARGIN)
    }

    /// After this, all that an earlier process of this node used or lent is ready again.
    pub(super) fn cold(self, is_alone: bool) -> Option<Duration> {
        let lent = if is_alone {
            Duration::ZERO
        } else {
            self.reclaim()?
        };
        Some(lent + self.rest()?)
    }

    /// How far ahead a node keeps rights for its own demand before it lends.
    pub(super) const fn reserve(self) -> Duration {
        match self {
            Self::Rate | Self::Budget => MINUTE,
            Self::Held => Duration::from_secs(2),
        }
    }
}

fn guarded(span: Duration) -> Duration {
    span + span / DRIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_depends_on_each_part_and_on_where_it_ends() {
        let id = LimitId::of(&["app", "requests", "minute"]);
        assert_eq!(id, LimitId::of(&["app", "requests", "minute"]));
        assert_ne!(id, LimitId::of(&["app", "tokens", "minute"]));
        assert_ne!(LimitId::of(&["ab", "c"]), LimitId::of(&["a", "bc"]));
    }

    #[test]
    fn lender_waits_longer_than_any_borrower_may_use() {
        for class in LeaseClass::ALL {
            if let (Some(lease), Some(reclaim)) = (class.lease(), class.reclaim()) {
                assert!(reclaim > lease.mul_f64(1.001), "{class:?}");
            }
        }
        assert!(LeaseClass::Rate.rest() > Some(MINUTE));
    }
}
