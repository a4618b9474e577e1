//! The latency of one upstream, as a whole and by model.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    AnswerClass, ByClass, FirstByte, Latency, RequestShape, TTFT_UNKNOWN, Tries, size_adds,
    slow_after,
};
use crate::ids::ModelName;
use crate::time::Instant;

/// Models measured apart at one upstream; further ones share the upstream's own figures.
pub(super) const MODELS_MAX: usize = 64;

/// First-byte latency of one upstream, as a whole and by model.
///
/// Bound: with every model and class measured, 100 KB.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    all: Measured,
    models: BTreeMap<ModelName, Measured>,
}

/// What was measured of one model, or of all.
#[derive(Clone, Debug, Default)]
struct Measured {
    times: ByClass<Option<Latency>>,
    tries: ByClass<Tries>,
}

/// What is known of the next answer's time, for planning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyFigures {
    /// For short prompts; `None` where nothing was measured.
    pub times: ByClass<Option<FirstByte>>,
    /// What each KiB of a long prompt adds ([`size_adds`]).
    pub per_kib: Duration,
    /// When it was asked last.
    pub tries: ByClass<Tries>,
    /// The 95th percentile of the times to a first byte, where there are samples enough.
    pub p95: ByClass<Option<Duration>>,
}

impl LatencyFigures {
    /// These, and where something was not measured, that of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let known = |class: AnswerClass| match self.times.of(class) {
            Some(_) => &self,
            None => &other,
        };
        Self {
            times: ByClass::each(|class| *known(class).times.of(class)),
            per_kib: match self.per_kib {
                Duration::ZERO => other.per_kib,
                known => known,
            },
            tries: ByClass::each(|class| *known(class).tries.of(class)),
            // Another model's says nothing of this one's.
            p95: self.p95,
        }
    }
}

impl Measured {
    fn record(&mut self, now: Instant, shape: RequestShape, sample: Duration) {
        self.tries.of_mut(shape.class).answered(now);
        match self.times.of_mut(shape.class) {
            Some(latency) => latency.record(now, shape.body_bytes, sample),
            slot => *slot = Some(Latency::new(now, shape.body_bytes, sample)),
        }
    }

    fn per_kib(&self) -> Duration {
        let of = |class| self.times.of(class).as_ref().map(Latency::per_kib);
        let known = |class| of(class).filter(|per_kib| !per_kib.is_zero());
        // A prompt is read alike for both.
        let known = known(AnswerClass::Stream).or_else(|| known(AnswerClass::Whole));
        known.unwrap_or_default()
    }

    fn figures(&self, now: Instant) -> LatencyFigures {
        let first_byte = |class| Some(self.times.of(class).as_ref()?.first_byte(now));
        LatencyFigures {
            times: ByClass::each(first_byte),
            per_kib: self.per_kib(),
            tries: self.tries,
            p95: ByClass::each(|class| self.times.of(class).as_ref()?.p95()),
        }
    }
}

impl Latencies {
    /// Takes a sample; `model` where the request named one.
    pub fn record(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
        sample: Duration,
    ) {
        self.all.record(now, shape, sample);
        let Some(model) = model else { return };
        if let Some(measured) = self.models.get_mut(model) {
            measured.record(now, shape, sample);
        } else if self.models.len() < MODELS_MAX {
            let measured = self.models.entry(model.clone()).or_default();
            measured.record(now, shape, sample);
        }
    }

    /// An answer began `sample` after it was asked for.
    pub fn answered(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
        sample: Duration,
    ) {
        self.record(now, model, shape, sample);
        for latency in self.affected(model, shape.class) {
            latency.answered_at = Some(now);
        }
    }

    /// When an answer of `model` itself began last.
    pub fn answered_at(&self, model: &ModelName) -> Option<Instant> {
        let times = &self.models.get(model)?.times;
        let of = |class| times.of(class).as_ref()?.answered_at;
        AnswerClass::ALL.into_iter().filter_map(of).max()
    }

