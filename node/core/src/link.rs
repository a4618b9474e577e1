//! What a link to a peer carries, and what its silence means.
//!
//! Two clocks, since two things are at stake. *New work* must not wait for a peer that may be gone: half a
//! second without a packet, or pings that come back no more, and requests go elsewhere, those still without
//! an answer's head among them. *Running* answers are worth more than that: a blackout of a few seconds or a
//! process that was stopped for a moment ends none of them. They end with the connection, after ten seconds
//! ([`LOST`]), or as soon as something proves that the peer's process is gone: its host reports that nobody
//! listens on its port, or its next process resets what it does not know. Membership's verdict proves nothing
//! here: it comes from the same silence.
//!
//! QUIC's own smoothed round trip moves only with traffic and takes seconds to follow a change, so
//! each link sends a ping of its own and takes the least of the last few: queues only ever add.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Instant;
use crate::outcome::Outcome;

/// Forwarded requests that a node has in flight over one link at most, each way. A link at this limit is left out of
/// plans, and refuses without a wait.
pub const CALLS_MAX: u32 = 10_000;

/// Calls to the inside of a peer in flight on one link, each way. Some of them wait for work, up to 20 s.
pub const INSIDE_CALLS_MAX: u32 = 256;

/// No packet for this long: no new work for the peer. The longest silence seen at 5 % packet loss
/// with a packet every 100 ms was 342 ms.
pub const SILENCE: Duration = Duration::from_millis(500);

/// No echo for this long, to at least [`UNECHOED_MIN`] pings, while packets come in: the peer does not receive this
/// node, and its requests would wait there without limit. No new work either.
pub const ECHO_TIMEOUT: Duration = Duration::from_millis(1_250);

/// Pings without an echo before [`ECHO_TIMEOUT`] counts: at 20 % loss each way all of so many are lost in two of a
/// thousand.
pub const UNECHOED_MIN: u32 = 6;

/// Nothing was received, or nothing echoed, for this long: the connection is given up, and with it the answers that
/// run over it.
pub const LOST: Duration = Duration::from_secs(10);

/// Round trips before a new connection takes its first request: the handshake of TLS 1.3, and the greeting, which
/// either end sends when it knows the other's certificate.
pub const DIAL_ROUND_TRIPS: u32 = 2;

/// How long a request waits for a link that is opened for it: two round trips around the Earth, and two packets lost.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// A peer that did not answer a dial, or whose link was lost, is not dialled for a request before this has passed.
/// The dialler goes on by itself.
pub const DIAL_PAUSE: Duration = Duration::from_secs(5);

/// A quiet connection sends a packet this often: three chances before its silence counts. With it no link
/// was silent for 600 ms in 100 s at 5 % packet loss and round trips up to 172 ms.
pub const KEEP_ALIVE: Duration = Duration::from_millis(150);

/// How often packets are counted.
pub const POLL: Duration = Duration::from_millis(50);

/// The same on a node with more than [`POLL_LINKS_MAX`] links, to bound its cost.
pub const POLL_MANY: Duration = Duration::from_millis(500);

/// Up to this many links are polled every [`POLL`].
pub const POLL_LINKS_MAX: usize = 64;

/// How often a ping is sent.
pub const PING: Duration = Duration::from_millis(500);

/// How often one is sent while echoes are missing.
pub const PING_UNECHOED: Duration = Duration::from_millis(100);

/// An echo is missing when none came for this long.
pub const ECHO_MISSING: Duration = Duration::from_millis(750);

/// How often a node looks for a proof that the peer of a silent link is gone.
const LOOK_FOR_PEER: Duration = Duration::from_millis(250);

/// Round trips of which the least counts.
pub const SAMPLES: usize = 8;

/// Pings whose echo is waited for; older ones are lost.
const PENDING_MAX: usize = 16;

/// What was observed of one link so far.
#[derive(Debug)]
pub struct LinkWatch {
    received: u64,
    received_at: Instant,
    echoed_at: Instant,
    unechoed: u32,
    polled_at: Instant,
    looked_at: Option<Instant>,
    silent: bool,
    sequence: u64,
    pinged_at: Option<Instant>,
    pending: VecDeque<(u64, Instant)>,
    samples: VecDeque<Duration>,
}

/// What changed about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It fell silent: no new work.
    Silent,
    /// Packets and echoes arrive again.
    Recovered,
    /// It is given up, with all that runs over it.
    Lost,
}

/// What the time since the last packet, and since the last echo, means for a link; `None` where it is healthy.
pub fn silence(unreceived: Duration, unechoed: Duration) -> Option<LinkState> {
    if unreceived.max(unechoed) >= LOST {
        Some(LinkState::Lost)
    } else if unreceived >= SILENCE || unechoed >= ECHO_TIMEOUT {
        Some(LinkState::Silent)
    } else {
        None
    }
}

