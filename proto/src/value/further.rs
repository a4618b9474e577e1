//! Whole answers, sizes of prompts, the age of an upstream's figures, and what it reports of its own load, as they are
//! gossiped.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::fact::{AnswerFigures, FurtherFigures};
use grapevine_core::ids::ModelName;
use grapevine_core::reported::ReportedLoad;
use serde::{Deserialize, Serialize};

use super::ValueError;
use super::figure::Figure;

/// Zero and absent are the same for every time here: unmeasured.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FurtherPayload {
    /// The expected time to a whole answer over all models.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Figure>,
    /// What each KiB of a long prompt adds over all models.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_kib: Option<Figure>,
    /// Seconds since it was asked last; absent where it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<Figure>,
    /// By model: `answer` and `per_kib`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    models: BTreeMap<String, (Figure, Figure)>,
    /// What it reports of its own load, beside the requests that it holds: the age in seconds, how long a request holds
    /// its slot, and what 1,000 tokens take to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<(Figure, Figure, Figure)>,
}

impl FurtherPayload {
    pub(super) fn of(figures: &FurtherFigures) -> Self {
        let unless_zero = |figure: Figure| (figure.0 != 0.0).then_some(figure);
        let written = |figures: &AnswerFigures| {
            let whole = Figure::of_span(figures.whole.unwrap_or_default());
            (whole, Figure::of_span(figures.per_kib))
        };
        let (answer, per_kib) = written(&figures.all);
        let age = |asked_ago: Duration| Figure(asked_ago.as_secs() as f64);
        let models = figures.models.iter();
        let models = models.map(|(model, figures)| (model.as_str().to_owned(), written(figures)));
        Self {
            answer: unless_zero(answer),
            per_kib: unless_zero(per_kib),
            age: figures.asked_ago.map(age),
            models: models.collect(),
            load: figures.load.as_deref().map(|load| {
                let span = |span: Option<Duration>| Figure::of_span(span.unwrap_or_default());
                let (slot_time, prefill) = (span(load.slot_time), span(load.prefill));
                (age(load.age), slot_time, prefill)
            }),
        }
    }

    pub(super) fn leave_models_out(&mut self) {
        self.models.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        let all = [&self.answer, &self.per_kib, &self.age];
        let has_none = all.into_iter().all(Option::is_none);
        has_none && self.models.is_empty() && self.load.is_none()
    }

    pub(super) fn into_figures(self) -> Result<FurtherFigures, ValueError> {
        let read = |(answer, per_kib): (Figure, Figure)| {
            let whole = answer.span("more.answer")?;
            Ok::<_, ValueError>(AnswerFigures {
                whole: (!whole.is_zero()).then_some(whole),
                per_kib: per_kib.span("more.per_kib")?,
            })
        };
        let mut models = BTreeMap::new();
        for (model, figures) in self.models {
            models.insert(ModelName::new(&model)?, read(figures)?);
        }
        let age = self.age.map(|age| age.count("more.age")).transpose()?;
        let load = self.load.map(|(age, slot_time, prefill)| {
            let span = |figure: Figure, field| {
                let span = figure.span(field)?;
                Ok::<_, ValueError>((!span.is_zero()).then_some(span))
            };
            Ok::<_, ValueError>(ReportedLoad {
                age: Duration::from_secs(age.count("more.load")?.into()),
                slot_time: span(slot_time, "more.load")?,
                prefill: span(prefill, "more.load")?,
            })
        });
        Ok(FurtherFigures {
            load: load.transpose()?.map(Box::new),
            all: read((
                self.answer.unwrap_or_default(),
                self.per_kib.unwrap_or_default(),
            ))?,
            models,
            asked_ago: age.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}
