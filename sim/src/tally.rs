//! How often each event happened, for scenarios that expect it.

use grapevine_core::outcome::{Outcome, Stage};
use serde::Deserialize;

/// Declares [`Tally`] with its names once.
macro_rules! tally {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts of a run, or the least that a scenario expects of each.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Tally {
            $($(#[doc = $doc])* pub(crate) $name: u64,)*
        }

        impl Tally {
            /// Each count with its name, as scenarios write it.
            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

tally! {
    /// Attempts that an upstream answered with 429.
    limited,
    /// Calls that waited in an upstream's line.
    queued,
    /// Attempts that an upstream answered with 503: its line was full.
    unavailable,
    /// Forwarded requests in flight over one link at once, at the peak.
    streams_per_hop,
    /// Attempts that found the link to their owner full.
    hops_full,
    /// Forwarded requests that their owner refused by its own rules or its peers'.
    rules_refused,
    /// Answers that paused for too long.
    idle_timeouts,
    /// Answers that took too long in all.
    total_timeouts,
}

impl Tally {
    /// An upstream answered with an error or not at all.
    pub(crate) const fn answered_with(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Status { status: 429, .. } => self.limited += 1,
            Outcome::Status { status: 503, .. } => self.unavailable += 1,
            Outcome::TimedOut(Stage::Idle) => self.idle_timeouts += 1,
            Outcome::TimedOut(Stage::Total) => self.total_timeouts += 1,
            _ => {}
        }
    }

    /// The first count that is below what is expected.
    pub(crate) fn short_of(&self, expected: &Self) -> Option<String> {
        let pairs = self.named().into_iter().zip(expected.named());
        let mut short = pairs.filter(|((_, count), (_, least))| count < least);
        let ((name, count), (_, least)) = short.next()?;
        Some(format!("{name}: {count}, at least {least} expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_below_the_least_is_named() {
        let mut tally = Tally::default();
        tally.answered_with(Outcome::status(429));
        tally.answered_with(Outcome::status(500));
        let expected = Tally {
            limited: 1,
            ..Tally::default()
        };
        assert_eq!(tally.short_of(&expected), None);
        let more = Tally {
            limited: 2,
            ..expected
        };
        let text = "limited: 1, at least 2 expected";
        assert_eq!(tally.short_of(&more).as_deref(), Some(text));
    }
}
