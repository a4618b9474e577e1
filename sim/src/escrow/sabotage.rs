//! Deliberate breaks at the edge of an escrow, to show that the checker can fire.

use std::time::Duration;

use grapevine_core::escrow::message::EscrowMessage;
#[cfg(test)]
use grapevine_core::escrow::message::MessageBody;

/// What is broken. Anything but `None` exists in tests alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Breach {
    /// Nothing.
    #[default]
    None,
    /// A lender sends one unit more than it subtracted.
    #[cfg(test)]
    ForgetsToSubtract,
    /// A lease runs from the moment in which its grant arrives.
    #[cfg(test)]
    LeasesFromArrival,
    /// Nobody remembers what others wrote.
    #[cfg(test)]
    NobodyWitnesses,
    /// What a request used is returned as unused.
    #[cfg(test)]
    ReturnsWhatWasUsed,
    /// The clocks run by half too fast.
    #[cfg(test)]
    ClocksRunFast,
}

#[cfg(not(test))]
impl Breach {
    pub(super) const fn message(self, _message: &mut EscrowMessage, _local: Duration) {}

    pub(super) const fn used(self, used: u64) -> u64 {
        used
    }

    pub(super) const fn rate(self) -> f64 {
        1.0
    }
}

#[cfg(test)]
impl Breach {
    /// What arrives of a message at a node whose clock shows `local`.
    pub(super) fn message(self, message: &mut EscrowMessage, local: Duration) {
        match (self, &mut message.body) {
            (Self::ForgetsToSubtract, MessageBody::Grant(grant)) => {
                for line in &mut grant.lines {
                    line.granted += u64::from(line.granted > 0);
                }
            }
            (Self::LeasesFromArrival, MessageBody::Grant(grant)) => {
                // As late as the borrower still believes.
                grant.echo = grant.echo.max(local.saturating_sub(Duration::from_secs(2)));
            }
            (Self::NobodyWitnesses, MessageBody::Testimony(testimony)) => {
                testimony.version = Default::default();
            }
            _ => {}
        }
    }

    /// What is settled of a request that used `used`.
    pub(super) fn used(self, used: u64) -> u64 {
        if self == Self::ReturnsWhatWasUsed {
            0
        } else {
            used
        }
    }

    pub(super) fn rate(self) -> f64 {
        if self == Self::ClocksRunFast {
            1.5
        } else {
            1.0
        }
    }
}
