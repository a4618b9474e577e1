//! Whether a stream that outgrows what was reserved for it may go on.
//!
//! The reservation is an upper bound of text, so few streams outgrow theirs: those about images, sounds and files, whose
//! tokens are more than the bytes that name them, and those of upstreams that do not keep to `max_tokens`.
//!
//! What a stream has used is what its upstream reported, where it reports on the way, and a token for each event
//! since: hardly more than what was used, so that no stream ends too early; the rest is settled at its end. More is taken
//! [`GROWTH_STEP`] ahead, so that a stream does not stop for it.
//!
//! A stream is not ended by the counts that come with its last event, when everything is used already: [`SLACK_BYTES`]
//! pass beyond the event in which the lack shows.

use std::time::Duration;

use crate::Instant;

use super::purse::Reservation;
use super::{ASK_WAIT, TICK};

/// How far ahead tokens are taken: several seconds of a stream's, and what others have is here before they are used.
pub const GROWTH_STEP: u64 = 256;

/// What may pass beyond the event in which a lack shows: the last events of each API's streams are shorter.
const SLACK_BYTES: u64 = 512;

/// How often more is asked for in vain; each time is counted as demand.
const RETRY_INTERVAL: Duration = TICK;

/// What becomes of a stream that used more than its key's limits have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverrunRule {
    /// It ends with an error event. What is used beyond a limit cannot be bounded otherwise.
    #[default]
    End,
    /// It goes on, and what it used beyond is taken from what is ready next.
    Allow,
}

/// What a stream may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowthStep {
    /// Go on.
    GoOn,
    /// Go on, while others are asked for what is not here.
    Ask,
    /// End: it used more than there is.
    End,
}

/// How far one limit is behind a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamGrowth {
    tried_at: Option<Instant>,
    /// Whether others may have had more then.
    may_wait: bool,
    lack: Option<StreamLack>,
}

/// More was used than could be taken.
#[derive(Clone, Copy, Debug)]
struct StreamLack {
    since: Instant,
    passed: u64,
}

impl StreamGrowth {
    /// The stream has used `used` units with a piece of `bytes` bytes that is about to pass; takes what is missing of
    /// them, and `step` ahead, into `reservation`.
    pub fn grow(
        &mut self,
        now: Instant,
        reservation: &mut Reservation,
        (used, step): (u64, u64),
        bytes: u64,
    ) -> GrowthStep {
        let wanted = used.saturating_add(step);
        let missing =
            |wanted: u64, reservation: &Reservation| wanted.saturating_sub(reservation.units());
        if missing(wanted, reservation) == 0 {
            self.lack = None;
            return GrowthStep::GoOn;
        }
        let is_beyond = missing(used, reservation) > 0;
        let is_due = self
            .tried_at
            .is_none_or(|tried_at| now.since(tried_at) >= RETRY_INTERVAL);
        let is_first = is_beyond && self.lack.is_none();
        if !(is_due || is_first) {
            return self.step(now, is_beyond, bytes);
        }
        self.tried_at = Some(now);
        for wanted in [wanted, used] {
            let more = missing(wanted, reservation);
            if more == 0 {
                break;
            }
            match reservation.extend(now, more) {
                Ok(()) => {
                    self.lack = None;
                    return GrowthStep::GoOn;
                }
                Err(empty) => self.may_wait = empty.may_wait,
            }
        }
        match self.step(now, is_beyond, bytes) {
            GrowthStep::GoOn if self.may_wait => GrowthStep::Ask,
            step => step,
        }
    }

    /// Nothing more could be taken.
    fn step(&mut self, now: Instant, is_beyond: bool, bytes: u64) -> GrowthStep {
        if !is_beyond {
            return GrowthStep::GoOn;
        }
        let Some(lack) = &mut self.lack else {
            self.lack = Some(StreamLack {
                since: now,
                passed: 0,
            });
            return GrowthStep::GoOn;
        };
        lack.passed = lack.passed.saturating_add(bytes);
        let may_come = self.may_wait && now.since(lack.since) < ASK_WAIT;
        match may_come || lack.passed <= SLACK_BYTES {
            true => GrowthStep::GoOn,
            false => GrowthStep::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::purse::{Outlook, Purse};
    use super::super::spec::{LimitSpec, LimitWindow};
    use super::*;

    const MORE: u64 = 2 * SLACK_BYTES;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    /// A purse of 1000 of which 100 are taken; others have `elsewhere`.
    fn reserved(elsewhere: u64) -> (Arc<Purse>, Reservation) {
        let purse = Arc::new(Purse::new(LimitSpec {
            amount: 1_000,
            window: LimitWindow::Minute,
        }));
        purse.deposit(1_000);
        purse.set_valid_until(at(3_600_000));
        purse.publish(Outlook {
            amount: 1_000,
            elsewhere,
            ..Outlook::default()
        });
        let taken = purse.take(at(0), 100).expect("a thousand are there");
        (purse, taken)
    }

    #[test]
    fn stream_within_its_reservation_takes_nothing() {
        let (purse, mut taken) = reserved(0);
        let mut growth = StreamGrowth::default();
        for used in 0..=90 {
            let step = growth.grow(at(used), &mut taken, (used, 10), MORE);
            assert_eq!(step, GrowthStep::GoOn);
        }
        assert_eq!((taken.units(), purse.balance()), (100, 900));
    }

    #[test]
    fn more_is_taken_ahead_of_its_use() {
        let (purse, mut taken) = reserved(0);
        let mut growth = StreamGrowth::default();
        let step = growth.grow(at(0), &mut taken, (95, 50), MORE);
        assert_eq!(step, GrowthStep::GoOn);
        assert_eq!((taken.units(), purse.balance()), (145, 855));
    }

    #[test]
    fn stream_ends_once_it_is_beyond_all_that_is_there_and_not_before() {
        let (purse, mut taken) = reserved(0);
        let mut growth = StreamGrowth::default();
        purse.withdraw(900 - 30);
        let mut step = |millis, used| growth.grow(at(millis), &mut taken, (used, 50), MORE);
        assert_eq!(step(0, 60), GrowthStep::GoOn);
        // The step ahead is not there, and what is used is.
        assert_eq!(step(200, 130), GrowthStep::GoOn);
        // The event in which the lack shows passes.
        assert_eq!(step(201, 131), GrowthStep::GoOn);
        assert_eq!(step(202, 132), GrowthStep::End);
        assert_eq!(purse.balance(), 0);
    }

    #[test]
    fn counts_of_the_last_event_do_not_end_a_stream() {
        let (purse, mut taken) = reserved(0);
        let mut growth = StreamGrowth::default();
        purse.withdraw(900);
        for bytes in [5_000, 100, 14] {
            let step = growth.grow(at(0), &mut taken, (500, 50), bytes);
            assert_eq!(step, GrowthStep::GoOn);
        }
    }

    #[test]
    fn stream_waits_a_second_for_what_others_have() {
        let (purse, mut taken) = reserved(500);
        let mut growth = StreamGrowth::default();
        purse.withdraw(900);
        let mut step = |millis| growth.grow(at(millis), &mut taken, (150, 50), MORE);
        assert_eq!(step(0), GrowthStep::Ask);
        assert_eq!(step(1), GrowthStep::GoOn);
        assert_eq!(step(100), GrowthStep::Ask);
        assert_eq!(step(1_100), GrowthStep::End);
        purse.deposit(50);
        assert_eq!(step(1_200), GrowthStep::GoOn);
        assert_eq!(purse.balance(), 0);
    }
}
