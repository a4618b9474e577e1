//! What happened how often, for scenarios that expect that it did.

use grapevine_core::outcome::Outcome;

/// Counts of a run, or the least that a scenario expects of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Attempts that an upstream answered with 429.
    pub(crate) limited: u64,
    /// Calls that waited in an upstream's line.
    pub(crate) queued: u64,
    /// Attempts that an upstream answered with 503: its line was full.
    pub(crate) unavailable: u64,
}

impl Tally {
    /// An upstream answered badly or not at all.
    pub(crate) const fn answered_with(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Status { status: 429, .. } => self.limited += 1,
            Outcome::Status { status: 503, .. } => self.unavailable += 1,
            _ => {}
        }
    }

    /// Each count with its name, as scenarios write it.
    pub(crate) const fn named(&self) -> [(&'static str, u64); 3] {
        [
            ("limited", self.limited),
            ("queued", self.queued),
            ("unavailable", self.unavailable),
        ]
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
        let told = "limited: 1, at least 2 expected";
        assert_eq!(tally.short_of(&more).as_deref(), Some(told));
    }
}
