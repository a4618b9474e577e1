//! Why reading YAML ends before its end, in words for whoever wrote it.

use serde_saphyr::granit_parser::ScanError;

use super::super::problem::ValueOrigin;

/// Why reading ended early.
pub(super) struct Stop {
    pub(super) origin: ValueOrigin,
    pub(super) problem: String,
    pub(super) remedy: &'static str,
}

impl Stop {
    /// What is no YAML, in `text`.
    pub(super) fn at(error: &ScanError, text: &str) -> Self {
        let mark = error.marker();
        let origin = ValueOrigin::File {
            line: mark.line(),
            column: mark.col() + 1,
        };
        if let Some((problem, remedy)) = sign_outside_quotes(text, mark.line(), mark.col()) {
            return Self {
                origin,
                problem: problem.to_owned(),
                remedy,
            };
        }
        Self {
            origin,
            problem: format!("is not valid YAML: {}", error.info()),
            remedy: "mend the line, or the one above it; check indentation, quotes and brackets",
        }
    }
}

/// What to say where reading ended at a sign that no text may begin with outside of quotes. An alias without a name
/// ends behind its sign. Lines count from 1, columns from 0.
fn sign_outside_quotes(
    text: &str,
    line: usize,
    column: usize,
) -> Option<(&'static str, &'static str)> {
    let line: Vec<char> = text.lines().nth(line.checked_sub(1)?)?.chars().collect();
    let places = [Some(column), column.checked_sub(1)].into_iter().flatten();
    let mut signs = places.filter_map(|place| line.get(place));
    signs.find_map(|sign| {
        let found = match sign {
            '*' => (
                "begins with *, which is an alias in YAML",
                "put it in quotes: \"*\"",
            ),
            '&' => (
                "begins with &, which is an anchor in YAML",
                "put it in quotes: \"&\"",
            ),
            '@' | '`' | '%' => (
                "begins with a sign that YAML keeps for itself",
                "put the whole text in quotes",
            ),
            _ => return None,
        };
        Some(found)
    })
}

pub(super) fn unexpected(origin: ValueOrigin) -> Stop {
    Stop {
        origin,
        problem: "is not valid YAML here".to_owned(),
        remedy: "check indentation, quotes and brackets",
    }
}
