//! What an upstream's first byte costs, from the samples of real requests.
//!
//! Two views of the same samples: a peak-sensitive moving average for routing, which follows a clear rise at once and
//! a fall slowly (after Finagle's Peak EWMA, which follows every rise at once), and a window for the operator's p50
//! and p99. While nothing comes, the average decays towards the median of the last samples: one that was slow for a
//! moment gets no request that could show that it is quick again. A plain mean hides a slow upstream behind its past; a percentile alone needs many samples.
//!
//! Invariant: no sum, mean or percentile is ever NaN, and none is zero once a sample is in.

mod low;
mod upstream;

use std::time::Duration;

pub use low::Low;
pub use upstream::Latencies;

use crate::time::Instant;

/// The span in which the average forgets all but 1/e of what it knew (Finagle's default).
const DECAY: Duration = Duration::from_secs(10);

/// A sample this many times the average is a clear rise; smaller rises are noise. Following every rise would make
/// the figure a maximum: upstreams of equal speed would seem to differ by chance, and the simulator's calm scenario
/// lost 7 % to the ideal choice that way.
const RISE: u32 = 2;

/// Samples kept for percentiles: enough for a p99, 1 KiB.
const WINDOW: usize = 128;

/// Samples that renew the average, however quickly they follow each other.
const RECENT: usize = 10;

/// Samples whose median the average decays to: more than the clients of a moment leave behind.
const MEDIAN_OF: usize = 32;

/// Time to first byte that is assumed where none was measured.
pub const TTFT_UNKNOWN: Duration = Duration::from_millis(500);

/// A wait this many times as long as nearly every answer took is no slow answer.
const STALL_FACTOR: u32 = 4;

/// No shorter wait is a stall.
pub const STALL_MIN: Duration = Duration::from_secs(10);

/// No first byte comes faster than this; keeps costs above zero.
const SAMPLE_MIN: Duration = Duration::from_micros(1);

/// No sample counts for more than this: a stopped clock is not a slow upstream.
const SAMPLE_MAX: Duration = Duration::from_secs(3_600);

/// First-byte latency of one stream of requests.
#[derive(Clone, Debug)]
pub struct Latency {
    /// As of `sampled_at`.
    average: Duration,
    /// Of the last samples.
    median: Duration,
    low: Low,
    /// When an answer began last; `None` before the first.
    answered_at: Option<Instant>,
    sampled_at: Instant,
    samples: Vec<Duration>,
    next: usize,
}

impl Latency {
    /// Starts from the first sample.
    pub fn new(now: Instant, sample: Duration) -> Self {
        let sample = sample.clamp(SAMPLE_MIN, SAMPLE_MAX);
        Self {
            average: sample,
            median: sample,
            low: Low::new(now, sample),
            answered_at: None,
            sampled_at: now,
            samples: vec![sample],
            next: 1,
        }
    }

    /// Starts from a wait that goes on: no sample yet.
    fn awaited(now: Instant, waited: Duration) -> Self {
        Self {
            samples: Vec::new(),
            next: 0,
            ..Self::new(now, waited)
        }
    }

    /// Takes a sample.
    pub fn record(&mut self, now: Instant, sample: Duration) {
        let sample = sample.clamp(SAMPLE_MIN, SAMPLE_MAX);
        let expected = self.expected(now);
        let average = if sample > expected.saturating_mul(RISE) {
            sample
        } else {
            let age = now.since(self.sampled_at).as_secs_f64();
            // At least a little weight for each sample, so that many at one instant still count.
            let kept = (-age / DECAY.as_secs_f64())
                .exp()
                .min(1.0 - 1.0 / RECENT as f64);
            expected.mul_f64(kept) + sample.mul_f64(1.0 - kept)
        };
        self.expect(now, average);
        self.sampled_at = self.sampled_at.max(now);
        if self.samples.len() < WINDOW {
            self.samples.push(sample);
        } else {
            self.samples[self.next % WINDOW] = sample;
        }
        self.next = (self.next + 1) % WINDOW;
        self.median = self.recent_median();
    }

    /// Takes a wait that goes on: once it would be a clear rise as a sample, the average rises to it. No sample is
    /// kept, since the whole wait follows as one. True when the average rose.
    pub fn waits(&mut self, now: Instant, waited: Duration) -> bool {
        let is_rise = waited >= slow_after(Some(self.expected(now)));
        if is_rise {
            self.expect(now, waited.min(SAMPLE_MAX));
            self.sampled_at = self.sampled_at.max(now);
        }
        is_rise
    }

    /// The peak-sensitive average: what the next request should expect.
    pub fn expected(&self, now: Instant) -> Duration {
        let Some(peak) = self.average.checked_sub(self.median) else {
            return self.average;
        };
        let age = now.since(self.sampled_at).as_secs_f64();
        self.median + peak.mul_f64((-age / DECAY.as_secs_f64()).exp())
    }

    #[cfg(test)]
    const fn average(&self) -> Duration {
        self.average
    }

    fn recent_median(&self) -> Duration {
        let mut recent = [Duration::ZERO; MEDIAN_OF];
        let count = self.samples.len().min(MEDIAN_OF);
        for (back, sample) in recent[..count].iter_mut().enumerate() {
            // `next` is one past the newest.
            *sample = self.samples[(self.next + WINDOW - 1 - back) % WINDOW];
        }
        *recent[..count].select_nth_unstable((count - 1) / 2).1
    }

    fn expect(&mut self, now: Instant, average: Duration) {
        self.average = average;
        self.low.see(now, average);
    }

    /// What the next request should expect, with the recent low, which no single sample raises.
    pub fn first_byte(&self, now: Instant) -> FirstByte {
        FirstByte {
            expected: self.expected(now),
            low: self.low.at(now),
        }
    }

    /// The 50th and the 99th percentile of the last samples. Sorts: for the operator, not for routing.
    pub fn percentiles(&self) -> (Duration, Duration) {
        let mut sorted = self.samples.clone();
        if sorted.is_empty() {
            return (self.average, self.average);
        }
        sorted.sort_unstable();
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted[rank.clamp(1, sorted.len()) - 1]
        };
        (at(0.50), at(0.99))
    }

    /// The 99th percentile of the last samples; `None` before the first. Sorts: for what happens rarely.
    pub fn p99(&self) -> Option<Duration> {
        (!self.samples.is_empty()).then(|| self.percentiles().1)
    }

    /// When the last sample was taken.
    pub const fn sampled_at(&self) -> Instant {
        self.sampled_at
    }
}

/// What is to be expected of the next first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstByte {
    /// The peak-sensitive average.
    pub expected: Duration,
    /// The least that was expected recently.
    pub low: Duration,
}

/// How long an attempt may wait for its first byte before the wait itself counts as slow, where `expected` is known
/// or not.
pub fn slow_after(expected: Option<Duration>) -> Duration {
    expected.unwrap_or(TTFT_UNKNOWN).saturating_mul(RISE)
}

/// How long a request may wait for its first byte before it shows, with others, that an upstream answers nobody,
/// where the `p99` of its answers is known or not.
pub fn stalled_after(p99: Option<Duration>) -> Duration {
    let slow = p99.unwrap_or_default().saturating_mul(STALL_FACTOR);
    slow.max(STALL_MIN)
}

#[cfg(test)]
mod tests;
