//! The changes of `sim/decisions` fit core as it is: each search text occurs in its file exactly once.
//!
//! That the simulator notices them takes a build for each: `sim/decisions/run` shows it.

use std::fs;
use std::path::{Path, PathBuf};

/// Changes there must be at least.
const CHANGES_MIN: usize = 20;

struct Change {
    path: PathBuf,
    scenario: String,
    file: String,
    search: String,
    replace: String,
}

fn root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    folder.expect("the crate is in the workspace").to_owned()
}

fn changes() -> Vec<Change> {
    let folder = root().join("sim/decisions");
    let entries = fs::read_dir(folder).expect("a folder of the crate");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|it| it == "change"))
        .collect();
    paths.sort();
    assert!(paths.len() >= CHANGES_MIN, "{paths:?}");
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Change {
    let text = fs::read_to_string(&path).expect("readable");
    let between = |from: &str, to: &str| {
        let rest = text.split_once(from).map(|(_, rest)| rest);
        let found = rest.and_then(|rest| rest.split_once(to));
        let (found, _) = found.unwrap_or_else(|| panic!("{}: no {from:?}", path.display()));
        found.to_owned()
    };
    Change {
        scenario: between("\nscenario: ", "\n"),
        file: between("\nfile: ", "\n"),
        search: between("\n--- search\n", "\n--- replace\n"),
        replace: between("\n--- replace\n", "\n--- end\n"),
        path,
    }
}

#[test]
fn every_search_text_occurs_once_in_core() {
    for change in changes() {
        let path = change.path.display();
        assert!(change.file.starts_with("node/core/src/"), "{path}");
        let text = fs::read_to_string(root().join(&change.file)).expect("a file of core");
        let count = text.matches(&change.search).count();
        assert_eq!(count, 1, "{path}: its search in {}", change.file);
        assert_ne!(change.search, change.replace, "{path}");
    }
}

#[test]
fn every_scenario_that_must_notice_is_there() {
    for change in changes() {
        let path = change.path.display();
        assert!(
            root().join(&change.scenario).is_file(),
            "{path}: {}",
            change.scenario
        );
    }
}
