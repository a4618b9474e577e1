//! What an upstream's first byte costs, from the samples of real requests.
//!
//! Streams and whole answers are measured apart: the first byte of a whole answer comes when all of it is made. What
//! the size of a prompt adds is learned and taken out of each sample, so that the figures are those of short prompts.
//!
//! Two views of the same samples: a peak-sensitive moving average for routing, which follows a clear rise at once and
//! a fall slowly (after Finagle's Peak EWMA, which follows every rise at once), and a window for the operator's p50
//! and p99. While nothing comes, the average decays towards the median of the last samples: one that was slow for a
//! moment gets no request that could show that it is quick again. A plain mean hides a slow upstream behind its past; a
//! percentile alone needs many samples.
//!
//! Invariant: no sum, mean or percentile is ever NaN, and none is zero once a sample is in.

mod low;
mod recent;
mod shape;
mod size;
mod spread;
mod tries;
mod upstream;

use std::time::Duration;

pub use low::Low;
pub use shape::{AnswerClass, ByClass, RequestShape};
use size::SizeEffect;
pub use size::size_adds;
pub use spread::AnswerTimes;
use spread::Spread;
pub use tries::{TRIED_AGAIN_AFTER, Tries};
pub use upstream::{Latencies, LatencyFigures};

use recent::Recent;

use crate::time::Instant;

/// The span in which the average forgets all but 1/e of what it knew (Finagle's default).
const DECAY: Duration = Duration::from_secs(10);

/// A sample this many times the average is a clear rise; smaller rises are noise. Following every rise would make
/// the figure a maximum: upstreams of equal speed would seem to differ by chance, and the simulator's calm scenario
/// lost 7 % to the ideal choice that way.
const RISE: u32 = 2;

/// Samples kept for percentiles: enough for a p99. In microseconds, half a KiB.
const WINDOW: usize = 128;

/// Samples that renew the average, however quickly they follow each other.
const RECENT: usize = 10;

/// Samples whose mean an operator sees.
const MEAN_OF: usize = 10;

/// An average up to here has settled at the median.
const SETTLED: f64 = 1.1;

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

/// First-byte latency of requests of one kind.
#[derive(Clone, Debug)]
pub struct Latency {
    /// For a short prompt, as of `sampled_at`.
    average: Duration,
    low: Low,
    size: SizeEffect,
    /// When an answer began last; `None` before the first.
    answered_at: Option<Instant>,
    sampled_at: Instant,
    /// As measured.
    samples: Spread,
    /// Without what sizes add.
    recent: Recent,
    /// Of these; before the first sample, of the wait.
    median: Duration,
}

impl Latency {
    /// Starts from the first sample, of a prompt of `body_bytes`.
    pub fn new(now: Instant, body_bytes: u32, sample: Duration) -> Self {
        let sample = sample.clamp(SAMPLE_MIN, SAMPLE_MAX);
        let mut latency = Self::awaited(now, sample);
        latency.size.record(body_bytes, sample, sample);
        latency.samples.push(micros(sample));
        latency.recent.push(micros(sample));
        latency
    }

    /// Starts from a wait that goes on: no sample yet.
    fn awaited(now: Instant, waited: Duration) -> Self {
        let waited = waited.clamp(SAMPLE_MIN, SAMPLE_MAX);
        Self {
            average: waited,
            median: waited,
            low: Low::new(now, waited),
            size: SizeEffect::default(),
            answered_at: None,
            sampled_at: now,
            samples: Spread::default(),
            recent: Recent::default(),
        }
    }

    /// Takes a sample, of a prompt of `body_bytes`.
    pub fn record(&mut self, now: Instant, body_bytes: u32, sample: Duration) {
        let sample = sample.clamp(SAMPLE_MIN, SAMPLE_MAX);
        self.samples.push(micros(sample));
        self.size.record(body_bytes, sample, self.median);
        let sample = self.size.as_short(body_bytes, sample, self.median);
        let sample = sample.max(SAMPLE_MIN);
        let expected = self.expected(now);
        let average = if sample > expected.saturating_mul(RISE) {
            sample
        } else {
            let age = now.since(self.sampled_at).as_secs_f64();
            // At least a little weight for each sample, so that many at one instant still count.
            let kept = (-age / DECAY.as_secs_f64())
                .exp()
                .min(1.0 - 1.0 / RECENT as f64);
            let average = expected.mul_f64(kept) + sample.mul_f64(1.0 - kept);
            // Rounding may lead past both.
            average.min(expected.max(sample))
        };
        self.expect(now, average);
        self.sampled_at = self.sampled_at.max(now);
        self.recent.push(micros(sample));
        self.median = self.recent.median();
    }

