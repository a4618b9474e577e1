//! Checks of the models that stand in for others.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_core::ids::ModelName;
use grapevine_core::request::{FallbackCause, FallbackModels};

use super::super::checked::{KeyConfig, UpstreamConfig, UpstreamModels};
use super::super::file::{FallbackFile, FallbackWord};
use super::{Checker, items};

/// Models that may stand in for one: a request has few attempts, and each of them is one.
const MODELS_MAX: usize = 8;

/// The key of the section.
const KEY: &str = "routing.fallback_models";

/// The remedy for names.
const FORM: &str =
    "write at most 256 bytes, without control characters, and without blanks at the ends";

/// By the model that clients ask for.
type Fallbacks = BTreeMap<ModelName, FallbackModels>;

impl Checker<'_> {
    pub(super) fn fallback_models(
        &mut self,
        written: Option<&BTreeMap<String, FallbackFile>>,
    ) -> Fallbacks {
        let mut fallbacks = Fallbacks::new();
        for (name, file) in written.into_iter().flatten() {
            let key = format!("{KEY}.{name}");
            let Some(model) = self.parse::<ModelName>(&key, Some(name), FORM) else {
                continue;
            };
            if model.is_any() {
                let problem = "is any model, and a model cannot stand in for itself";
                self.problem(&key, problem, "name the models one by one");
                continue;
            }
            let found = match file {
                FallbackFile::Models(_) => self.stand_ins(&key, &model, file),
                FallbackFile::Limited(_) => self.stand_ins(&format!("{key}.models"), &model, file),
            };
            let on = self.causes(&format!("{key}.on"), file);
            if !found.is_empty() {
                fallbacks.insert(model, FallbackModels { models: found, on });
            }
        }
        fallbacks
    }

    fn stand_ins(&mut self, key: &str, model: &ModelName, file: &FallbackFile) -> Vec<ModelName> {
        let written = match file {
            FallbackFile::Models(models) => Some(models.clone()),
            FallbackFile::Limited(file) => file.models.clone(),
        };
        let mut found: Vec<ModelName> = Vec::new();
        for (at, text) in items(key, &written) {
            let Some(other) = self.parse::<ModelName>(&at, Some(text), FORM) else {
                continue;
            };
            if other.is_any() {
                let problem = "is any model, and one must be asked for";
                self.problem(&at, problem, "name a model");
            } else if other == *model {
                let problem = format!("{other} cannot stand in for itself");
                let remedy = "remove it: its other upstreams are tried without being named here";
                self.problem(&at, problem, remedy);
            } else if found.contains(&other) {
                let problem = format!("{other} is listed twice");
                self.problem(&at, problem, "remove one of them");
            } else {
                found.push(other);
            }
        }
        let count = written.as_ref().map_or(0, Vec::len);
        if count == 0 && !self.source_map.was_refused(key) {
            let remedy = "name the models that stand in, or remove the key";
            self.problem(key, "is empty", remedy);
        }
        if count > MODELS_MAX {
            let problem = format!("has {count} models, and may have {MODELS_MAX}");
            self.problem(key, problem, "leave out the last of them");
        }
        found
    }

    fn causes(&mut self, key: &str, file: &FallbackFile) -> BTreeSet<FallbackCause> {
        let FallbackFile::Limited(file) = file else {
            return BTreeSet::from(FallbackCause::ALL);
        };
        if file.on.is_none() {
            return BTreeSet::from(FallbackCause::ALL);
        }
        if file.on.as_ref().is_some_and(Vec::is_empty) {
            let remedy = "name context_too_long, content_policy or unavailable, or remove the key for all three";
            self.problem(key, "is empty: nothing would lead to the models", remedy);
        }
        items(key, &file.on).map(|(_, word)| cause(*word)).collect()
    }

    /// Warnings about what can be seen of models, upstreams and keys together.
    pub(super) fn fallbacks_agree(
        &mut self,
        fallbacks: &Fallbacks,
        upstreams: &[(String, UpstreamConfig)],
        keys: &[KeyConfig],
        has_mesh: bool,
    ) {
        let served = served(upstreams).filter(|_| !has_mesh);
        for (model, fallback) in fallbacks {
            let key = format!("{KEY}.{model}");
            let others = fallback.models.iter();
            let unserved = others.filter(|other| {
                served
                    .as_ref()
                    .is_some_and(|served| !served.contains(other))
            });
            for other in unserved {
                let problem = format!("names {other}, which no upstream of this node serves");
                let remedy = "add it to the models of an upstream, or name one that is there";
                self.warning(&key, problem, remedy);
            }
            for client in keys {
                let Some(models) = &client.models else {
                    continue;
                };
                let may_none = !fallback.models.iter().any(|other| models.contains(other));
                if models.contains(model) && may_none {
                    let problem = format!(
                        "does nothing for the key {}, which may use none of its models",
                        client.name
                    );
                    let remedy = format!(
                        "add one of them to the models of the key {}, unless that is meant",
                        client.name
                    );
                    self.warning(&key, problem, remedy);
                }
            }
        }
    }
}

/// The models that the upstreams serve; `None` where that is not known.
fn served(upstreams: &[(String, UpstreamConfig)]) -> Option<BTreeSet<&ModelName>> {
    let mut served = BTreeSet::new();
    for (_, upstream) in upstreams {
        match &upstream.models {
            UpstreamModels::Discovered => return None,
            UpstreamModels::Listed(models) if models.iter().any(|it| it.name.is_any()) => {
                return None;
            }
            UpstreamModels::Listed(models) => served.extend(models.iter().map(|it| &it.name)),
        }
    }
    Some(served)
}

const fn cause(word: FallbackWord) -> FallbackCause {
    match word {
        FallbackWord::ContextTooLong => FallbackCause::ContextTooLong,
        FallbackWord::ContentPolicy => FallbackCause::ContentPolicy,
        FallbackWord::Unavailable => FallbackCause::Unavailable,
    }
}