/// The outcome of a request without an answer's head whose link fell silent: `seen_after` is the time from its
/// sending to the last packet of the peer.
///
/// What comes within a round trip was sent before the request could arrive. Packets are counted each [`POLL`].
/// When a region dies, every client that is sent there within the half second before its silence shows meets
/// this at once; it must not spend the retries of a node that has idled.
pub fn outcome_of_silence(seen_after: Duration, rtt: Duration) -> Outcome {
    match seen_after <= rtt + POLL {
        true => Outcome::PeerUnreached,
        false => Outcome::PeerLost,
    }
}

impl LinkWatch {
    /// A link whose peer was seen `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            received: 0,
            received_at: now,
            echoed_at: now,
            unechoed: 0,
            polled_at: now,
            looked_at: None,
            silent: false,
            sequence: 0,
            pinged_at: None,
            pending: VecDeque::new(),
            samples: VecDeque::new(),
        }
    }

    /// Takes the number of packets received so far.
    pub fn polled(&mut self, now: Instant, received: u64) -> Option<LinkState> {
        // A process that was stopped does not know what it missed meanwhile.
        let overslept = now.since(self.polled_at) > POLL_MANY.saturating_mul(2);
        self.polled_at = now;
        if received != self.received || overslept {
            self.received = received;
            self.received_at = now;
        }
        if overslept {
            self.echoed_at = now;
            self.unechoed = 0;
        }
        let found = silence(now.since(self.received_at), self.unechoed_for(now));
        let silent = found.is_some();
        if found != Some(LinkState::Lost) && silent == self.silent {
            return None;
        }
        self.silent = silent;
        Some(found.unwrap_or(LinkState::Recovered))
    }

    /// The sequence of a ping to send now, when one is due.
    pub fn ping_due(&mut self, now: Instant) -> Option<u64> {
        let interval = match now.since(self.echoed_at) >= ECHO_MISSING {
            true => PING_UNECHOED,
            false => PING,
        };
        if self.pinged_at.is_some_and(|at| now.since(at) < interval) {
            return None;
        }
        self.pinged_at = Some(now);
        self.sequence += 1;
        self.unechoed = self.unechoed.saturating_add(1);
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((self.sequence, now));
        Some(self.sequence)
    }

    /// Takes an echo; returns the round trip to use, or nothing for an echo nobody waits for.
    pub fn echoed(&mut self, now: Instant, sequence: u64) -> Option<Duration> {
        let position = self
            .pending
            .iter()
            .position(|(pending, _)| *pending == sequence)?;
        let (_, sent_at) = self.pending.remove(position)?;
        self.echoed_at = now;
        self.unechoed = 0;
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(now.since(sent_at));
        self.samples.iter().min().copied()
    }

    /// Whether to look now for a proof that the peer of a silent link is gone.
    pub fn look_due(&mut self, now: Instant) -> bool {
        let looked = self
            .looked_at
            .is_some_and(|at| now.since(at) < LOOK_FOR_PEER);
        let due = self.silent && !looked;
        if due {
            self.looked_at = Some(now);
        }
        due
    }

    /// When the peer last showed that it is alive and receives this node.
    pub fn last_seen_at(&self, now: Instant) -> Instant {
        match self.unechoed_for(now) >= ECHO_TIMEOUT {
            true => self.echoed_at,
            false => self.received_at,
        }
    }

    /// How long no echo came to enough pings.
    fn unechoed_for(&self, now: Instant) -> Duration {
        match self.unechoed < UNECHOED_MIN {
            true => Duration::ZERO,
            false => now.since(self.echoed_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn request_reached_nobody_unless_the_peer_was_seen_a_round_trip_after_it() {
        for rtt in [0, 100, 600, 2_000].map(Duration::from_millis) {
            assert_eq!(
                outcome_of_silence(Duration::ZERO, rtt),
                Outcome::PeerUnreached
            );
            assert_eq!(outcome_of_silence(rtt + POLL, rtt), Outcome::PeerUnreached);
            let later = rtt + POLL + Duration::from_millis(1);
            assert_eq!(outcome_of_silence(later, rtt), Outcome::PeerLost);
        }
    }

    #[test]
    fn peer_without_echoes_was_seen_at_its_last_echo_and_a_silent_one_at_its_last_packet() {
        let mut watch = LinkWatch::new(at(0));
        assert_eq!(watch.polled(at(50), 1), None);
        assert_eq!(watch.polled(at(550), 1), Some(LinkState::Silent));
        assert_eq!(watch.last_seen_at(at(550)), at(50));
        let mut watch = LinkWatch::new(at(0));
        assert_eq!(
            unechoed(&mut watch, 50, 1_500),
            [(1_250, LinkState::Silent)]
        );
        assert_eq!(watch.last_seen_at(at(1_500)), at(0));
    }

    #[test]
    fn link_is_silent_after_half_a_second_without_a_packet() {
        let mut watch = LinkWatch::new(at(0));
        assert_eq!(watch.polled(at(100), 5), None);
        assert_eq!(watch.polled(at(599), 5), None);
        assert_eq!(watch.polled(at(600), 5), Some(LinkState::Silent));
        assert_eq!(watch.polled(at(700), 5), None);
        assert_eq!(watch.polled(at(800), 6), Some(LinkState::Recovered));
    }

    /// Polls and pings every 50 ms from `start` on while packets come in, and no echo does.
    fn unechoed(watch: &mut LinkWatch, start: u64, end: u64) -> Vec<(u64, LinkState)> {
        let mut found = Vec::new();
        for millis in (start..=end).step_by(50) {
            found.extend(watch.polled(at(millis), millis).map(|it| (millis, it)));
            watch.ping_due(at(millis));
        }
        found
    }

    #[test]
    fn peer_that_echoes_nothing_gets_no_new_work_though_its_packets_arrive() {
        let mut watch = LinkWatch::new(at(0));
        assert_eq!(
            unechoed(&mut watch, 50, 1_500),
            [(1_250, LinkState::Silent)]
        );
        let sequence = watch.ping_due(at(1_600)).expect("a ping is due");
        assert!(watch.echoed(at(1_620), sequence).is_some());
        assert_eq!(watch.polled(at(1_650), 1), Some(LinkState::Recovered));
    }

    #[test]
    fn few_unanswered_pings_prove_nothing_however_long_ago_they_were_sent() {
        let mut watch = LinkWatch::new(at(0));
        for millis in [0, 500, 1_000, 1_500, 2_000] {
            assert_eq!(watch.polled(at(millis), millis), None);
            assert!(watch.ping_due(at(millis)).is_some());
        }
        assert_eq!(watch.polled(at(2_500), 1), None);
    }

    #[test]
    fn link_is_given_up_after_ten_seconds_of_either_silence() {
        let second = Duration::from_secs(1);
        let none = Duration::ZERO;
        assert_eq!(silence(none, none), None);
        assert_eq!(silence(second, none), Some(LinkState::Silent));
        assert_eq!(silence(none, second), None);
        assert_eq!(silence(none, second * 2), Some(LinkState::Silent));
        assert_eq!(silence(second * 9, second * 9), Some(LinkState::Silent));
        assert_eq!(silence(second * 10, none), Some(LinkState::Lost));
        assert_eq!(silence(none, second * 10), Some(LinkState::Lost));
    }

    #[test]
    fn peer_is_looked_for_four_times_a_second_while_its_link_is_silent() {
        let mut watch = LinkWatch::new(at(0));
        assert!(!watch.look_due(at(0)));
        assert_eq!(watch.polled(at(500), 0), Some(LinkState::Silent));
        assert!(watch.look_due(at(500)));
        assert!(!watch.look_due(at(749)));
        assert!(watch.look_due(at(750)));
        assert_eq!(watch.polled(at(800), 1), Some(LinkState::Recovered));
        assert!(!watch.look_due(at(2_000)));
    }

    #[test]
    fn process_that_was_stopped_considers_nobody_silent() {
        let mut watch = LinkWatch::new(at(0));
        assert_eq!(watch.polled(at(100), 5), None);
        assert_eq!(watch.polled(at(5_000), 5), None);
        assert_eq!(watch.polled(at(5_500), 5), Some(LinkState::Silent));
    }

    #[test]
    fn least_of_the_last_eight_round_trips_counts() {
        let mut watch = LinkWatch::new(at(0));
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
        let mut watch = LinkWatch::new(at(0));
        assert_eq!(watch.ping_due(at(0)), Some(1));
        assert_eq!(watch.ping_due(at(499)), None);
        assert_eq!(watch.ping_due(at(500)), Some(2));
    }

    #[test]
    fn echo_nobody_waits_for_is_ignored() {
        let mut watch = LinkWatch::new(at(0));
        let sequence = watch.ping_due(at(0)).expect("a ping is due");
        assert_eq!(watch.echoed(at(1), sequence + 1), None);
        assert!(watch.echoed(at(1), sequence).is_some());
        assert_eq!(watch.echoed(at(2), sequence), None);
    }
}
