//! Nodes that share slightly old measurements do not all choose the same upstream.
//!
//! Counted at each upstream by second, of what other nodes send there: the busiest second against the mean of the seconds before it. The
//! slack covers the variance of independent arrivals.

use std::collections::BTreeMap;

use grapevine_core::Instant;
use grapevine_core::ids::UpstreamName;

use super::{Check, Seen};
use crate::membership::NodeIndex;

/// Seconds of traffic before the mean is significant.
const SECONDS_MIN: u64 = 5;

/// Standard deviations of a Poisson count that are allowed.
const DEVIATIONS: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Herd {
    peak_to_mean_max: f64,
    counts: BTreeMap<(NodeIndex, UpstreamName), Count>,
}

#[derive(Debug)]
struct Count {
    first: u64,
    second: u64,
    within: u32,
    before: u64,
}

impl Herd {
    pub(super) const fn new(peak_to_mean_max: f64) -> Self {
        Self {
            peak_to_mean_max,
            counts: BTreeMap::new(),
        }
    }
}

impl Check for Herd {
    fn name(&self) -> &'static str {
        "herd"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>) -> Option<String> {
        let (owner, upstream) = match seen {
            // A node's figures of its own upstream are never old.
            Seen::Attempted { is_own: true, .. } => return None,
            Seen::Attempted {
                owner, upstream, ..
            } => (owner, upstream),
            // Work that moves because something failed or returned is no herd: the mean starts again.
            Seen::Disturbed | Seen::Started { .. } | Seen::Stopped { .. } => {
                self.counts.clear();
                return None;
            }
            _ => return None,
        };
        let second = now.since_start().as_secs();
        let key = (*owner, (*upstream).clone());
        let count = self.counts.entry(key).or_insert(Count {
            first: second,
            second,
            within: 0,
            before: 0,
        });
        if count.second != second {
            count.before += u64::from(count.within);
            count.within = 0;
            count.second = second;
        }
        count.within += 1;
        let seconds = second - count.first;
        if seconds < SECONDS_MIN {
            return None;
        }
        let mean = (count.before as f64 / seconds as f64).max(1.0);
        let most = mean * self.peak_to_mean_max + DEVIATIONS * mean.sqrt();
        let within = count.within;
        (f64::from(within) > most).then(|| {
            format!(
                "{upstream} of n{} gets {within} attempts in a second, {mean:.1} on average",
                owner.0
            )
        })
    }
}
