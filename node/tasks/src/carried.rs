//! The limits of an issued key as a task carries them: the node that runs it does not have the key's token. They are
//! what the token says, checked by the node that admitted the task, to which the others trust as to the task itself.

use std::sync::Arc;

use grapevine_base::limits::{HolderLimits, KeySpecs, LimitHolder, LimitKind};
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use serde::{Deserialize, Serialize};

use super::checked_text::{CheckedText, ModelText};

/// The limits of one issued key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedLimits {
    /// The key's id.
    key_id: Arc<str>,
    limits: Vec<CarriedLimit>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CarriedLimit {
    /// `None` where it is for every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<ModelText>,
    of: LimitWord,
    window: WindowWord,
    amount: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LimitWord {
    Concurrency,
    Requests,
    Tokens,
    Money,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WindowWord {
    Minute,
    Day,
    Month,
    Held,
}

impl CarriedLimits {
    /// Those of `limits` that are an issued key's; `None` where none are: static keys are known at every node.
    pub fn of(limits: &[HolderLimits]) -> Option<Self> {
        let key_id = limits.iter().find_map(|(holder, _)| match holder {
            LimitHolder::Issued(id) | LimitHolder::IssuedModel(id, _) => Some(Arc::clone(id)),
            _ => None,
        })?;
        let carried = limits.iter().flat_map(|(holder, specs)| {
            let model = holder.model().cloned().map(CheckedText);
            LimitKind::ALL.into_iter().filter_map(move |kind| {
                let spec = specs[kind as usize]?;
                Some(CarriedLimit {
                    model: model.clone(),
                    of: word(kind),
                    window: window_word(spec.window),
                    amount: spec.amount,
                })
            })
        });
        Some(Self {
            key_id,
            limits: carried.collect(),
        })
    }

    /// What they were made of.
    pub fn read(&self) -> Vec<HolderLimits> {
        let mut read: Vec<HolderLimits> = Vec::new();
        for limit in &self.limits {
            let holder = LimitHolder::Issued(Arc::clone(&self.key_id));
            let holder = match &limit.model {
                Some(model) => holder.of_model(&model.0),
                None => holder,
            };
            let spec = LimitSpec {
                amount: limit.amount,
                window: window(limit.window),
            };
            let at = kind(limit.of) as usize;
            match read.iter_mut().find(|(known, _)| *known == holder) {
                Some((_, specs)) => specs[at] = Some(spec),
                None => {
                    let mut specs = KeySpecs::default();
                    specs[at] = Some(spec);
                    read.push((holder, specs));
                }
            }
        }
        read
    }
}

const fn word(kind: LimitKind) -> LimitWord {
    match kind {
        LimitKind::Concurrency => LimitWord::Concurrency,
        LimitKind::Requests => LimitWord::Requests,
        LimitKind::Tokens => LimitWord::Tokens,
        LimitKind::Money => LimitWord::Money,
    }
}

const fn kind(word: LimitWord) -> LimitKind {
    match word {
        LimitWord::Concurrency => LimitKind::Concurrency,
        LimitWord::Requests => LimitKind::Requests,
        LimitWord::Tokens => LimitKind::Tokens,
        LimitWord::Money => LimitKind::Money,
    }
}

const fn window_word(window: LimitWindow) -> WindowWord {
    match window {
        LimitWindow::Minute => WindowWord::Minute,
        LimitWindow::Day => WindowWord::Day,
        LimitWindow::Month => WindowWord::Month,
        LimitWindow::Held => WindowWord::Held,
    }
}

const fn window(word: WindowWord) -> LimitWindow {
    match word {
        WindowWord::Minute => LimitWindow::Minute,
        WindowWord::Day => LimitWindow::Day,
        WindowWord::Month => LimitWindow::Month,
        WindowWord::Held => LimitWindow::Held,
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::ids::ModelName;

    use super::*;

    #[test]
    fn limits_of_an_issued_key_come_back_from_the_record() {
        let spec = |amount, window| Some(LimitSpec { amount, window });
        let holder = LimitHolder::Issued("gvk_1".into());
        let model = ModelName::new("gpt-4o").expect("a name");
        let limits = [
            (
                holder.clone(),
                [
                    spec(4, LimitWindow::Held),
                    spec(60, LimitWindow::Minute),
                    None,
                    spec(5_000_000, LimitWindow::Month),
                ],
            ),
            (
                holder.of_model(&model),
                [
                    None,
                    None,
                    spec(9, LimitWindow::Minute),
                    spec(7, LimitWindow::Day),
                ],
            ),
        ];
        let carried = CarriedLimits::of(&limits).expect("limits");
        let text = serde_json::to_string(&carried).expect("JSON");
        let carried: CarriedLimits = serde_json::from_str(&text).expect("the same");
        assert_eq!(carried.read(), limits);
    }

    #[test]
    fn limits_of_a_static_key_are_not_carried() {
        let specs = KeySpecs::default();
        let holder = LimitHolder::Filed("app".into());
        assert_eq!(CarriedLimits::of(&[(holder, specs)]), None);
        assert_eq!(CarriedLimits::of(&[]), None);
    }
}
