//! How much memory a process has used at its worst.

use crate::wait::must;

/// The most memory that a process has had resident since its start, in bytes (`VmHWM` of Linux).
///
/// # Panics
///
/// When the process does not run.
#[must_use]
pub fn peak_resident_bytes(process: u32) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = must(&path, std::fs::read_to_string(&path));
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    match kibibytes {
        Some(kibibytes) => kibibytes * 1024,
        None => panic!("no VmHWM in {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_grows_with_what_is_used() {
        let before = peak_resident_bytes(std::process::id());
        let used = vec![1_u8; 64 << 20];
        let after = peak_resident_bytes(std::process::id());
        assert!(used.iter().all(|byte| *byte == 1) && after >= before);
        assert!(after > 64 << 20, "{after}");
    }
}
