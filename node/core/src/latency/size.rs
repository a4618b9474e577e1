//! What the size of a prompt adds to the time of its answer.
//!
//! An upstream reads the whole prompt before its first byte, so the time grows with the prompt's length. Without that,
//! two long prompts among a hundred would make a quick upstream look slow to the others. The growth is the slope of a
//! straight line through the samples (least squares, forgetting exponentially), and never negative. The line is
//! steadied as if the sizes of all samples had been known to [`SPREAD_MIN`] only: sizes that hardly differ show
//! nothing, and one long prompt among short ones shows nearly everything.
//!
//! By bytes, which are known before the request is sent, and not by tokens, which only the answer tells. Bytes of
//! pictures are fewer tokens than bytes of text: prompts that mix them make a line that fits neither, and the slope
//! falls towards zero, where this changes nothing.

use std::time::Duration;

/// Prompts up to here are short: what they take is the figure itself.
const SHORT_KIB: f64 = 4.0;

/// Longer prompts count as this long: a context of some 250,000 tokens.
const LONGEST_KIB: f64 = 1_024.0;

/// Sizes that spread by less teach nothing, in KiB.
const SPREAD_MIN: f64 = 4.0;

/// Samples in which all but 1/e of what was learned is forgotten: of two long prompts in a hundred, some five count.
const SAMPLES: f64 = 256.0;

/// No more is ever added for each KiB: reading 250 tokens takes no model a second.
const PER_KIB_MAX: Duration = Duration::from_secs(1);

/// What each KiB may add where no long prompt was measured yet, in seconds: 5,000 tokens a second. A wait that this
/// explains shows nothing.
const PER_KIB_UNKNOWN: f64 = 0.05;

/// A sample counts for at most this many times what was expected, so that one stall teaches little.
const OUTLIER: f64 = 4.0;

/// What the size of prompts adds at one upstream, for one model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SizeEffect {
    count: f64,
    mean_kib: f64,
    mean_seconds: f64,
    variance: f64,
    covariance: f64,
}

impl SizeEffect {
    /// Takes the sample of a prompt of `body_bytes`, of which a short one takes `short`.
    pub(super) fn record(&mut self, body_bytes: u32, sample: Duration, short: Duration) {
        let kib = beyond_short(body_bytes);
        let slope = self.slope();
        let mut seconds = sample.as_secs_f64();
        if slope > 0.0 {
            seconds = seconds.min((short.as_secs_f64() + slope * kib) * OUTLIER);
        }
        self.count = (self.count + 1.0).min(SAMPLES);
        let gain = 1.0 / self.count;
        let (by_kib, by_seconds) = (kib - self.mean_kib, seconds - self.mean_seconds);
        self.mean_kib += by_kib * gain;
        self.mean_seconds += by_seconds * gain;
        // Welford's update, with a constant gain once the count is full (West, 1979).
        self.variance = (1.0 - gain) * (self.variance + gain * by_kib * by_kib);
        self.covariance = (1.0 - gain) * (self.covariance + gain * by_kib * by_seconds);
    }

    /// What each KiB beyond a short prompt adds; zero where nothing was learned.
    pub(super) fn per_kib(&self) -> Duration {
        Duration::from_secs_f64(self.slope())
    }

    fn slope(&self) -> f64 {
        let slope = self.covariance / (self.variance + SPREAD_MIN * SPREAD_MIN);
        slope.clamp(0.0, PER_KIB_MAX.as_secs_f64())
    }

    /// What a short prompt would have taken in proportion, where one of `body_bytes` took `sample` and a short one is
    /// known to take `short`. In proportion, since an upstream that is slow reads slowly too.
    pub(super) fn as_short(&self, body_bytes: u32, sample: Duration, short: Duration) -> Duration {
        scaled(sample, short, self.slope() * beyond_short(body_bytes))
    }

    /// The same of a wait that goes on, which shows less where no long prompt was measured yet.
    pub(super) fn wait_as_short(
        &self,
        body_bytes: u32,
        waited: Duration,
        short: Duration,
    ) -> Duration {
        let slope = self.slope().max(PER_KIB_UNKNOWN);
        scaled(waited, short, slope * beyond_short(body_bytes))
    }
}

/// What a prompt of `body_bytes` adds, where each KiB beyond a short one adds `per_kib`.
pub fn size_adds(per_kib: Duration, body_bytes: u32) -> Duration {
    match per_kib {
        Duration::ZERO => Duration::ZERO,
        per_kib => per_kib.min(PER_KIB_MAX).mul_f64(beyond_short(body_bytes)),
    }
}

fn beyond_short(body_bytes: u32) -> f64 {
    (f64::from(body_bytes) / 1_024.0).clamp(SHORT_KIB, LONGEST_KIB) - SHORT_KIB
}

fn scaled(sample: Duration, short: Duration, added_seconds: f64) -> Duration {
    if added_seconds <= 0.0 {
        return sample;
    }
    let short = short.as_secs_f64();
    sample.mul_f64(short / (short + added_seconds))
}
