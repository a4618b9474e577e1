//! Models that do not stand as their upstream does, as they are gossiped.

use std::collections::BTreeMap;

use grapevine_core::fact::{MODELS_OUT_MAX, Standing};
use grapevine_core::health::EjectionReason;
use grapevine_core::ids::ModelName;
use serde::{Deserialize, Serialize};

use super::ValueError;
use super::figure::Figure;

/// By model: what it is and why, such as `ejected missing`, and for a cooldown the time left.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ModelsOut(BTreeMap<String, (String, Figure)>);

impl ModelsOut {
    pub(super) fn of(models: &BTreeMap<ModelName, Standing>) -> Self {
        let written = |(model, standing): (&ModelName, &Standing)| {
            let word = match standing.reason() {
                Some(reason) => format!("{} {}", standing.as_str(), reason.as_str()),
                None => standing.as_str().to_owned(),
            };
            let left = match standing {
                Standing::CoolingDown { remaining } => Figure::of_span(*remaining),
                _ => Figure::default(),
            };
            (model.as_str().to_owned(), (word, left))
        };
        Self(models.iter().map(written).collect())
    }

    /// Leaves out models that are not `listed`.
    pub(super) fn keep_listed<T>(&mut self, listed: &BTreeMap<ModelName, T>) {
        self.0
            .retain(|model, _| listed.keys().any(|name| name.as_str() == model));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is beyond the limit, and words of a later version, are left out: the model then stands as its upstream.
    pub(super) fn into_standings(self) -> Result<BTreeMap<ModelName, Standing>, ValueError> {
        let mut standings = BTreeMap::new();
        for (model, (word, left)) in self.0.into_iter().take(MODELS_OUT_MAX) {
            let (state, reason) = word.split_once(' ').unwrap_or((&word, ""));
            let reason = EjectionReason::from_word(reason).unwrap_or(EjectionReason::ErrorRate);
            let standing = match state {
                "suspect" => Standing::Suspect { reason },
                "cooldown" => Standing::CoolingDown {
                    remaining: left.span("models_out")?,
                },
                "ejected" => Standing::Ejected { reason },
                _ => continue,
            };
            standings.insert(ModelName::new(&model)?, standing);
        }
        Ok(standings)
    }
}
