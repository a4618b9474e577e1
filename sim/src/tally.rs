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

        /// The most that a scenario expects of each; `None` is without a limit.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct TallyMost {
            $($(#[doc = $doc])* pub(crate) $name: Option<u64>,)*
        }

        impl TallyMost {
            fn limits(&self) -> Vec<Option<u64>> {
                vec![$(self.$name,)*]
            }
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
    /// Readings of the load that engines report.
    loads_read,
    /// Tokens of prompts that engines with a cache answered.
    prompt_tokens,
    /// Those of them that came from a cache.
    cached_tokens,
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
    /// Waits for the first byte, or for an answer that is no stream, that ran out.
    answer_timeouts,
    /// Connections that could not be opened in time.
    connect_timeouts,
    /// Answers with the errors of `upstream_answers`.
    error_answers,
    /// Answers that their upstream broke off.
    breaks,
    /// Upstreams that were ejected, each time.
    ejections,
    /// Those for an account without money.
    account_ejections,
    /// Those for a redirect.
    redirect_ejections,
    /// Single models of upstreams that were ejected.
    model_ejections,
    /// Upstreams that became suspect.
    suspicions,
    /// Upstreams that worked on a request for an answer that is no stream after another one had.
    paid_twice,
    /// Requests with the organization of another account that got the upstream's own answer.
    identity_answers,
    /// Further attempts for such a request.
    identity_repeats,
    /// Requests of a poisonous client.
    poisoned,
    /// Links opened in a mesh too large to be linked whole, for whatever reason.
    links_opened,
    /// Those opened for a request.
    links_opened_for_requests,
    /// Links closed as idle.
    links_closed,
    /// Links opened again sooner than their handshakes pay for.
    links_reopened,
}

impl Tally {
    /// An upstream answered with an error or not at all.
    pub(crate) const fn answered_with(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Status { status: 429, .. } => self.limited += 1,
            Outcome::Status { status: 503, .. } => self.unavailable += 1,
            Outcome::TimedOut(Stage::Idle) => self.idle_timeouts += 1,
            Outcome::TimedOut(Stage::Total) => self.total_timeouts += 1,
            Outcome::TimedOut(Stage::Connect) => self.connect_timeouts += 1,
            Outcome::TimedOut(Stage::FirstByte | Stage::Answer) => self.answer_timeouts += 1,
            Outcome::BrokenOff => self.breaks += 1,
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

impl TallyMost {
    /// The first count that is above what is expected.
    pub(crate) fn exceeded_by(&self, tally: &Tally) -> Option<String> {
        let mut counts = tally.named().into_iter().zip(self.limits());
        counts.find_map(|((name, count), most)| {
            let most = most.filter(|most| count > *most)?;
            Some(format!("{name}: {count}, at most {most} expected"))
        })
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

    #[test]
    fn count_above_the_most_is_named_and_others_have_no_limit() {
        let mut tally = Tally::default();
        tally.answered_with(Outcome::status(429));
        tally.answered_with(Outcome::TimedOut(Stage::Connect));
        let most = TallyMost {
            limited: Some(1),
            ..TallyMost::default()
        };
        assert_eq!(most.exceeded_by(&tally), None);
        tally.answered_with(Outcome::status(429));
        let text = "limited: 2, at most 1 expected";
        assert_eq!(most.exceeded_by(&tally).as_deref(), Some(text));
    }
}
