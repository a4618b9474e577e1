//! What stands against single models of an own upstream: that it does not have them, limits their rate, or fails
//! them while it serves others.
//!
//! Bound: [`MODELS_MAX`] models, those that stand longest first to be given up, since clients may name any model
//! at an upstream that takes all of them.

use std::collections::BTreeMap;

use crate::fact::{MODELS_OUT_MAX, Standing};
use crate::health::{Health, HealthPolicy, HealthState};
use crate::ids::ModelName;
use crate::time::Instant;

/// Models of one upstream that are judged apart.
const MODELS_MAX: usize = 64;

/// The models of one upstream against which something stands.
#[derive(Debug, Default)]
pub(super) struct ModelStates(BTreeMap<ModelName, ModelState>);

/// One model.
#[derive(Debug)]
pub(super) struct ModelState {
    pub(super) health: Health,
    pub(super) cooling_until: Option<Instant>,
}

impl ModelState {
    fn standing(&self, now: Instant) -> Standing {
        let remaining = self.cooling_until.map(|until| now.until(until));
        match (self.health.state(), remaining) {
            (HealthState::Ejected { reason, .. }, _) => Standing::Ejected { reason },
            (_, Some(remaining)) if !remaining.is_zero() => Standing::CoolingDown { remaining },
            (HealthState::Suspect { reason, .. }, _) => Standing::Suspect { reason },
            _ => Standing::Ready,
        }
    }

    /// When it changes by time alone.
    fn until(&self) -> Option<Instant> {
        let state = match self.health.state() {
            HealthState::Ejected { until, .. } | HealthState::Suspect { until, .. } => Some(until),
            _ => None,
        };
        state.into_iter().chain(self.cooling_until).min()
    }
}

impl ModelStates {
    /// The state of `model`, made where there is none.
    pub(super) fn of(
        &mut self,
        now: Instant,
        model: &ModelName,
        policy: &HealthPolicy,
    ) -> &mut ModelState {
        if !self.0.contains_key(model) && self.0.len() >= MODELS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, state)| state.until());
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.entry(model.clone()).or_insert_with(|| ModelState {
            health: Health::of_model(now, policy.clone()),
            cooling_until: None,
        })
    }

    /// The state of `model`, where something stands against it.
    pub(super) fn get_mut(&mut self, model: &ModelName) -> Option<&mut ModelState> {
        self.0.get_mut(model)
    }

    /// Nothing stands against `model` any more.
    pub(super) fn forget(&mut self, model: &ModelName) {
        self.0.remove(model);
    }

    /// `request` failed elsewhere in the same way.
    pub(super) fn doubt(&mut self, request: u64) {
        for state in self.0.values_mut() {
            state.health.doubt(request);
        }
    }

    /// Whether `model` is out or suspect already.
    pub(super) fn is_condemned(&self, now: Instant, model: &ModelName) -> bool {
        let standing = self.0.get(model).map(|state| state.standing(now));
        standing.is_some_and(|it| matches!(it, Standing::Ejected { .. } | Standing::Suspect { .. }))
    }

    /// The models that do not stand as their upstream does, those that it lists before those that clients name.
    pub(super) fn out(
        &self,
        now: Instant,
        is_listed: impl Fn(&ModelName) -> bool,
    ) -> BTreeMap<ModelName, Standing> {
        let standing = |of_listed: bool| {
            let all = self
                .0
                .iter()
                .map(|(model, state)| (model, state.standing(now)));
            let out = all.filter(|(_, standing)| *standing != Standing::Ready);
            let is_listed = &is_listed;
            out.filter(move |(model, _)| is_listed(model) == of_listed)
        };
        let out = standing(true).chain(standing(false)).take(MODELS_OUT_MAX);
        out.map(|(model, standing)| (model.clone(), standing))
            .collect()
    }

    /// When one of them changes by time alone.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.0.values().filter_map(ModelState::until).min()
    }

    /// Lets time pass; true when one of them changed.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let mut any = false;
        for state in self.0.values_mut() {
            any |= state.health.tick(now).is_some();
            // Nothing probes a model: its next request does.
            state.health.release(now);
            any |= state.cooling_until.take_if(|until| *until <= now).is_some();
        }
        any
    }
}
