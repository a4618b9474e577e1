//! Where the `grapevine` program is that the tests start.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the `grapevine` program, as `GRAPEVINE_BIN` names it or as built from this workspace.
///
/// `tests/run` builds the program first and sets its path. A plain `cargo test` does not, so it is
/// built here, once per test program: a stale program would make every test lie.
///
/// # Panics
///
/// When the program can be neither found nor built.
#[must_use]
pub fn grapevine() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("GRAPEVINE_BIN") {
        Some(path) => named(PathBuf::from(path)),
        None => built(),
    })
    .clone()
}

/// The path of one of node's examples: beside the program that `GRAPEVINE_BIN` names where there is one, else
/// built now.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let beside = grapevine().with_file_name("examples").join(name);
    if std::env::var_os("GRAPEVINE_BIN").is_some() && beside.is_file() {
        return beside;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "grapevine-node",
        "--example",
    ]);
    // Cargo's variables for this test would make it rebuild some dependencies.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(variable);
        }
    }
    let status = cargo.arg(name).current_dir(workspace()).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cargo could not build the example {name}: {status:?}"
    );
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("debug/examples").join(name)
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or_else(|| tests.clone(), PathBuf::from)
}

fn named(path: PathBuf) -> PathBuf {
    assert!(
        path.is_file(),
        "GRAPEVINE_BIN names {}, which is no file; build it with `cargo build --workspace --bins`",
        path.display()
    );
    path
}

fn built() -> PathBuf {
    let release = cfg!(not(debug_assertions));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "grapevine-node",
        "--bin",
        "grapevine",
    ]);
    if release {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(workspace()).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "cargo could not build the grapevine program: {status:?}"
    );
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let path = target
        .join(if release { "release" } else { "debug" })
        .join("grapevine");
    assert!(path.is_file(), "cargo built no {}", path.display());
    path
}
