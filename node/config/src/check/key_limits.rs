//! Checks of the limits of a key, and of a key for a model.

use std::collections::BTreeMap;

use grapevine_core::ids::ModelName;
use grapevine_keys::rights::{KeyBudget, KeyLimits, MODEL_LIMITS_MAX, ModelLimits};

use super::super::file::{CountText, KeyFile, ModelLimitsFile};
use super::super::text::parse_count;
use super::Checker;

/// The most requests at once that a limit may allow.
const CONCURRENCY_MAX: u64 = 100_000;

impl Checker<'_> {
    /// The limits of the key at `key`, whatever the model.
    pub(super) fn key_limits(&mut self, key: &str, file: &KeyFile) -> KeyLimits {
        let (rpm, tpm) = (file.rpm.as_ref(), file.tpm.as_ref());
        self.limits_at(key, (rpm, tpm), file.budget.as_deref(), file.concurrency)
    }

    /// The limits by model at `key`.
    pub(super) fn model_limits(
        &mut self,
        key: &str,
        written: Option<&BTreeMap<String, ModelLimitsFile>>,
    ) -> ModelLimits {
        let form =
            "write at most 256 bytes, without control characters, and without blanks at the ends";
        let count = written.map_or(0, BTreeMap::len);
        if count > MODEL_LIMITS_MAX {
            let problem = format!("names {count} models, more than {MODEL_LIMITS_MAX}");
            let remedy = "give several models one key of their own, and limit that";
            self.problem(key, problem, remedy);
        }
        let mut limits = ModelLimits::new();
        for (name, file) in written.into_iter().flatten().take(MODEL_LIMITS_MAX) {
            let key = format!("{key}.{name}");
            let Some(model) = self.parse::<ModelName>(&key, Some(name), form) else {
                continue;
            };
            if model.is_any() {
                let problem = "is any model, and limits for every model are those of the key";
                self.problem(&key, problem, "write them beside limits");
                continue;
            }
            let rates = (file.rpm.as_ref(), file.tpm.as_ref());
            let found = self.limits_at(&key, rates, file.budget.as_deref(), file.concurrency);
            let is_empty = file.rpm.is_none()
                && file.tpm.is_none()
                && file.budget.is_none()
                && file.concurrency.is_none();
            if is_empty {
                let remedy = "write rpm, tpm, budget or concurrency, or remove the model";
                self.problem(&key, "has no limit", remedy);
            }
            limits.insert(model, found);
        }
        limits
    }

    pub(super) fn limits_at(
        &mut self,
        key: &str,
        (rpm, tpm): (Option<&CountText>, Option<&CountText>),
        budget: Option<&str>,
        concurrency: Option<u64>,
    ) -> KeyLimits {
        let at = |name: &str| format!("{key}.{name}");
        let range = 1..=CONCURRENCY_MAX;
        KeyLimits {
            rpm: self.rate(&at("rpm"), rpm),
            tpm: self.rate(&at("tpm"), tpm),
            budget: self.budget(&at("budget"), budget),
            concurrency: concurrency
                .map(|_| self.number(&at("concurrency"), concurrency, 1, range)),
        }
    }

    fn budget(&mut self, key: &str, text: Option<&str>) -> Option<KeyBudget> {
        let form = "write an amount and a period: 50usd/month, 2.50usd/day";
        self.parse(key, text, form)
    }

    fn rate(&mut self, key: &str, text: Option<&CountText>) -> Option<u64> {
        let text = text?;
        match parse_count(&text.0) {
            Ok(0) => self.problem(
                key,
                "must be at least 1",
                "remove the key instead of setting it to 0",
            ),
            Ok(rate) => return Some(rate),
            Err(error) => {
                let problem = format!("{} {error}", self.shown(key));
                self.problem(key, problem, "write a count: 600, 200k, 2M");
            }
        }
        None
    }
}
