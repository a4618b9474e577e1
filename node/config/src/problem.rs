//! What is wrong with a configuration, where, and what to do about it.
//!
//! A problem is made for the operator: it names the key and its position, and shows the value as written, so
//! that neither a secret nor an interpolated variable's content gets into it.

use std::fmt;

use serde::Serialize;

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueOrigin {
    /// In the file; both count from 1.
    File {
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In an environment variable.
    Environment(String),
    /// In a flag of the command line.
    Flag(String),
    /// Nowhere: the value is missing, or a default.
    #[default]
    Nowhere,
}

/// One problem or warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigProblem {
    /// The file that was read, as it was named; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where the value was written.
    pub origin: ValueOrigin,
    /// The key, such as `upstreams[2].health.interval`; empty for the whole.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl ConfigProblem {
    /// One that the parts of a node find in a configuration that is read: nothing tells where its value was written.
    pub fn of_value(key: &str, problem: String, remedy: String) -> Self {
        Self {
            file: None,
            origin: ValueOrigin::Nowhere,
            key: key.to_owned(),
            problem,
            remedy,
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, &self.file) {
            (ValueOrigin::File { line, column }, Some(file)) => {
                write!(formatter, "{file}:{line}:{column}: ")?
            }
            (ValueOrigin::File { line, column }, None) => write!(formatter, "{line}:{column}: ")?,
            (ValueOrigin::Environment(name) | ValueOrigin::Flag(name), _) => {
                write!(formatter, "{name}: ")?
            }
            (ValueOrigin::Nowhere, Some(file)) => write!(formatter, "{file}: ")?,
            (ValueOrigin::Nowhere, None) => {}
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        write!(formatter, "{}; {}", self.problem, self.remedy)
    }
}

/// Everything that is wrong with a configuration, in the order of the file; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<ConfigProblem>,
    warnings: Vec<ConfigProblem>,
    file_hash: Option<String>,
}

impl Problems {
    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigProblem> {
        self.problems.iter()
    }

    /// What keeps `loaded` from being used after all.
    pub fn of(problems: Vec<ConfigProblem>, loaded: super::Loaded) -> Self {
        Self {
            problems,
            warnings: loaded.warnings,
            file_hash: loaded.config.file_hash,
        }
    }

    /// The warnings: a mistyped variable may be the cause of a problem.
    pub fn warnings(&self) -> &[ConfigProblem] {
        &self.warnings
    }

    /// The short hash of the file they are in; `None` where there is none, or it could not be read.
    pub fn file_hash(&self) -> Option<&str> {
        self.file_hash.as_deref()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct ConfigReport {
    file: Option<String>,
    pub(super) file_hash: Option<String>,
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) warnings: Vec<ConfigProblem>,
}

impl ConfigReport {
    pub(super) fn new(file: Option<String>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    pub(super) fn problem(
        &mut self,
        origin: &ValueOrigin,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = self.make(origin, key, problem.into(), remedy.into());
        self.problems.push(problem);
    }

    pub(super) fn warning(
        &mut self,
        origin: &ValueOrigin,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let warning = self.make(origin, key, problem.into(), remedy.into());
        self.warnings.push(warning);
    }

    /// The resulting value with the warnings, when nothing was wrong; else the problems, in order.
    pub(super) fn finish<T>(
        mut self,
        value: Option<T>,
    ) -> Result<(T, Vec<ConfigProblem>), Problems> {
        self.warnings.sort();
        if let (Some(value), true) = (value, self.problems.is_empty()) {
            return Ok((value, self.warnings));
        }
        if self.problems.is_empty() {
            // A bug of this program, which must not stop a reload.
            self.problem(
                &ValueOrigin::Nowhere,
                "",
                "was not understood",
                "please report this",
            );
        }
        self.problems.sort();
        self.problems.dedup();
        Err(Problems {
            problems: self.problems,
            warnings: self.warnings,
            file_hash: self.file_hash,
        })
    }

    fn make(
        &self,
        origin: &ValueOrigin,
        key: &str,
        problem: String,
        remedy: String,
    ) -> ConfigProblem {
        ConfigProblem {
            file: self.file.clone(),
            origin: origin.clone(),
            key: key.to_owned(),
            problem,
            remedy,
        }
    }
}
