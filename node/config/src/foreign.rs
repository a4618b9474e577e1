//! YAML of other programs, with the line of each value: for `grapevine import`.
//!
//! Values stay the texts that were written; the reader decides which are numbers or booleans.

use super::problem::{ConfigReport, Problems, ValueOrigin};
use super::tree::{self, Kind, TreeNode};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// The line, counted from 1; 0 where there is none.
    pub line: usize,
    /// What it is.
    pub kind: ForeignKind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum ForeignKind {
    /// Nothing, `~` or `null`.
    Nothing,
    /// A text or a number.
    Text(String),
    /// A list.
    List(Vec<Foreign>),
    /// Keys and values, in the order of the file.
    Map(Vec<ForeignEntry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct ForeignEntry {
    /// The key.
    pub key: String,
    /// The key's line, counted from 1.
    pub line: usize,
    /// The value.
    pub value: Foreign,
}

/// Reads one document.
///
/// # Errors
/// When it is no YAML, is too large or nested too deeply, or writes a key twice: with every problem and its position.
pub fn read(text: &str, file: Option<String>) -> Result<Foreign, Problems> {
    let mut report = ConfigReport::new(file);
    let tree = tree::parse(text, &mut report);
    let (tree, _warnings) = report.finish(tree)?;
    Ok(foreign(tree))
}

fn foreign(node: TreeNode) -> Foreign {
    let line = line(&node.origin);
    let kind = match node.kind {
        Kind::Null => ForeignKind::Nothing,
        Kind::Scalar(scalar) => ForeignKind::Text(scalar.text),
        Kind::List(items) => ForeignKind::List(items.into_iter().map(foreign).collect()),
        Kind::Map(entries) => {
            let entries = entries.into_iter().map(|entry| ForeignEntry {
                line: self::line(&entry.key_origin),
                key: entry.key,
                value: foreign(entry.value),
            });
            ForeignKind::Map(entries.collect())
        }
    };
    Foreign { line, kind }
}

const fn line(origin: &ValueOrigin) -> usize {
    match origin {
        ValueOrigin::File { line, .. } => *line,
        ValueOrigin::Environment(_) | ValueOrigin::Flag(_) | ValueOrigin::Nowhere => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_lines() {
        let read = read("a:\n  - x\n  - {b: 1}\n", None).expect("a good document");
        let ForeignKind::Map(entries) = &read.kind else {
            panic!("not a map: {read:?}")
        };
        let ForeignKind::List(items) = &entries[0].value.kind else {
            panic!("not a list: {read:?}")
        };
        assert_eq!((entries[0].line, items[0].line, items[1].line), (1, 2, 3));
    }

    #[test]
    fn nesting_without_end_is_a_problem_and_no_crash() {
        for opening in ["[", "{a: ", "- "] {
            let deep = opening.repeat(200_000);
            assert!(read(&deep, None).is_err(), "{opening}");
        }
    }

    #[test]
    fn key_written_twice_is_refused() {
        let problems = read("a: 1\na: 2\n", None).expect_err("two of a key");
        assert!(problems.to_string().contains("written twice"), "{problems}");
    }
}
