//! The phase of a node, as it is gossiped.

use grapevine_core::fact::Phase;
use serde::{Deserialize, Serialize};

use super::ValueError;

#[derive(Serialize, Deserialize)]
pub(super) struct PhasePayload {
    phase: String,
}

impl PhasePayload {
    pub(super) fn of(phase: Phase) -> Self {
        Self {
            phase: phase.as_str().to_owned(),
        }
    }

    pub(super) fn into_phase(self) -> Result<Phase, ValueError> {
        [Phase::Joining, Phase::Ready, Phase::Draining]
            .into_iter()
            .find(|phase| phase.as_str() == self.phase)
            .ok_or(ValueError::Field("phase"))
    }
}
