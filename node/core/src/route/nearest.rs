//! Which known models a mistyped name may have meant.

use crate::ids::ModelName;

/// Names returned at most.
const NAMES_MAX: usize = 3;

/// The known names most similar to `asked`, the most similar first; only those that share most of it.
///
/// Edit distance over all of `known`: for the error path, with up to a thousand short names.
pub(super) fn nearest<'a>(
    asked: &ModelName,
    known: impl Iterator<Item = &'a ModelName>,
) -> Vec<ModelName> {
    let tolerance = (asked.as_str().len() / 3).max(2);
    let mut near: Vec<(usize, &ModelName)> = known
        .filter(|name| !name.is_any())
        .map(|name| {
            (
                distance(asked.as_str().as_bytes(), name.as_str().as_bytes()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .collect();
    near.sort();
    near.into_iter()
        .take(NAMES_MAX)
        .map(|(_, name)| name.clone())
        .collect()
}

/// Levenshtein's distance in bytes.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left_byte) in left.iter().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, right_byte) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_name_finds_its_neighbours_and_nothing_else() {
        let model = |name: &str| ModelName::new(name).expect("a valid name");
        let known = ["gpt-4o", "gpt-4o-mini", "llama-3", "*"].map(model);
        assert_eq!(nearest(&model("gpt4o"), known.iter()), [model("gpt-4o")]);
        assert!(nearest(&model("claude"), known.iter()).is_empty());
    }

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"same", b"same"), 0);
    }
}
