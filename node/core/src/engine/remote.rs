//! What a node knows of a peer's upstream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::refusals::Refusals;
use crate::fact::{Load, Standing, UpstreamFact};
use crate::ids::ModelName;
use crate::latency::{FirstByte, Low};
use crate::limit::InFlight;
use crate::time::Instant;
use crate::view::permits;

/// A peer's upstream.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) fact: Arc<UpstreamFact>,
    pub(super) reported_at: Instant,
    pub(super) stands_since: Instant,
    pub(super) figures_at: Instant,
    pub(super) ttft_received: Option<Duration>,
    /// The recent low of `ttft` of the upstream as a whole.
    low: Option<Low>,
    /// The same of each model that its owner measured.
    model_lows: BTreeMap<ModelName, Low>,
    pub(super) others_in_flight: u32,
    pub(super) in_flight: InFlight,
    pub(super) hot_until: Option<Instant>,
    pub(super) refusals: Refusals,
    pub(super) returned_at: Option<Instant>,
}

impl Remote {
    pub(super) fn new(now: Instant, fact: UpstreamFact, returned_at: Option<Instant>) -> Self {
        let mut remote = Self {
            others_in_flight: fact.in_flight,
            fact: Arc::new(fact),
            reported_at: now,
            stands_since: now,
            figures_at: now,
            ttft_received: None,
            low: None,
            model_lows: BTreeMap::new(),
            in_flight: InFlight::default(),
            hot_until: None,
            refusals: Refusals::default(),
            returned_at,
        };
        remote.see_figures(now);
        remote
    }

    pub(super) fn load_received(&mut self, now: Instant, load: &Load) {
        self.others_in_flight = load.in_flight.saturating_sub(self.in_flight.count());
        self.ttft_received = (!load.ttft.is_zero()).then_some(load.ttft);
        self.figures_at = now;
        if let Some(figure) = self.ttft_received {
            see(&mut self.low, now, figure);
        }
    }

    /// Its owner refused a request for `model` by the state of the upstream. False where it does not list the model:
    /// clients may name any at an upstream that takes all.
    pub(super) fn refused(&mut self, now: Instant, model: Option<&ModelName>) -> bool {
        if model.is_some_and(|model| !self.fact.models.contains_key(model)) {
            return false;
        }
        let of_model = model.and_then(|model| self.fact.models_out.get(model));
        let mut standings = of_model.into_iter().chain([&self.fact.standing]);
        // What the owner publishes is often here before its refusal, and says how long.
        if standings.all(|standing| permits(*standing, self.reported_at, now)) {
            self.refusals.note(now, model);
        }
        true
    }

    /// The first byte to expect, over all models.
    pub(super) fn first_byte(&self, now: Instant) -> Option<FirstByte> {
        let expected = self.ttft_received.or(self.fact.ttft)?;
        let low = self.low.map_or(expected, |low| low.at(now));
        Some(FirstByte { expected, low })
    }

    /// The models it serves, each with its first byte to expect where measured.
    pub(super) fn models(&self, now: Instant) -> Vec<(ModelName, Option<FirstByte>)> {
        let models = self.fact.models.iter();
        let expect = |(model, expected): (&ModelName, &Option<Duration>)| {
            let first_byte = expected.map(|expected| {
                let low = self.model_lows.get(model);
                let low = low.map_or(expected, |low| low.at(now));
                FirstByte { expected, low }
            });
            (model.clone(), first_byte)
        };
        models.map(expect).collect()
    }

    fn see_figures(&mut self, now: Instant) {
        if let Some(figure) = self.ttft_received.or(self.fact.ttft) {
            see(&mut self.low, now, figure);
        }
        self.model_lows
            .retain(|model, _| self.fact.models.contains_key(model));
        for (model, figure) in &self.fact.models {
            let Some(figure) = *figure else { continue };
            self.model_lows
                .entry(model.clone())
                .and_modify(|low| low.see(now, figure))
                .or_insert_with(|| Low::new(now, figure));
        }
    }

    pub(super) fn update(&mut self, now: Instant, fact: UpstreamFact) {
        let was_out = matches!(
            self.fact.standing,
            Standing::Ejected { .. } | Standing::Probing { .. }
        );
        let returns = was_out
            && matches!(
                fact.standing,
                Standing::Ready | Standing::Untested | Standing::Suspect { .. }
            );
        if returns {
            self.returned_at = Some(now);
            // What it refused while it was ejected no longer counts.
            self.hot_until = None;
        }
        if !fact.standing.is_alike(self.fact.standing) {
            self.stands_since = now;
        }
        self.others_in_flight = fact.in_flight.saturating_sub(self.in_flight.count());
        self.ttft_received = None;
        self.refusals.clear();
        self.fact = Arc::new(fact);
        self.reported_at = now;
        self.figures_at = now;
        self.see_figures(now);
    }
}

fn see(low: &mut Option<Low>, now: Instant, figure: Duration) {
    match low {
        Some(low) => low.see(now, figure),
        None => *low = Some(Low::new(now, figure)),
    }
}
