//! How many files and sockets the process may hold.

use std::error::Error;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::causes;

/// More than any process needs; a system without a limit reports meaninglessly high numbers.
const ENOUGH: u64 = 1 << 20;

/// The limit that the process could have: what it has, or may take without being permitted to.
pub fn attainable() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(ENOUGH);
    current.max(limit.maximum.unwrap_or(ENOUGH).min(ENOUGH))
}

/// Raises the limit as far as permitted and returns the new one. High descriptor numbers are safe here: no file
/// is waited for with `select`.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = attainable();
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if limit.current.is_none_or(|current| current >= wanted)
        || setrlimit(Resource::Nofile, raised).is_err()
    {
        return limit.current.unwrap_or(ENOUGH);
    }
    wanted
}

/// Whether `error` means that there are none left.
pub fn are_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| exhausted.contains(&code))
}

/// Whether a lack of them caused `error`: no fault of the remote side.
pub fn lack(error: &(dyn Error + 'static)) -> bool {
    causes::each(error).any(|cause| cause.downcast_ref().is_some_and(are_exhausted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_gets_what_is_attainable() {
        let attainable = attainable();
        assert_eq!(raise(), attainable);
        assert_eq!(raise(), attainable, "a second time changes nothing");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] io::Error);

    #[test]
    fn lack_is_found_behind_other_errors() {
        assert!(lack(&Outer(io::Error::from_raw_os_error(24))));
        assert!(!lack(&Outer(io::ErrorKind::ConnectionRefused.into())));
    }

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        assert!(are_exhausted(&io::Error::from_raw_os_error(24)));
        assert!(!are_exhausted(&io::ErrorKind::ConnectionAborted.into()));
    }
}
