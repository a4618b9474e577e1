//! The outcomes of what an attack sent.

use std::collections::BTreeMap;

use grapevine_tests::client::Answer;
use serde_json::Value;

/// The counts of one attack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Requests, messages or connections.
    pub(crate) sent: usize,
    /// How they ended: a status with its code, or a word of the row, and how often.
    pub(crate) ends: BTreeMap<String, usize>,
    /// Violations that were seen.
    pub(crate) wrong: Vec<String>,
}

impl Tally {
    /// Counts what was sent and how each of it ended.
    pub(crate) fn of(ends: impl IntoIterator<Item = String>) -> Self {
        let mut tally = Self::default();
        for end in ends {
            tally.add(end);
        }
        tally
    }

    /// Counts one more, by its end.
    pub(crate) fn add(&mut self, end: impl Into<String>) {
        self.sent += 1;
        self.ended(end, 1);
    }

    /// Counts ends of what is counted as sent already.
    pub(crate) fn ended(&mut self, end: impl Into<String>, count: usize) {
        if count > 0 {
            *self.ends.entry(end.into()).or_default() += count;
        }
    }

    /// Records a violation unless `holds`.
    pub(crate) fn check(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.wrong.push(otherwise.into());
        }
    }
}

/// A status, and the code of the error where there is one.
pub(crate) fn end_of(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match body["error"]["code"].as_str() {
        Some(code) => format!("{} {code}", answer.status),
        None => answer.status.to_string(),
    }
}

/// As [`end_of`], also where no answer came.
pub(crate) fn end_of_any(answer: &reqwest::Result<Answer>) -> String {
    match answer {
        Ok(answer) => end_of(answer),
        Err(error) if error.is_timeout() => "held".to_owned(),
        Err(_) => "closed".to_owned(),
    }
}
