//! The packages of `deploy/package`: what installs them finds a program that runs.
//!
//! They are made of the program that all tests run, so that nothing is compiled again: it is linked with glibc, where that
//! of `deploy/package/build` without `--program` is static.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use grapevine_tests::program::{grapevine, workspace};
use grapevine_tests::scratch::Scratch;

use crate::deploy::{output, quiet, run, tool};

/// Makes one kind of package, and returns its files.
fn build(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let out = folder.join("packages");
    let mut program = Command::new(workspace().join("deploy/package/build"));
    program.args(["--only", kind, "--level", "1", "--program"]);
    run(program.arg(grapevine()).arg("--out").arg(&out));
    let sums = run(Command::new("sh")
        .args([
            "-c",
            "sha256sum --check --quiet SHA256SUMS-* && cat SHA256SUMS-*",
        ])
        .current_dir(&out));
    let names = sums.lines().filter_map(|line| line.split("  ").nth(1));
    let files: Vec<PathBuf> = names.map(|name| out.join(name)).collect();
    assert!(!files.is_empty(), "{sums}");
    files
}

fn says_its_version(program: &Path) {
    let said = run(Command::new(program).arg("--version"));
    let expected = run(Command::new(grapevine()).arg("--version"));
    assert_eq!(said, expected, "{}", program.display());
}

#[test]
fn pip_installs_the_program_from_the_wheel() {
    let scratch = Scratch::new("wheel");
    let files = build(scratch.path(), "wheel");
    let name = files[0].file_name().expect("a file").to_string_lossy();
    assert!(
        name.starts_with("grapevine_mesh-") && name.contains("-py3-none-manylinux_2_"),
        "{name}"
    );
    let environment = scratch.path().join("venv");
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment));
    let bin = environment.join("bin");
    let mut pip = Command::new(bin.join("pip"));
    run(pip.args(["install", "--quiet", "--no-index"]).args(&files));
    says_its_version(&bin.join("grapevine"));
    // The name that runners of packages look for.
    says_its_version(&bin.join("grapevine-mesh"));
    let mut pip = Command::new(bin.join("pip"));
    run(pip.args(["uninstall", "--quiet", "--yes", "grapevine-mesh"]));
    assert!(!bin.join("grapevine").exists());
}

#[test]
fn npm_installs_the_program_and_its_launcher_ends_as_it_ends() {
    let scratch = Scratch::new("npm");
    let files = build(scratch.path(), "npm");
    assert_eq!(files.len(), 2, "the program, and what starts it");
    let prefix = scratch.path().join("prefix");
    std::fs::create_dir(&prefix).expect("a writable scratch directory");
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--offline",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ]);
    run(npm
        .arg(&prefix)
        .args(&files)
        .env("npm_config_cache", scratch.path().join("cache")));
    let bin = prefix.join("node_modules/.bin");
    says_its_version(&bin.join("grapevine"));
    says_its_version(&bin.join("grapevine-mesh"));
    let done = output(Command::new(bin.join("grapevine")).arg("no-such-command"));
    assert_eq!(done.status.code(), Some(2), "clap's code of a bad command");
    // Without the package of this machine the launcher says which one is missing.
    let own = files[0].file_name().expect("a file").to_string_lossy();
    let (own, _) = own.rsplit_once('-').expect("a version");
    std::fs::remove_dir_all(prefix.join("node_modules").join(own)).expect("it was there");
    let done = output(Command::new(bin.join("grapevine")).arg("--version"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        !done.status.success() && said.contains(&format!("the package {own} is not installed")),
        "{said}"
    );
}

#[test]
fn the_debian_package_has_the_program_the_unit_and_what_describes_them() {
    let scratch = Scratch::new("deb");
    let files = build(scratch.path(), "deb");
    let root = scratch.path().join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&files[0]).arg(&root));
    says_its_version(&root.join("usr/bin/grapevine"));
    for (file, mode) in [
        ("usr/bin/grapevine", 0o755),
        ("usr/lib/systemd/system/grapevine.service", 0o644),
        ("usr/lib/sysusers.d/grapevine.conf", 0o644),
        ("usr/share/man/man1/grapevine-init.1.gz", 0o644),
        ("usr/share/bash-completion/completions/grapevine", 0o644),
        ("usr/share/doc/grapevine-mesh/copyright", 0o644),
        (
            "usr/share/doc/grapevine-mesh/examples/grapevine.yaml",
            0o644,
        ),
    ] {
        let metadata = std::fs::metadata(root.join(file));
        let permissions = metadata
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .permissions();
        assert_eq!(permissions.mode() & 0o7777, mode, "{file}");
    }
    let unit = root.join("usr/lib/systemd/system/grapevine.service");
    let unit = std::fs::read_to_string(unit).expect("the unit is there");
    assert!(
        unit.contains("\nExecStart=/usr/bin/grapevine node "),
        "{unit}"
    );
    assert!(!unit.contains("/usr/local"), "{unit}");
    // Everything is root's, whoever has built it.
    let listed = run(Command::new("dpkg-deb").arg("-c").arg(&files[0]));
    assert!(
        listed.lines().all(|line| line.contains(" root/root ")),
        "{listed}"
    );
    let fields = run(Command::new("dpkg-deb").arg("-f").arg(&files[0]));
    for line in ["Package: grapevine-mesh\n", "Depends: libc6 (>= 2."] {
        assert!(fields.contains(line), "{fields}");
    }
}

#[test]
fn the_scripts_of_the_packages_are_clean() {
    let folder = workspace().join("deploy/package");
    for script in [
        "debian/postinst",
        "debian/prerm",
        "debian/postrm",
        "python/grapevine-mesh",
    ] {
        quiet(tool("shellcheck").arg(folder.join(script)));
    }
}

#[test]
fn what_is_no_program_is_refused() {
    let scratch = Scratch::new("no-program");
    let file = scratch.path().join("text");
    std::fs::write(&file, "#!/bin/sh\n").expect("a writable scratch directory");
    let mut program = Command::new(workspace().join("deploy/package/build"));
    program
        .arg("--program")
        .arg(&file)
        .arg("--out")
        .arg(scratch.path());
    let done = output(&mut program);
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("is no 64-bit little-endian ELF program"),
        "{said}"
    );
}
