//! The latency of one upstream, as a whole and by model.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Latency, SAMPLE_MAX, TTFT_UNKNOWN, slow_after};
use crate::ids::ModelName;
use crate::time::Instant;

/// Models measured apart at one upstream; further ones share the upstream's own figures.
pub(super) const MODELS_MAX: usize = 64;

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

fn record_into(slot: &mut Option<Latency>, now: Instant, sample: Duration) {
    match slot {
        Some(latency) => latency.record(now, sample),
        None => *slot = Some(Latency::new(now, sample)),
    }
}
