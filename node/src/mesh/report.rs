//! What the owner of an upstream tells its engine about attempts that it makes for peers.

use std::time::Duration;

use grapevine_core::engine::{AnswerReport, AttemptReport, Event};
use grapevine_core::forwarding::Scope;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::outcome::{Blame, Outcome, RetryOn};
use tokio::time::Instant;

use super::hub::Hub;

/// Reports one attempt at an own upstream.
pub(super) struct Reporter {
    pub(super) scope: Scope,
    pub(super) upstream: UpstreamName,
    pub(super) model: Option<ModelName>,
    pub(super) started: Instant,
}

impl Reporter {
    /// The answer's body may go on for minutes: its beginning is told by itself.
    pub(super) fn answer_began<L>(&self, hub: &Hub<L>) {
        if self.scope == Scope::Extra {
            return;
        }
        let event = Event::AnswerBegan(AnswerReport {
            upstream: self.upstream.clone(),
            model: self.model.clone(),
            first_byte: self.started.elapsed(),
        });
        // A full inbox loses a sample, which the next one brings.
        let _ = hub.desk.try_tell(event);
    }

    pub(super) async fn report<L>(
        &self,
        hub: &Hub<L>,
        outcome: Outcome,
        first_byte: Option<Duration>,
    ) {
        let outcome = self.scope.counted(outcome);
        let first_byte = first_byte.filter(|_| self.scope == Scope::Inference);
        let event = Event::AttemptEnded(AttemptReport {
            peer: None,
            upstream: self.upstream.clone(),
            model: self.model.clone(),
            outcome,
            first_byte,
        });
        let verdict = outcome.verdict(&RetryOn::default());
        let is_urgent =
            !matches!(verdict.blame, Blame::Success | Blame::Nobody) || verdict.cooldown.is_some();
        if is_urgent {
            hub.desk.tell(event).await;
        } else {
            // A full inbox loses what the next report says too.
            let _ = hub.desk.try_tell(event);
        }
    }
}
