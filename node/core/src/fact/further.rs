//! What an upstream's owner publishes of its latency beyond the first bytes of streams.

use std::collections::BTreeMap;
use std::time::Duration;

use super::differs;
use crate::ids::ModelName;
use crate::latency::{AnswerClass, RequestShape, size_adds};
use crate::reported::ReportedLoad;

/// Figures of an upstream that nodes of earlier versions do not publish, and do not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FurtherFigures {
    /// Over all models.
    pub all: AnswerFigures,
    /// Of models where they differ from those over all models.
    pub models: BTreeMap<ModelName, AnswerFigures>,
    /// How long ago it was asked last, whatever for. To the second; `None` where it never was.
    pub asked_ago: Option<Duration>,
    /// What it reports of its own load, beside the requests that it holds; `None` where it reports nothing.
    pub load: Option<Box<ReportedLoad>>,
}

/// Figures over all models, or of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerFigures {
    /// Expected time to a whole answer to a short prompt, where measured.
    pub whole: Option<Duration>,
    /// What each KiB of a long prompt adds; zero where that was not measured.
    pub per_kib: Duration,
}

impl FurtherFigures {
    /// Those of `model`, and where it was not measured, those over all models.
    pub fn of(&self, model: Option<&ModelName>) -> AnswerFigures {
        let of_model = model.and_then(|model| self.models.get(model));
        let of_model = of_model.copied().unwrap_or_default();
        AnswerFigures {
            whole: of_model.whole.or(self.all.whole),
            per_kib: match of_model.per_kib {
                Duration::ZERO => self.all.per_kib,
                known => known,
            },
        }
    }

    /// Whether they are worth publishing again after what was `published`. Time alone is not.
    pub(super) fn differ_from(&self, published: &Self) -> bool {
        let changed = |new: AnswerFigures, old: AnswerFigures| {
            let nonzero = |span: Duration| (!span.is_zero()).then_some(span);
            differs(new.whole, old.whole) || differs(nonzero(new.per_kib), nonzero(old.per_kib))
        };
        let keys = self.models.keys().chain(published.models.keys());
        let (load, old) = (self.load.as_deref(), published.load.as_deref());
        let load_changed = load.is_some() != old.is_some()
            || load.zip(old).is_some_and(|(load, old)| {
                differs(load.slot_time, old.slot_time) || differs(load.prefill, old.prefill)
            });
        changed(self.all, published.all) || load_changed || { keys }
            .any(|model| changed(self.of(Some(model)), published.of(Some(model))))
    }
}

impl super::UpstreamFact {
    /// How long the answer to a request of `shape` for `model` should take to begin; `None` where nothing was
    /// measured.
    pub fn expected(&self, model: Option<&ModelName>, shape: RequestShape) -> Option<Duration> {
        let further = self.further.of(model);
        let short = match shape.class {
            AnswerClass::Stream => {
                let measured = model.and_then(|model| self.models.get(model).copied());
                measured.flatten().or(self.ttft)
            }
            AnswerClass::Whole => further.whole,
        };
        Some(short?.saturating_add(size_adds(further.per_kib, shape.body_bytes)))
    }
}
