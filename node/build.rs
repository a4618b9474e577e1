//! Links the program with packed relocations, where the system that it is built on and for loads them.
//!
//! A program that may stand anywhere in memory corrects some 46,000 addresses when it starts. Written one by one they
//! are a table of 1.1 MB, which is read once and stays mapped; packed (`DT_RELR`) they take a hundredth, and an idle
//! node some 2 MB less. glibc reads them from 2.36 on and refuses to start what needs them before that, so a program
//! that is to run on an older system must be built there, or for musl.

use std::process::Command;

/// The first glibc that reads packed relocations.
const GLIBC_MIN: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if is_for_glibc_here() && glibc().is_some_and(|version| version >= GLIBC_MIN) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether it is built for a system like this one, with glibc.
fn is_for_glibc_here() -> bool {
    let is = |name, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let host = std::env::var("HOST").unwrap_or_default();
    is("TARGET", &host) && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu")
}

/// The version of this system's glibc, as in `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let asked = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = String::from_utf8(asked.ok()?.stdout).ok()?;
    let (major, rest) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
