//! How upstreams stood when their owners published it last, to count what changed.

use std::collections::BTreeMap;

use grapevine_core::fact::{Standing, UpstreamFact};
use grapevine_core::health::{EjectionReason, FailureKind};
use grapevine_core::ids::{ModelName, UpstreamName};

use crate::membership::NodeIndex;
use crate::tally::Tally;

/// Of every upstream and of the models that stand otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings(BTreeMap<(NodeIndex, UpstreamName), UpstreamStanding>);

#[derive(Clone, Debug)]
struct UpstreamStanding {
    whole: Standing,
    models: BTreeMap<ModelName, Standing>,
}

impl Standings {
    /// Counts what changed for the worse with `fact`.
    pub(crate) fn published(&mut self, node: NodeIndex, fact: &UpstreamFact, tally: &mut Tally) {
        let stands = UpstreamStanding {
            whole: fact.standing,
            models: fact.models_out.clone(),
        };
        let before = self.0.insert((node, fact.name.clone()), stands);
        let whole_before = before.as_ref().map(|before| before.whole);
        if let Standing::Ejected { reason } = fact.standing
            && !whole_before.is_some_and(is_ejected)
        {
            tally.ejections += 1;
            match reason {
                EjectionReason::Account => tally.account_ejections += 1,
                EjectionReason::Failures(FailureKind::Redirect) => tally.redirect_ejections += 1,
                _ => {}
            }
        }
        if is_suspect(fact.standing) && !whole_before.is_some_and(is_suspect) {
            tally.suspicions += 1;
        }
        let model_before = |model: &ModelName| before.as_ref()?.models.get(model).copied();
        let ejected = fact.models_out.iter().filter(|(_, it)| is_ejected(**it));
        let anew = ejected.filter(|(model, _)| !model_before(model).is_some_and(is_ejected));
        tally.model_ejections += anew.count() as u64;
    }
}

const fn is_ejected(standing: Standing) -> bool {
    matches!(standing, Standing::Ejected { .. })
}

const fn is_suspect(standing: Standing) -> bool {
    matches!(standing, Standing::Suspect { .. })
}
