//! How far the last samples of something spread.

use std::collections::BTreeMap;
use std::time::Duration;

use super::upstream::MODELS_MAX;
use super::{AnswerClass, ByClass, Ring, WINDOW, micros};
use crate::ids::ModelName;

/// Samples before a 95th percentile is one: with fewer, the largest of them would pass for it.
const SAMPLES_MIN: usize = 20;

/// After so many samples the percentile is taken anew: it moves by little between.
const RENEWED_EVERY: usize = 8;

/// The last samples, with a percentile at hand that each request may look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    /// In microseconds, as measured.
    samples: Ring<WINDOW>,
    p95: Option<Duration>,
}

impl Spread {
    /// Takes a sample, in microseconds.
    pub(super) fn push(&mut self, sample: u32) {
        self.samples.push(sample);
        let count = self.samples.0.len();
        let is_due = self.p95.is_none() || self.samples.1.is_multiple_of(RENEWED_EVERY);
        if count >= SAMPLES_MIN && is_due {
            let mut sorted = self.samples.0.clone();
            let rank = (count * 95).div_ceil(100).clamp(1, count) - 1;
            let (_, at, _) = sorted.select_nth_unstable(rank);
            self.p95 = Some(Duration::from_micros((*at).into()));
        }
    }

    /// The median and the 99th percentile; `None` before the first sample. Sorts: for what happens rarely.
    pub(super) fn percentiles(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.samples.0.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            let sample = sorted.get(rank.max(1) - 1)?;
            Some(Duration::from_micros((*sample).into()))
        };
        at(0.50).zip(at(0.99))
    }

    /// The mean of the last `count` samples, or of all where there are fewer; `None` before the first.
    pub(super) fn mean_of_last(&self, count: usize) -> Option<Duration> {
        let sum: u64 = self.samples.last(count).map(u64::from).sum();
        let taken = self.samples.last(count).count() as u64;
        sum.checked_div(taken).map(Duration::from_micros)
    }

    /// The 95th percentile; `None` before there are samples enough.
    pub(super) const fn p95(&self) -> Option<Duration> {
        self.p95
    }
}

/// How the times to the first byte of a peer's upstream spread, as this node sees them: with the way there.
///
/// Bound: with every model and class measured, 70 KB.
#[derive(Clone, Debug, Default)]
pub struct AnswerTimes {
    all: ByClass<Spread>,
    models: BTreeMap<ModelName, ByClass<Spread>>,
}

impl AnswerTimes {
    /// An answer began `sample` after it was asked for.
    pub fn answered(&mut self, model: Option<&ModelName>, class: AnswerClass, sample: Duration) {
        self.all.of_mut(class).push(micros(sample));
        let Some(model) = model else { return };
        if self.models.len() < MODELS_MAX || self.models.contains_key(model) {
            let of_model = self.models.entry(model.clone()).or_default();
            of_model.of_mut(class).push(micros(sample));
        }
    }

    /// Nobody waited any longer: it would have taken at least this long, which says something only where it is long.
    pub fn waited_in_vain(
        &mut self,
        model: Option<&ModelName>,
        class: AnswerClass,
        waited: Duration,
    ) {
        let is_long = |known: Option<Duration>| known.is_some_and(|p95| waited > p95);
        if is_long(*self.p95(model).of(class)) {
            self.answered(model, class, waited);
        }
    }

    /// The 95th percentiles of `model`, or over all where there is none.
    pub fn p95(&self, model: Option<&ModelName>) -> ByClass<Option<Duration>> {
        let spreads = match model {
            None => Some(&self.all),
            Some(model) => self.models.get(model),
        };
        ByClass::each(|class| spreads.and_then(|it| it.of(class).p95()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::new(name).expect("a name")
    }

    #[test]
    fn percentile_needs_samples_and_leaves_one_in_twenty_above_it() {
        let mut times = AnswerTimes::default();
        let m = model("m");
        for milliseconds in 1..=19 {
            let sample = Duration::from_millis(milliseconds);
            times.answered(Some(&m), AnswerClass::Stream, sample);
        }
        assert_eq!(times.p95(Some(&m)).stream, None);
        times.answered(Some(&m), AnswerClass::Stream, Duration::from_secs(9));
        let p95 = times.p95(Some(&m));
        assert_eq!(p95.stream, Some(Duration::from_millis(19)));
        assert_eq!(p95.whole, None, "classes are apart");
        assert_eq!(times.p95(Some(&model("other"))).stream, None);
        assert_eq!(times.p95(None).stream, p95.stream);
    }

    #[test]
    fn wait_in_vain_counts_where_it_is_long() {
        let mut times = AnswerTimes::default();
        let add = |times: &mut AnswerTimes, waited| {
            for _ in 0..WINDOW {
                times.waited_in_vain(None, AnswerClass::Whole, waited);
            }
            times.p95(None).whole
        };
        assert_eq!(
            add(&mut times, Duration::from_secs(9)),
            None,
            "nothing is known"
        );
        for _ in 0..WINDOW {
            times.answered(None, AnswerClass::Whole, Duration::from_secs(1));
        }
        let second = Some(Duration::from_secs(1));
        assert_eq!(add(&mut times, Duration::from_millis(900)), second);
        // Each is longer than what is known until it is what is known.
        let longer = Some(Duration::from_secs(2));
        assert_eq!(add(&mut times, Duration::from_secs(2)), longer);
    }

    #[test]
    fn models_are_bounded() {
        let mut times = AnswerTimes::default();
        for number in 0..MODELS_MAX + 9 {
            let model = model(&format!("m{number}"));
            times.answered(Some(&model), AnswerClass::Stream, Duration::from_secs(1));
        }
        assert_eq!(times.models.len(), MODELS_MAX);
    }
}