    /// An attempt for `model` ended without a sample; `in_vain` where that was the upstream's doing. Models that
    /// were never measured are not kept, since clients may name any.
    pub fn failed(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        class: AnswerClass,
        in_vain: bool,
    ) {
        let of_model = model.and_then(|model| self.models.get_mut(model));
        for measured in of_model.into_iter().chain([&mut self.all]) {
            measured.tries.of_mut(class).failed(now, in_vain);
        }
    }

    /// Takes a wait that ended without a first byte: it counts only where it was longer than expected, and then at
    /// once, since no sample can be that long by chance.
    pub fn waited_in_vain(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
        waited: Duration,
    ) {
        let expected = self.expected(now, model, shape).unwrap_or(TTFT_UNKNOWN);
        if waited <= expected {
            return;
        }
        let is_new = |model: &ModelName| {
            let known = self.models.get(model);
            known.is_none_or(|known| known.times.of(shape.class).is_none())
        };
        if self.overall(shape.class).is_none() || model.is_some_and(is_new) {
            self.record(now, model, shape, waited);
        } else {
            let known = self.affected(model, shape.class);
            known.for_each(|it| it.waited_in_vain(now, shape.body_bytes, waited));
        }
    }

    /// Takes that an attempt has waited for so long and still waits; true when an average rose.
    ///
    /// Otherwise an upstream that turns slow would count as quick until its first slow answer, and every request
    /// until then would wait for it.
    pub fn waits(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
        waited: Duration,
    ) -> bool {
        let rises = self
            .affected(model, shape.class)
            .map(|latency| latency.waits(now, shape.body_bytes, waited));
        let rose = rises.fold(false, |any, is_rise| any | is_rise);
        let all = self.all.times.of_mut(shape.class);
        if all.is_none() && waited >= slow_after(None) {
            *all = Some(Latency::awaited(now, waited));
            return true;
        }
        rose
    }

    fn affected(
        &mut self,
        model: Option<&ModelName>,
        class: AnswerClass,
    ) -> impl Iterator<Item = &mut Latency> {
        let of_model = model.and_then(|model| self.models.get_mut(model));
        let measured = [&mut self.all].into_iter().chain(of_model);
        measured.filter_map(move |it| it.times.of_mut(class).as_mut())
    }

    /// What is known of answers of `class` of `model`, else of the upstream as a whole.
    pub fn of(&self, model: &ModelName, class: AnswerClass) -> Option<&Latency> {
        let of_model = self.models.get(model);
        let of_model = of_model.and_then(|measured| measured.times.of(class).as_ref());
        of_model.or_else(|| self.overall(class))
    }

    /// The upstream as a whole.
    pub const fn overall(&self, class: AnswerClass) -> Option<&Latency> {
        self.all.times.of(class).as_ref()
    }

    /// How long the answer to a request of `shape` should take to begin; `None` where nothing was measured.
    pub fn expected(
        &self,
        now: Instant,
        model: Option<&ModelName>,
        shape: RequestShape,
    ) -> Option<Duration> {
        let known = model.map_or_else(
            || self.overall(shape.class),
            |model| self.of(model, shape.class),
        )?;
        let added = size_adds(known.per_kib(), shape.body_bytes);
        Some(known.expected(now).saturating_add(added))
    }

    /// What is known of `model`, and where that was not measured, of the upstream as a whole.
    pub fn figures(&self, now: Instant, model: Option<&ModelName>) -> LatencyFigures {
        let all = self.all.figures(now);
        let of_model = model.and_then(|model| self.models.get(model));
        of_model.map_or(all, |measured| measured.figures(now).or(all))
    }

    /// When it was asked last, whatever for.
    pub fn tries(&self) -> Tries {
        self.all.tries.stream.later(self.all.tries.whole)
    }

    /// Whether a figure is about to fall by time alone.
    pub fn is_settling(&self, now: Instant) -> bool {
        let all = [&self.all].into_iter().chain(self.models.values());
        let mut each = all.flat_map(|it| [&it.times.stream, &it.times.whole]);
        each.any(|latency| latency.as_ref().is_some_and(|it| it.is_settling(now)))
    }

    /// How many models are measured apart.
    #[cfg(test)]
    pub(super) fn models(&self) -> usize {
        self.models.len()
    }
}
