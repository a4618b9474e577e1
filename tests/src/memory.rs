//! The peak memory of a process, and its content.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memmem;

use crate::wait::must;

/// What is read of a process's memory at once.
const WINDOW_BYTES: usize = 1 << 20;

/// The most memory that a process has had resident since its start, in bytes (`VmHWM` of Linux).
///
/// # Panics
///
/// When the process does not run.
#[must_use]
pub fn peak_resident_bytes(process: u32) -> u64 {
    status_bytes(process, "VmHWM:")
}

/// The memory that a process has resident now, in bytes (`VmRSS` of Linux).
///
/// # Panics
///
/// When the process does not run.
#[must_use]
pub fn resident_bytes(process: u32) -> u64 {
    status_bytes(process, "VmRSS:")
}

fn status_bytes(process: u32, field: &str) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = must(&path, std::fs::read_to_string(&path));
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    match kibibytes {
        Some(kibibytes) => kibibytes * 1024,
        None => panic!("no {field} in {path}"),
    }
}

/// The texts that begin with `prefix` and have `length` bytes more, anywhere in the memory that a process may
/// write: its heap, its stacks, its buffers.
///
/// # Errors
///
/// When nothing of it may be read: that takes the right to trace it.
pub fn texts_in(process: u32, prefix: &str, length: usize) -> io::Result<BTreeSet<Vec<u8>>> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
    let (mut found, mut read_bytes) = (BTreeSet::new(), 0);
    let mut window = vec![0; WINDOW_BYTES];
    for (mut at, end) in maps.lines().filter_map(writable) {
        while at < end {
            let wanted =
                usize::try_from(end - at).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            // Given back by the process since the list was read, or the kernel's own.
            let Ok(count) = memory.read_at(&mut window[..wanted], at) else {
                break;
            };
            if count == 0 {
                break;
            }
            read_bytes += count;
            for start in memmem::find_iter(&window[..count], prefix) {
                let rest = window.get(start..start + prefix.len() + length);
                found.extend(
                    rest.filter(|_| start + prefix.len() + length <= count)
                        .map(<[u8]>::to_vec),
                );
            }
            // A text that lies across two windows is whole in the second.
            let overlap = (prefix.len() + length).min(count - 1);
            let step = if count < wanted || at + count as u64 >= end {
                count
            } else {
                count - overlap
            };
            at += step as u64;
        }
    }
    match read_bytes {
        0 => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(found),
    }
}

/// The bounds of a mapping that the process may read and write.
fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with("rw")
        .then_some((parse(start)?, parse(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_memory_is_found() {
        let prefix = ["FIND", "-ME-"].concat();
        let kept = [&prefix, "0042"].concat();
        let found = texts_in(std::process::id(), &prefix, 4).expect("its own memory");
        assert!(found.contains(kept.as_bytes()), "{found:?}");
    }

    #[test]
    fn a_peak_grows_with_what_is_used() {
        let before = peak_resident_bytes(std::process::id());
        let used = vec![1_u8; 64 << 20];
        let after = peak_resident_bytes(std::process::id());
        assert!(used.iter().all(|byte| *byte == 1) && after >= before);
        assert!(after > 64 << 20, "{after}");
    }
}
