//! What an upstream's first byte costs, from the samples of real requests.
//!
//! Two views of the same samples: a peak-sensitive moving average for routing, which follows a clear rise at once and
//! a fall slowly (after Finagle's Peak EWMA, which follows every rise at once), and a window for the operator's p50
//! and p99. While nothing comes, the average decays towards the median of the last samples: one that was slow for a
//! moment gets no request that could show that it is quick again. A plain mean hides a slow upstream behind its past; a percentile alone needs many samples.
//!
//! Invariant: no sum, mean or percentile is ever NaN, and none is zero once a sample is in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::ModelName;
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

/// How long a low counts at least.
const LOW_SPAN: Duration = Duration::from_secs(5);

/// Models measured apart at one upstream; further ones share the upstream's own figures.
const MODELS_MAX: usize = 64;

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

/// The least that a figure was in the last 5 to 10 s: what a moment's peak does not move.
///
/// A figure counts from when it was seen until the next. One that was never seen before counts as zero for
/// the first 5 s, since one sample proves little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Low {
    last: Duration,
    /// The least since `turned_at`.
    least: Duration,
    /// The least in the span before.
    before: Duration,
    turned_at: Instant,
}

impl Low {
    /// Starts from the first figure.
    pub const fn new(now: Instant, figure: Duration) -> Self {
        Self {
            last: figure,
            least: figure,
            before: Duration::ZERO,
            turned_at: now,
        }
    }

    /// The figure has become `figure`.
    pub fn see(&mut self, now: Instant, figure: Duration) {
        self.turn(now);
        self.last = figure;
        self.least = self.least.min(figure);
    }

    /// The recent low, at `now`.
    pub fn at(mut self, now: Instant) -> Duration {
        self.turn(now);
        self.before.min(self.least)
    }

    fn turn(&mut self, now: Instant) {
        let age = now.since(self.turned_at);
        if age < LOW_SPAN {
            return;
        }
        let is_long_ago = age >= LOW_SPAN * 2;
        self.before = if is_long_ago { self.last } else { self.least };
        self.least = self.last;
        self.turned_at = now;
    }
}

/// First-byte latency of one upstream, as a whole and by model.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    whole: Option<Latency>,
    models: BTreeMap<ModelName, Latency>,
}

impl Latencies {
    /// Takes a sample; `model` where the request named one.
    pub fn record(&mut self, now: Instant, model: Option<&ModelName>, sample: Duration) {
        record_into(&mut self.whole, now, sample);
        let Some(model) = model else { return };
        if let Some(latency) = self.models.get_mut(model) {
            latency.record(now, sample);
        } else if self.models.len() < MODELS_MAX {
            self.models.insert(model.clone(), Latency::new(now, sample));
        }
    }

    /// An answer began `sample` after it was asked for.
    pub fn answered(&mut self, now: Instant, model: Option<&ModelName>, sample: Duration) {
        self.record(now, model, sample);
        let model = model.and_then(|model| self.models.get_mut(model));
        let affected = self.whole.iter_mut().chain(model);
        affected.for_each(|latency| latency.answered_at = Some(now));
    }

    /// When an answer of `model` itself began last.
    pub fn answered_at(&self, model: &ModelName) -> Option<Instant> {
        self.models.get(model)?.answered_at
    }

    /// Takes a wait that ended without a first byte: it counts only where it was longer than expected, and then at
    /// once, since no sample can be that long by chance.
    pub fn waited_in_vain(&mut self, now: Instant, model: Option<&ModelName>, waited: Duration) {
        let known = model.map_or(self.whole.as_ref(), |model| self.of(model));
        if waited > known.map_or(TTFT_UNKNOWN, |known| known.expected(now)) {
            self.record(now, model, waited);
            let model = model.and_then(|model| self.models.get_mut(model));
            let affected = self.whole.iter_mut().chain(model);
            affected.for_each(|latency| {
                latency.expect(now, latency.average.max(waited.min(SAMPLE_MAX)));
            });
        }
    }

    /// Takes that an attempt has waited for so long and still waits; true when an average rose.
    ///
    /// Otherwise an upstream that turns slow would count as quick until its first slow answer, and every request
    /// until then would wait for it.
    pub fn waits(&mut self, now: Instant, model: Option<&ModelName>, waited: Duration) -> bool {
        let model = model.and_then(|model| self.models.get_mut(model));
        let known = self.whole.iter_mut().chain(model);
        let rose = known
            .map(|latency| latency.waits(now, waited))
            .fold(false, |any, is_rise| any | is_rise);
        if self.whole.is_none() && waited >= slow_after(None) {
            self.whole = Some(Latency::awaited(now, waited));
            return true;
        }
        rose
    }

