//! What every part of the import shares: the findings, the variables, and how values are read.

use std::collections::BTreeSet;
use std::time::Duration;

use grapevine_config::foreign::{Foreign, ForeignKind};

use super::super::finding::{Findings, Kind, Variables};
use super::super::section::{At, Section};
use super::known::{self, Part};

/// How LiteLLM writes that a value is a variable's.
const VARIABLE: &str = "os.environ/";

/// Written instead of a key where a provider needs none.
const NO_KEYS: [&str; 4] = ["", "none", "None", "null"];

/// An import in progress.
pub(super) struct Reading {
    pub(super) findings: Findings,
    pub(super) variables: Variables,
}

impl Reading {
    /// A reading of `file`, without findings yet.
    pub(super) fn new(file: &Foreign) -> Self {
        let mut reserved = BTreeSet::new();
        reserve(file, &mut reserved);
        Self {
            findings: Findings::default(),
            variables: Variables::new(reserved),
        }
    }

    /// Reports for every key that nobody took why it is not carried over.
    pub(super) fn leave(&mut self, section: &mut Section<'_>, part: Part) {
        for (name, at) in section.rest() {
            let why = known::why(part, name);
            self.findings.add(why.kind, &at, why.problem, why.remedy);
        }
    }

    /// A wait in seconds, at most `max`; a cut is reported.
    pub(super) fn seconds(&mut self, at: &At<'_>, max: Duration) -> Option<Duration> {
        let seconds = at.number().filter(|seconds| *seconds > 0.0);
        let Some(seconds) = seconds else {
            let problem = "is no number of seconds above 0, and left out";
            self.findings
                .add(Kind::Lost, at, problem, "write it into the new file");
            return None;
        };
        if seconds <= max.as_secs_f64() {
            // A thousandth of a second is the least that can be written.
            return Some(Duration::from_millis(
                ((seconds * 1e3).round() as u64).max(1),
            ));
        }
        let problem = format!("is longer than can be written: {} s", max.as_secs());
        self.findings
            .add(Kind::Changed, at, problem, "see whether that is enough");
        Some(max)
    }

    /// A whole number from `least` to `most`; a cut is reported.
    pub(super) fn count(&mut self, at: &At<'_>, least: u32, most: u32) -> Option<u32> {
        let number = at
            .number()
            .filter(|number| number.fract() == 0.0 && *number >= 0.0);
        let Some(number) = number else {
            let problem = "is no whole number, and left out";
            self.findings
                .add(Kind::Lost, at, problem, "write it into the new file");
            return None;
        };
        // Clamped before, so that nothing is cut off by the conversion.
        let fit = number.clamp(f64::from(least), f64::from(most)) as u32;
        if f64::from(fit) != number {
            let problem = format!("is out of range, and written as {fit}");
            self.findings
                .add(Kind::Changed, at, problem, "see whether that will do");
        }
        Some(fit)
    }

    /// A text as the new file writes it: a variable by name, anything else as written.
    pub(super) fn text(&mut self, at: &At<'_>) -> Option<String> {
        let Some(text) = at.text() else {
            self.findings.add(
                Kind::Lost,
                at,
                "is no text, and left out",
                "write it into the new file",
            );
            return None;
        };
        match Spelling::of(text) {
            Spelling::Plain => Some(escaped(text)),
            Spelling::Variable(name) => self.variable(at, name),
            Spelling::Mixed => self.mixed(at),
        }
    }

    /// A secret as the new file writes it: always a variable. `None` when there is none.
    pub(super) fn secret(&mut self, at: &At<'_>, preferred: &str) -> Option<String> {
        let text = match at.text() {
            Some(text) if NO_KEYS.contains(&text) => return None,
            Some(text) => text,
            None => {
                self.findings.add(
                    Kind::Lost,
                    at,
                    "is no text, and left out",
                    "set it by a variable",
                );
                return None;
            }
        };
        match Spelling::of(text) {
            Spelling::Plain => {}
            Spelling::Variable(name) => return self.variable(at, name),
            Spelling::Mixed => return self.mixed(at),
        }
        let variable = self.variables.invent(text, preferred, &at.key);
        let problem = "is a secret in the file, and not copied";
        let remedy = format!(
            "set {} where the node runs",
            variable.trim_matches(['$', '{', '}'])
        );
        self.findings.add(Kind::Step, at, problem, remedy);
        Some(variable)
    }

    /// A variable that was named by `at`, as the new file writes it.
    pub(super) fn variable(&mut self, at: &At<'_>, name: &str) -> Option<String> {
        let written = self.variables.existing(name, &at.key);
        if written.is_none() {
            self.findings.add(
                Kind::Lost,
                at,
                format!("{NO_VARIABLE}, and is left out"),
                "rename the variable",
            );
        }
        written
    }

    fn mixed(&mut self, at: &At<'_>) -> Option<String> {
        let problem = "names a variable within a text, which LiteLLM takes for a variable's whole name, and is left out";
        let remedy = "write it into the new file, with ${NAME} for the variable";
        self.findings.add(Kind::Lost, at, problem, remedy);
        None
    }
}

/// What is wrong with a variable's name.
pub(super) const NO_VARIABLE: &str =
    "names a variable with characters other than letters, digits and _";

/// How a text is written, in LiteLLM's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling<'a> {
    /// As it is.
    Plain,
    /// The variable of this name holds it.
    Variable(&'a str),
    /// A variable is named behind something else.
    Mixed,
}

impl<'a> Spelling<'a> {
    /// How `text` is written.
    pub(super) fn of(text: &'a str) -> Self {
        match text.strip_prefix(VARIABLE) {
            Some(name) => Self::Variable(name),
            None if text.contains(VARIABLE) => Self::Mixed,
            None => Self::Plain,
        }
    }
}

/// `text`, with what would be taken for a variable's name made plain.
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// All variables that the file names, so that none of them is given another meaning.
fn reserve(value: &Foreign, names: &mut BTreeSet<String>) {
    match &value.kind {
        ForeignKind::Nothing => {}
        ForeignKind::Text(text) => {
            if let Spelling::Variable(name) = Spelling::of(text.trim()) {
                names.insert(name.to_owned());
            }
        }
        ForeignKind::List(items) => items.iter().for_each(|item| reserve(item, names)),
        ForeignKind::Map(entries) => entries.iter().for_each(|entry| {
            // Set by the file for the process that reads it.
            names.insert(entry.key.clone());
            reserve(&entry.value, names);
        }),
    }
}
