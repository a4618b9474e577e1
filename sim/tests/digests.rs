//! Equal seeds give equal runs: in two processes, and in this build as in the one that wrote
//! `sim/digests.txt`; another seed gives another run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SEEDS: usize = 2;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// A process that prints the digests of all scenarios.
fn process() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine-sim"));
    command.arg("digests").arg(folder().join("scenarios"));
    let child = command.stdout(Stdio::piped()).spawn();
    child.expect("the program is built with its tests")
}

fn output(process: Child) -> String {
    let output = process.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout).expect("plain text")
}

#[test]
fn every_scenario_gives_its_digest_in_every_process_and_build() {
    let (first, second) = (process(), process());
    let (first, second) = (output(first), output(second));
    let scenarios = std::fs::read_dir(folder().join("scenarios")).expect("a folder");
    assert_eq!(first.lines().count(), scenarios.count() * SEEDS);
    assert_eq!(first, second, "two processes differ");
    let kept = std::fs::read_to_string(folder().join("digests.txt")).expect("a file");
    assert_eq!(
        first, kept,
        "runs have changed. Where that was meant: cargo run --release -p grapevine-sim -- digests > sim/digests.txt"
    );
    let mut digests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in first.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        digests.entry(fields[0]).or_default().push(fields[2]);
    }
    for (scenario, digests) in digests {
        assert_ne!(
            digests[0], digests[1],
            "{scenario}: another seed, the same run"
        );
    }
}
