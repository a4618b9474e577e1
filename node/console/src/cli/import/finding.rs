//! What an import could not carry over as it stood, and the variables that the new file needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::section::At;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// It is not in the new file.
    Lost,
    /// It is there, and means something else.
    Changed,
    /// Somebody has to do something before a node can use the file.
    Step,
    /// Nothing is missing without it.
    Note,
}

impl Kind {
    /// The word in front of a line.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::Step => "to do",
            Self::Note => "note",
        }
    }

    /// Whether somebody should look at it.
    pub(super) fn needs_attention(self) -> bool {
        self != Self::Note
    }
}

/// One thing to know about an import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// The line in the file that was read, counted from 1; 0 for the whole file.
    pub(super) line: usize,
    /// The key in full.
    pub(super) key: String,
    pub(super) kind: Kind,
    /// What happened to it.
    pub(super) problem: String,
    /// What to do instead.
    pub(super) remedy: String,
}

impl fmt::Display for Finding {
    /// As `line 12, lost: router_settings.x: problem; remedy`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        match self.line {
            0 => write!(formatter, "{kind}: ")?,
            line => write!(formatter, "line {line}, {kind}: ")?,
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        write!(formatter, "{}; {}", self.problem, self.remedy)
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        kind: Kind,
        at: &At<'_>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.put(kind, (&at.key, at.line), problem, remedy);
    }

    /// As [`Findings::add`], for a position that outlives its value.
    pub(super) fn put(
        &mut self,
        kind: Kind,
        (key, line): (&str, usize),
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding {
            line,
            key: key.to_owned(),
            kind,
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// All of them, once each, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}

/// A variable that the new file names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Variable {
    pub(super) name: String,
    /// The keys of the old file that have its value.
    pub(super) keys: Vec<String>,
    /// Whether the file that was read held the value itself, so that the variable is new.
    pub(super) is_new: bool,
    /// Whether it must hold the hash of a key, as `grapevine key hash` prints it.
    pub(super) is_hash: bool,
}

/// The variables that the new file names. Holds secrets, and shows none.
#[derive(Default)]
pub(super) struct Variables {
    /// Names that the file uses for something else.
    reserved: BTreeSet<String>,
    uses: BTreeMap<String, Variable>,
    /// Names by the secret that each was made for.
    invented: BTreeMap<String, String>,
}

impl Variables {
    /// None yet; `reserved` are the names that cannot be invented.
    pub(super) fn new(reserved: BTreeSet<String>) -> Self {
        Self {
            reserved,
            ..Self::default()
        }
    }

    /// Names an existing variable; `None` when it cannot be written as `${NAME}`.
    pub(super) fn existing(&mut self, name: &str, key: &str) -> Option<String> {
        Self::is_name(name).then(|| self.used(name, key, false, false))
    }

    /// Whether `name` can be written as `${NAME}`, and in a shell.
    pub(super) fn is_name(name: &str) -> bool {
        let is_first = |first: char| first.is_ascii_alphabetic() || first == '_';
        name.starts_with(is_first)
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// Names a new variable for `secret`, the same for the same secret.
    pub(super) fn invent(&mut self, secret: &str, preferred: &str, key: &str) -> String {
        if let Some(name) = self.invented.get(secret).cloned() {
            return self.used(&name, key, true, false);
        }
        let preferred: String = preferred.chars().map(upper).collect();
        let free = (1_usize..).map(|number| format!("{preferred}_{number}"));
        let mut free = free.filter(|name| !self.reserved.contains(name));
        let name = free.next().unwrap_or(preferred);
        self.reserved.insert(name.clone());
        self.invented.insert(secret.to_owned(), name.clone());
        self.used(&name, key, true, false)
    }

    /// Names a variable that holds the hash of a key.
    pub(super) fn hash(&mut self, name: &str, key: &str) -> String {
        self.used(name, key, true, true)
    }

    /// All of them, by name.
    pub(super) fn into_list(self) -> Vec<Variable> {
        self.uses.into_values().collect()
    }

    fn used(&mut self, name: &str, key: &str, is_new: bool, is_hash: bool) -> String {
        let variable = self
            .uses
            .entry(name.to_owned())
            .or_insert_with(|| Variable {
                name: name.to_owned(),
                keys: Vec::new(),
                is_new,
                is_hash,
            });
        if !variable.keys.iter().any(|other| other == key) {
            variable.keys.push(key.to_owned());
        }
        format!("${{{name}}}")
    }
}

fn upper(letter: char) -> char {
    match letter.to_ascii_uppercase() {
        fit @ ('A'..='Z' | '0'..='9') => fit,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_has_one_variable_and_another_has_another() {
        let mut variables = Variables::new(["OPENAI_KEY_1".to_owned()].into());
        assert_eq!(variables.invent("a", "openai-key", "k1"), "${OPENAI_KEY_2}");
        assert_eq!(variables.invent("b", "openai-key", "k2"), "${OPENAI_KEY_3}");
        assert_eq!(variables.invent("a", "else", "k3"), "${OPENAI_KEY_2}");
        let list = variables.into_list();
        assert_eq!(list.len(), 2);
        assert_eq!(
            (list[0].keys.join(","), list[0].is_new),
            ("k1,k3".to_owned(), true)
        );
    }

    #[test]
    fn name_that_cannot_be_written_is_refused() {
        let mut variables = Variables::default();
        for name in ["", "1A", "A B", "A-B", "Ä"] {
            assert_eq!(variables.existing(name, "k"), None, "{name}");
        }
        assert_eq!(variables.existing("_A1", "k").as_deref(), Some("${_A1}"));
    }
}