    /// What is known of `model`, else of the upstream as a whole.
    pub fn of(&self, model: &ModelName) -> Option<&Latency> {
        self.models.get(model).or(self.whole.as_ref())
    }

    /// The upstream as a whole.
    pub const fn whole(&self) -> Option<&Latency> {
        self.whole.as_ref()
    }

    /// The models measured apart.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &Latency)> {
        self.models.iter()
    }
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

fn record_into(slot: &mut Option<Latency>, now: Instant, sample: Duration) {
    match slot {
        Some(latency) => latency.record(now, sample),
        None => *slot = Some(Latency::new(now, sample)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    const FAST: Duration = Duration::from_millis(100);
    const SLOW: Duration = Duration::from_secs(2);

    #[test]
    fn clear_rise_is_followed_at_once() {
        let mut latency = Latency::new(at(0), FAST);
        latency.record(at(1), SLOW);
        assert_eq!(latency.average(), SLOW);
    }

    #[test]
    fn rise_that_may_be_chance_is_blended_in() {
        let mut latency = Latency::new(at(0), FAST);
        latency.record(at(0), FAST.mul_f64(1.5));
        let expected = latency.average();
        assert!(
            expected > FAST && expected < FAST.mul_f64(1.1),
            "{expected:?}"
        );
    }

    #[test]
    fn fall_is_followed_slowly() {
        let mut latency = Latency::new(at(0), SLOW);
        latency.record(at(1), FAST);
        assert!(latency.average() > SLOW / 2, "{:?}", latency.average());
        latency.record(at(60), FAST);
        assert!(latency.average() < FAST * 2, "{:?}", latency.average());
    }

    #[test]
    fn peak_is_forgotten_by_time_alone_and_a_lasting_rise_is_not() {
        let mut peak = Latency::new(at(0), FAST);
        (0..20).for_each(|_| peak.record(at(0), FAST));
        peak.record(at(1), SLOW);
        assert_eq!(peak.expected(at(1)), SLOW);
        assert!(peak.expected(at(11)) < SLOW / 2);
        assert!(peak.expected(at(60)) < FAST * 2);
        let mut lasting = Latency::new(at(0), FAST);
        (0..20).for_each(|_| lasting.record(at(0), FAST));
        (0..20).for_each(|_| lasting.record(at(1), SLOW));
        assert_eq!(lasting.expected(at(600)), SLOW);
    }

    #[test]
    fn median_is_that_of_the_newest_samples_however_many_came_before() {
        let mut latency = Latency::new(at(0), SLOW);
        for count in 1..1_000 {
            latency.record(at(0), SLOW);
            assert_eq!(latency.recent_median(), SLOW, "{count}");
        }
        for count in 1..=MEDIAN_OF {
            latency.record(at(0), FAST);
            let expected = if count * 2 > MEDIAN_OF { FAST } else { SLOW };
            if count * 2 != MEDIAN_OF {
                assert_eq!(latency.recent_median(), expected, "{count}");
            }
        }
    }

    #[test]
    fn peak_moves_no_low_before_it_has_lasted() {
        let mut latency = Latency::new(at(0), FAST);
        latency.record(at(20), SLOW);
        assert_eq!(latency.average(), SLOW);
        assert_eq!(latency.first_byte(at(20)).low, FAST);
        assert_eq!(latency.first_byte(at(24)).low, FAST);
        assert_eq!(latency.first_byte(at(30)).low, SLOW);
    }

    #[test]
    fn low_falls_at_once() {
        let mut low = Low::new(at(0), SLOW);
        assert_eq!(low.at(at(20)), SLOW);
        low.see(at(20), FAST);
        assert_eq!(low.at(at(20)), FAST);
        low.see(at(21), SLOW);
        assert_eq!(low.at(at(25)), FAST);
        low.see(at(26), SLOW);
        assert_eq!(low.at(at(30)), FAST);
        assert_eq!(low.at(at(31)), SLOW);
    }

    #[test]
    fn first_figure_counts_for_nothing_at_first() {
        let low = Low::new(at(0), SLOW);
        assert_eq!(low.at(at(4)), Duration::ZERO);
        assert_eq!(low.at(at(10)), SLOW);
    }

    #[test]
    fn wait_in_vain_counts_only_beyond_what_was_expected() {
        let mut latencies = Latencies::default();
        latencies.record(at(0), None, SLOW);
        latencies.waited_in_vain(at(1), None, FAST);
        assert_eq!(latencies.whole().map(Latency::average), Some(SLOW));
        latencies.waited_in_vain(at(1), None, SLOW * 2);
        assert_eq!(latencies.whole().map(Latency::average), Some(SLOW * 2));
    }

    #[test]
    fn wait_that_goes_on_counts_from_twice_the_average_on() {
        let mut latencies = Latencies::default();
        let model = ModelName::new("a").expect("a valid name");
        latencies.record(at(0), Some(&model), FAST);
        assert!(!latencies.waits(at(1), Some(&model), FAST * 2 - Duration::from_nanos(1)));
        assert!(latencies.waits(at(1), Some(&model), FAST * 2));
        let expected = |latency: Option<&Latency>| latency.map(Latency::average);
        assert_eq!(expected(latencies.of(&model)), Some(FAST * 2));
        assert_eq!(expected(latencies.whole()), Some(FAST * 2));
        let percentiles = latencies.whole().map(Latency::percentiles);
        assert_eq!(percentiles, Some((FAST, FAST)), "no sample is kept");
    }

    #[test]
    fn wait_for_one_model_does_not_count_for_another() {
        let name = |name: &str| ModelName::new(name).expect("a valid name");
        let mut latencies = Latencies::default();
        latencies.record(at(0), Some(&name("quick")), FAST);
        latencies.record(at(0), Some(&name("slow")), SLOW);
        assert!(latencies.waits(at(1), Some(&name("quick")), SLOW));
        assert_eq!(
            latencies.of(&name("quick")).map(Latency::average),
            Some(SLOW)
        );
        assert!(!latencies.waits(at(2), Some(&name("slow")), FAST * 3));
        assert_eq!(
            latencies.of(&name("slow")).map(Latency::average),
            Some(SLOW)
        );
    }

    #[test]
    fn upstream_that_nobody_measured_may_take_twice_what_is_assumed() {
        let mut latencies = Latencies::default();
        assert!(!latencies.waits(at(0), None, TTFT_UNKNOWN));
        assert!(latencies.waits(at(0), None, TTFT_UNKNOWN * 2));
        assert_eq!(
            latencies.whole().map(Latency::average),
            Some(TTFT_UNKNOWN * 2)
        );
    }

    #[test]
    fn unknown_model_takes_the_upstreams_own_figure() {
        let model = |name: &str| ModelName::new(name).expect("a valid name");
        let mut latencies = Latencies::default();
        assert!(latencies.of(&model("a")).is_none());
        latencies.record(at(0), Some(&model("a")), FAST);
        assert_eq!(latencies.of(&model("b")).map(Latency::average), Some(FAST));
    }

    #[test]
    fn models_measured_apart_are_limited() {
        let mut latencies = Latencies::default();
        for index in 0..1_000 {
            let model = ModelName::new(&format!("m{index}")).expect("a valid name");
            latencies.record(at(index), Some(&model), FAST);
        }
        assert_eq!(latencies.models().count(), MODELS_MAX);
    }

    proptest! {
        #[test]
        fn figures_stay_within_the_samples(
            samples in prop::collection::vec((0u64..10_000_000_000, 0u64..100_000), 1..400)
        ) {
            let span = |nanos: u64| Duration::from_nanos(nanos).clamp(SAMPLE_MIN, SAMPLE_MAX);
            let mut latency = Latency::new(Instant::START, Duration::from_nanos(samples[0].0));
            for (nanos, millis) in &samples[1..] {
                let now = Instant::from_start(Duration::from_millis(*millis));
                latency.record(now, Duration::from_nanos(*nanos));
            }
            let least = samples.iter().map(|(nanos, _)| span(*nanos)).min().unwrap_or_default();
            let most = samples.iter().map(|(nanos, _)| span(*nanos)).max().unwrap_or_default();
            let (p50, p99) = latency.percentiles();
            for figure in [latency.average(), p50, p99] {
                prop_assert!(figure > Duration::ZERO);
                // Averages round down by a nanosecond a step.
                prop_assert!(figure + Duration::from_nanos(samples.len() as u64) >= least && figure <= most);
            }
            prop_assert!(p50 <= p99);
        }
    }
}
