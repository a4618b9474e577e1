//! How a link's silence and round trip are judged, from packets counted and echoes heard.
//!
//! QUIC's own smoothed round trip moves only with traffic and takes seconds to follow a change, so
//! each link sends a ping of its own and takes the least of the last few: queues only ever add.

use std::collections::VecDeque;
use std::time::Duration;

use grapevine_core::Instant;

/// No packet for this long: no new work for the peer. The longest silence seen at 5 % packet loss
/// with a packet every 100 ms was 342 ms.
pub const SILENCE: Duration = Duration::from_millis(500);

/// How often packets are counted: well below the 100 ms between [`SILENCE`] and the idle timeout, so that
/// silence is seen before the end.
pub const POLL: Duration = Duration::from_millis(50);

/// The same on a node with more than [`POLL_LINKS_MAX`] links, to bound its cost.
pub const POLL_MANY: Duration = Duration::from_millis(500);

/// Up to this many links are polled every [`POLL`].
pub const POLL_LINKS_MAX: usize = 64;

/// How often a ping is sent.
pub const PING: Duration = Duration::from_millis(500);

/// Round trips of which the least counts.
const SAMPLES: usize = 8;

/// Pings whose echo is waited for; older ones are lost.
const PENDING_MAX: usize = 16;

/// What one link showed so far.
#[derive(Debug)]
pub struct Watch {
    received: u64,
    heard_at: Instant,
    polled_at: Instant,
    silent: bool,
    sequence: u64,
    pinged_at: Option<Instant>,
    pending: VecDeque<(u64, Instant)>,
    samples: VecDeque<Duration>,
}

/// What changed about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It fell silent.
    Silent,
    /// It spoke again.
    Heard,
}

impl Watch {
    /// A link that was heard `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            received: 0,
            heard_at: now,
            polled_at: now,
            silent: false,
            sequence: 0,
            pinged_at: None,
            pending: VecDeque::new(),
            samples: VecDeque::new(),
        }
    }

    /// Takes the number of packets received so far.
    pub fn polled(&mut self, now: Instant, received: u64) -> Option<Hearing> {
        // A process that was stopped cannot say what it did not hear meanwhile.
        let overslept = now.since(self.polled_at) > POLL_MANY.saturating_mul(2);
        self.polled_at = now;
        if received != self.received || overslept {
            self.received = received;
            self.heard_at = now;
        }
        let silent = now.since(self.heard_at) >= SILENCE;
        if silent == self.silent {
            return None;
        }
        self.silent = silent;
        Some(if silent {
            Hearing::Silent
        } else {
            Hearing::Heard
        })
    }

    /// The sequence of a ping to send now, when one is due.
    pub fn ping_due(&mut self, now: Instant) -> Option<u64> {
        if self.pinged_at.is_some_and(|at| now.since(at) < PING) {
            return None;
        }
        self.pinged_at = Some(now);
        self.sequence += 1;
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((self.sequence, now));
        Some(self.sequence)
    }

    /// Takes an echo; returns the round trip to go by, or nothing for an echo nobody waits for.
    pub fn echoed(&mut self, now: Instant, sequence: u64) -> Option<Duration> {
        let position = self
            .pending
            .iter()
            .position(|(pending, _)| *pending == sequence)?;
        let (_, sent_at) = self.pending.remove(position)?;
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(now.since(sent_at));
        self.samples.iter().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn link_is_silent_after_half_a_second_without_a_packet() {
        let mut watch = Watch::new(at(0));
        assert_eq!(watch.polled(at(100), 5), None);
        assert_eq!(watch.polled(at(599), 5), None);
        assert_eq!(watch.polled(at(600), 5), Some(Hearing::Silent));
        assert_eq!(watch.polled(at(700), 5), None);
        assert_eq!(watch.polled(at(800), 6), Some(Hearing::Heard));
    }

    #[test]
    fn process_that_was_stopped_holds_nobody_for_silent() {
        let mut watch = Watch::new(at(0));
        assert_eq!(watch.polled(at(100), 5), None);
        assert_eq!(watch.polled(at(5_000), 5), None);
        assert_eq!(watch.polled(at(5_500), 5), Some(Hearing::Silent));
    }

    #[test]
    fn least_of_the_last_eight_round_trips_counts() {
        let mut watch = Watch::new(at(0));
        let mut round_trip = |start: u64, span: u64| {
            let sequence = watch.ping_due(at(start)).expect("a ping is due");
            watch.echoed(at(start + span), sequence)
        };
        assert_eq!(round_trip(0, 10), Some(Duration::from_millis(10)));
        for n in 1..8 {
            assert_eq!(round_trip(n * 500, 40), Some(Duration::from_millis(10)));
        }
        assert_eq!(round_trip(4_000, 40), Some(Duration::from_millis(40)));
    }

    #[test]
    fn ping_is_due_twice_a_second() {
        let mut watch = Watch::new(at(0));
        assert_eq!(watch.ping_due(at(0)), Some(1));
        assert_eq!(watch.ping_due(at(499)), None);
        assert_eq!(watch.ping_due(at(500)), Some(2));
    }

    #[test]
    fn echo_nobody_waits_for_is_ignored() {
        let mut watch = Watch::new(at(0));
        let sequence = watch.ping_due(at(0)).expect("a ping is due");
        assert_eq!(watch.echoed(at(1), sequence + 1), None);
        assert!(watch.echoed(at(1), sequence).is_some());
        assert_eq!(watch.echoed(at(2), sequence), None);
    }
}
