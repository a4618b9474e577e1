//! The median of the last few samples, kept up to date: finding it anew takes thousands of instructions, and every
//! request brings a sample.

use std::time::Duration;

/// Samples whose median the average decays to: more than the clients of a moment leave behind.
pub(super) const MEDIAN_OF: usize = 32;

/// The last [`MEDIAN_OF`] samples, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    by_age: [u32; MEDIAN_OF],
    by_size: [u32; MEDIAN_OF],
    count: usize,
    /// Where the oldest stands, once all places are taken.
    next: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            by_age: [0; MEDIAN_OF],
            by_size: [0; MEDIAN_OF],
            count: 0,
            next: 0,
        }
    }
}

impl Recent {
    pub(super) fn push(&mut self, micros: u32) {
        if self.count == MEDIAN_OF {
            let oldest = self.rank(self.by_age[self.next]);
            self.by_size.copy_within(oldest + 1.., oldest);
            self.count -= 1;
        }
        let rank = self.rank(micros);
        self.by_size.copy_within(rank..self.count, rank + 1);
        self.by_size[rank] = micros;
        self.count += 1;
        self.by_age[self.next] = micros;
        self.next = (self.next + 1) % MEDIAN_OF;
    }

    /// How many are smaller.
    fn rank(&self, micros: u32) -> usize {
        self.by_size[..self.count].partition_point(|other| *other < micros)
    }

    /// The median, the smaller of two; zero before the first sample.
    pub(super) fn median(&self) -> Duration {
        Duration::from_micros(self.by_size[self.count.saturating_sub(1) / 2].into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn median_is_that_of_the_last_samples_sorted(
            samples in proptest::collection::vec(0_u32..50, 1..200),
        ) {
            let mut recent = Recent::default();
            for (index, sample) in samples.iter().enumerate() {
                recent.push(*sample);
                let mut last = samples[(index + 1).saturating_sub(MEDIAN_OF)..=index].to_vec();
                last.sort_unstable();
                let median = Duration::from_micros(last[(last.len() - 1) / 2].into());
                prop_assert_eq!(recent.median(), median);
            }
        }
    }
}
