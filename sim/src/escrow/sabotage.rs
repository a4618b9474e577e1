//! Deliberate breaks at the edge of an escrow, to show that the checker can fire.

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
    /// One clock runs at a fifth of true time: what is borrowed there outlasts its lease.
    #[cfg(test)]
    LeasesOutlast,
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
    pub(super) const fn message(self, _message: &mut EscrowMessage) {}

    pub(super) const fn used(self, used: u64) -> u64 {
        used
    }

    pub(super) const fn rate(self, _node: usize) -> f64 {
        1.0
    }
}

#[cfg(test)]
impl Breach {
    /// What arrives of a message.
    pub(super) fn message(self, message: &mut EscrowMessage) {
        match (self, &mut message.body) {
            (Self::ForgetsToSubtract, MessageBody::Grant(grant)) => {
                for line in &mut grant.lines {
                    line.granted += u64::from(line.granted > 0);
                }
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

    /// How fast a node's clock runs.
    pub(super) fn rate(self, node: usize) -> f64 {
        match self {
            Self::ClocksRunFast => 1.5,
            Self::LeasesOutlast if node == 0 => 0.2,
            _ => 1.0,
        }
    }
}
