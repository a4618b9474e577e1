//! A public type's name stands for one thing in the whole workspace.

use std::collections::BTreeMap;

use super::{assert_none, blanked, each_source, production};

/// What begins the declaration of a public type.
const DECLARATIONS: [&str; 5] = [
    "pub struct ",
    "pub enum ",
    "pub trait ",
    "pub type ",
    "pub union ",
];

#[test]
fn public_type_name_stands_for_one_thing() {
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    each_source(|path, text| {
        for name in public_types(&blanked(production(text))) {
            let path = path.display().to_string();
            declared.entry(name).or_default().push(path);
        }
    });
    assert!(!declared.is_empty(), "no public type: the reader is blind");
    let several = declared.iter().filter(|(_, paths)| paths.len() > 1);
    let problems: Vec<String> = several
        .map(|(name, paths)| format!("{name} is declared in {}", paths.join(" and ")))
        .collect();
    assert_none(&problems);
}

/// The names of the public types that `code` declares.
fn public_types(code: &str) -> Vec<String> {
    let name = |line: &str| {
        let declared = DECLARATIONS
            .iter()
            .find_map(|words| line.trim_start().strip_prefix(words))?;
        let end = declared.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let name = &declared[..end.unwrap_or(declared.len())];
        // A macro's `$name` is none.
        (!name.is_empty()).then(|| name.to_string())
    };
    code.lines().filter_map(name).collect()
}

#[test]
fn types_that_a_crate_keeps_to_itself_may_share_a_name() {
    let code = "pub struct Link<T> {\n    pub enum Kind {\npub(super) struct Entry;\nstruct Step;\n\
                pub type Shared = u8;\npub fn structure() {}\npub struct $name(u8);\n";
    assert_eq!(public_types(code), ["Link", "Kind", "Shared"]);
}