    /// Takes a wait that goes on, for a prompt of `body_bytes`: once it would be a clear rise as a sample, the average
    /// rises to it. No sample is kept, since the whole wait follows as one. True when the average rose.
    pub fn waits(&mut self, now: Instant, body_bytes: u32, waited: Duration) -> bool {
        let waited = self.size.wait_as_short(body_bytes, waited, self.median);
        let is_rise = waited >= slow_after(Some(self.expected(now)));
        if is_rise {
            self.expect(now, waited.min(SAMPLE_MAX));
            self.sampled_at = self.sampled_at.max(now);
        }
        is_rise
    }

    /// Takes a wait that ended without a first byte.
    fn waited_in_vain(&mut self, now: Instant, body_bytes: u32, waited: Duration) {
        let as_short = self.size.wait_as_short(body_bytes, waited, self.median);
        self.samples.push(micros(waited.min(SAMPLE_MAX)));
        self.recent.push(micros(as_short.min(SAMPLE_MAX)));
        self.median = self.recent.median();
        self.expect(now, self.average.max(as_short.min(SAMPLE_MAX)));
        self.sampled_at = self.sampled_at.max(now);
    }

    /// The peak-sensitive average: what the next request with a short prompt should expect.
    pub fn expected(&self, now: Instant) -> Duration {
        let Some(peak) = self.average.checked_sub(self.median) else {
            return self.average;
        };
        let age = now.since(self.sampled_at).as_secs_f64();
        let settled = self.median + peak.mul_f64((-age / DECAY.as_secs_f64()).exp());
        // Rounding may add a nanosecond.
        settled.min(self.average)
    }

    /// What each KiB of a long prompt adds ([`size_adds`]); zero where none was measured.
    pub fn per_kib(&self) -> Duration {
        self.size.per_kib()
    }

    /// Whether the average is about to fall by time alone.
    fn is_settling(&self, now: Instant) -> bool {
        self.expected(now) > self.median.mul_f64(SETTLED)
    }

    #[cfg(test)]
    const fn average(&self) -> Duration {
        self.average
    }

    fn expect(&mut self, now: Instant, average: Duration) {
        self.average = average;
        self.low.see(now, average);
    }

    /// What the next request should expect, with the recent low, which no single sample raises.
    pub fn first_byte(&self, now: Instant) -> FirstByte {
        let expected = self.expected(now);
        FirstByte {
            expected,
            // What time alone made of a peak is lower than any figure that was seen.
            low: self.low.at(now).min(expected),
        }
    }

    /// The 50th and the 99th percentile of the last samples, whatever their prompts. Sorts: for the operator, not for
    /// routing.
    pub fn percentiles(&self) -> (Duration, Duration) {
        (self.samples.percentiles()).unwrap_or((self.average, self.average))
    }

    /// The mean of the last ten samples, whatever their prompts: what an operator calls the latency now. Before the
    /// first sample, of the wait.
    pub fn recent_mean(&self) -> Duration {
        self.samples.mean_of_last(MEAN_OF).unwrap_or(self.average)
    }

    /// The 95th percentile of the last samples, whatever their prompts, renewed with every eighth; `None` before there
    /// are twenty.
    pub const fn p95(&self) -> Option<Duration> {
        self.samples.p95()
    }

    /// The 99th percentile of the last samples; `None` before the first. Sorts: for what happens rarely.
    pub fn p99(&self) -> Option<Duration> {
        self.samples.percentiles().map(|(_, p99)| p99)
    }
}

/// The last `N` of something, in microseconds, in no order.
#[derive(Clone, Debug, Default)]
struct Ring<const N: usize>(Vec<u32>, usize);

impl<const N: usize> Ring<N> {
    fn push(&mut self, micros: u32) {
        if self.0.len() < N {
            self.0.push(micros);
        } else {
            self.0[self.1 % N] = micros;
        }
        self.1 = (self.1 + 1) % N;
    }

    /// The last `count` of them, or all where there are fewer, the newest first.
    fn last(&self, count: usize) -> impl Iterator<Item = u32> {
        let kept = self.0.len();
        let back = move |steps: usize| self.0[(self.1 + kept - 1 - steps) % kept];
        (0..count.min(kept)).map(back)
    }
}

/// In whole microseconds, at least one. [`SAMPLE_MAX`] has room.
fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX).max(1)
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
/// where the `p99` of its answers of `class` is known or not. `None` where it shows nothing: whole answers may take
/// minutes, and only others of them tell how many.
pub fn stalled_after(class: AnswerClass, p99: Option<Duration>) -> Option<Duration> {
    let p99 = match class {
        AnswerClass::Stream => p99.unwrap_or_default(),
        AnswerClass::Whole => p99?,
    };
    Some(p99.saturating_mul(STALL_FACTOR).max(STALL_MIN))
}

#[cfg(test)]
mod tests;
