//! How an upstream stands, as its owner publishes it.

use std::time::Duration;

use crate::health::EjectionReason;

/// Whether an upstream may be used, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Yes.
    Ready,
    /// Yes, and nothing has shown yet that it works.
    Untested,
    /// Where no other can.
    Suspect {
        /// Why.
        reason: EjectionReason,
    },
    /// It asked for no requests for this much longer.
    CoolingDown {
        /// The time left.
        remaining: Duration,
    },
    /// No.
    Ejected {
        /// Why.
        reason: EjectionReason,
    },
    /// It is being tried.
    Probing {
        /// Why it had been ejected.
        reason: EjectionReason,
    },
}

impl Standing {
    /// One word for gossip and the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "healthy",
            Self::Untested => "untested",
            Self::Suspect { .. } => "suspect",
            Self::CoolingDown { .. } => "cooldown",
            Self::Ejected { .. } => "ejected",
            Self::Probing { .. } => "probing",
        }
    }

    /// Why it is not ready, where there is a reason beyond the word itself.
    pub const fn reason(self) -> Option<EjectionReason> {
        match self {
            Self::Ready | Self::Untested | Self::CoolingDown { .. } => None,
            Self::Suspect { reason } | Self::Ejected { reason } | Self::Probing { reason } => {
                Some(reason)
            }
        }
    }

    /// Whether an operator has taken it out of use: it gets no new request, also where no other is left, and keeps
    /// those it has.
    pub const fn is_disabled(self) -> bool {
        matches!(
            self,
            Self::Ejected {
                reason: EjectionReason::Disabled
            }
        )
    }

    /// Whether it takes requests like any other.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Untested)
    }

    /// Whether both are healthy, both cool down, or both are ejected or probing: probing, and being ejected again by
    /// a probe, is one outage.
    pub fn is_alike(self, other: Self) -> bool {
        let class = |standing| match standing {
            Self::Ready | Self::Untested => 0_u8,
            // What an operator does is no outage.
            _ if standing.is_disabled() => 4,
            Self::CoolingDown { .. } => 1,
            Self::Ejected { .. } | Self::Probing { .. } => 2,
            Self::Suspect { .. } => 3,
        };
        class(self) == class(other)
    }

    /// Whether the two differ in more than the time left.
    pub fn differs_in_kind(self, other: Self) -> bool {
        self.as_str() != other.as_str() || self.reason() != other.reason()
    }
}
