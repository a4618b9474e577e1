//! What the code of a reset or stopped stream means.
//!
//! A stream that simply ends carries a whole body; a stream that ended otherwise is reset with one of
//! these codes, so that half an answer is never taken for a whole one.

use grapevine_core::outcome::{Outcome, Stage};

/// The caller wants no more of it.
pub const CANCELLED: u32 = 0x10;
/// The upstream's answer broke off.
pub const BROKEN_OFF: u32 = 0x11;
/// The upstream fell silent within its answer.
pub const IDLE: u32 = 0x12;
/// The upstream took too long for the whole of its answer.
pub const TOTAL: u32 = 0x13;
/// The request's own deadline passed.
pub const DEADLINE: u32 = 0x14;
/// The request was refused or could not be read; nothing more of it is wanted.
pub const REFUSED: u32 = 0x15;

/// The code for how an answer ended after its head.
pub const fn code(outcome: &Outcome) -> u32 {
    match outcome {
        Outcome::Cancelled => CANCELLED,
        Outcome::TimedOut(Stage::Idle) => IDLE,
        Outcome::TimedOut(Stage::Total) => TOTAL,
        Outcome::DeadlinePassed => DEADLINE,
        _ => BROKEN_OFF,
    }
}

/// Whether `code` means that the upstream's answer ended, rather than the peer's interest.
pub const fn is_upstreams(code: u64) -> bool {
    const FIRST: u64 = BROKEN_OFF as u64;
    const LAST: u64 = DEADLINE as u64;
    FIRST <= code && code <= LAST
}

/// How an answer ended whose stream was reset with `code` after its head.
pub const fn outcome(code: u64) -> Outcome {
    const WIDE: [u64; 3] = [IDLE as u64, TOTAL as u64, DEADLINE as u64];
    if code == WIDE[0] {
        Outcome::TimedOut(Stage::Idle)
    } else if code == WIDE[1] {
        Outcome::TimedOut(Stage::Total)
    } else if code == WIDE[2] {
        Outcome::DeadlinePassed
    } else {
        Outcome::BrokenOff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_that_has_a_code_survives_the_hop() {
        for ended in [
            Outcome::BrokenOff,
            Outcome::TimedOut(Stage::Idle),
            Outcome::TimedOut(Stage::Total),
            Outcome::DeadlinePassed,
        ] {
            assert_eq!(outcome(u64::from(code(&ended))), ended);
            assert!(is_upstreams(u64::from(code(&ended))));
        }
    }

    #[test]
    fn unknown_code_is_an_answer_broken_off() {
        assert_eq!(outcome(0), Outcome::BrokenOff);
        assert_eq!(outcome(u64::MAX), Outcome::BrokenOff);
        assert!(!is_upstreams(0) && !is_upstreams(u64::from(REFUSED)));
        assert_eq!(code(&Outcome::Reset), BROKEN_OFF);
    }
}
