//! The faults that an upstream has at the moment, and what they do to a call of one model or to a free probe.

use grapevine_core::ids::ModelName;

use crate::chance;
use crate::scenario::{ErrorAnswer, UpstreamFault};

/// What a fault is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// A call for this model.
    Model(&'a ModelName),
    /// A list of models.
    FreeProbe,
}

/// The faults of one upstream.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Acquired>);

#[derive(Debug)]
struct Acquired {
    id: usize,
    fault: UpstreamFault,
    /// The one model that has it; `None` is all of the upstream.
    model: Option<ModelName>,
}

impl Faults {
    pub(super) fn add(&mut self, id: usize, fault: UpstreamFault, model: Option<ModelName>) {
        self.0.push(Acquired { id, fault, model });
    }

    pub(super) fn remove(&mut self, id: usize) {
        self.0.retain(|acquired| acquired.id != id);
    }

    fn met<'a>(&'a self, asked: Asked<'a>) -> impl Iterator<Item = &'a UpstreamFault> {
        let is_met = move |acquired: &&Acquired| match (&acquired.model, asked) {
            (None, _) => true,
            (Some(of), Asked::Model(model)) => of == model,
            (Some(_), Asked::FreeProbe) => false,
        };
        self.0.iter().filter(is_met).map(|acquired| &acquired.fault)
    }

    /// It refuses connections.
    pub(super) fn is_down(&self) -> bool {
        self.of_all(&UpstreamFault::Down)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.of_all(&UpstreamFault::Pauses)
    }

    /// Of these, each affects every model.
    fn of_all(&self, fault: &UpstreamFault) -> bool {
        self.0.iter().any(|acquired| acquired.fault == *fault)
    }

    pub(super) fn hangs(&self, asked: Asked<'_>) -> bool {
        self.met(asked).any(|fault| *fault == UpstreamFault::Hangs)
    }

    /// The share of answers that are 500.
    pub(super) fn error_share(&self, asked: Asked<'_>) -> f64 {
        let good = self.met(asked).map(|fault| match fault {
            UpstreamFault::Errors(share) => 1.0 - share,
            _ => 1.0,
        });
        1.0 - good.product::<f64>()
    }

    /// The error that it answers with instead, by this draw.
    pub(super) fn answer<'a>(&'a self, asked: Asked<'a>, draw: u64) -> Option<&'a ErrorAnswer> {
        self.met(asked).find_map(|fault| match fault {
            UpstreamFault::Answers {
                share,
                answer,
                in_probes,
            } if *in_probes || matches!(asked, Asked::Model(_)) => {
                (chance::to_unit(chance::hash(&[draw, 1])) < *share).then_some(answer)
            }
            _ => None,
        })
    }

    /// The share of answers that break off.
    pub(super) fn break_share(&self, asked: Asked<'_>) -> f64 {
        let whole = self.met(asked).map(|fault| match fault {
            UpstreamFault::Breaks(share) => 1.0 - share,
            _ => 1.0,
        });
        1.0 - whole.product::<f64>()
    }

    /// By how much it is slower.
    pub(super) fn slowness(&self, asked: Asked<'_>) -> f64 {
        let factors = self.met(asked).map(|fault| match fault {
            UpstreamFault::Slow(factor) => *factor,
            _ => 1.0,
        });
        factors.product()
    }

    /// The tightest limit per second that it has acquired.
    pub(super) fn limit(&self) -> Option<f64> {
        let limits = self.0.iter().filter_map(|acquired| match acquired.fault {
            UpstreamFault::Limits(per_second) => Some(per_second),
            _ => None,
        });
        limits.min_by(f64::total_cmp)
    }

    /// Whether a call for `model` is expected to succeed.
    pub(super) fn permit(&self, model: &ModelName) -> bool {
        let asked = Asked::Model(model);
        let failing = self.met(asked).map(|fault| match fault {
            UpstreamFault::Answers { share, .. } | UpstreamFault::Breaks(share) => *share,
            _ => 0.0,
        });
        !(self.is_down() || self.is_paused() || self.hangs(asked))
            && failing.sum::<f64>() < 0.1
            && self.error_share(asked) < 0.1
    }
}
