//! One target under libFuzzer: the one that `GRAPEVINE_FUZZ_TARGET` names. Built and run by `run`.

#![no_main]

mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("GRAPEVINE_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.map_or_else(
        || panic!("GRAPEVINE_FUZZ_TARGET names no target: '{wanted}'"),
        |(_, target)| *target,
    )
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
