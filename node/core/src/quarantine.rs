//! Peers that are ignored for a while, because they sent what no honest node sends.
//!
//! A peer that does so once may run a broken build, and one that goes on does so on purpose or permanently, so each
//! time takes twice as long as the one before, up to a limit. A peer that behaved for long begins anew.
//! Peers are known by the names in their certificates, so that a new connection or address changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;
use crate::ids::NodeName;

/// How long the first time takes: time enough for a log line to be read, and no outage if it was a mistake.
pub const FIRST: Duration = Duration::from_secs(10);

/// The longest time.
pub const LONGEST: Duration = Duration::from_secs(600);

/// An offence is forgotten this long after its quarantine ended.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Peers that are remembered. Names come from certificates of the mesh, so that only its operator can make
/// up more of them.
pub const PEERS_MAX: usize = 1_024;

/// Who is in quarantine, and who was.
#[derive(Debug, Default)]
pub struct Quarantine {
    peers: BTreeMap<NodeName, Offender>,
}

#[derive(Debug)]
struct Offender {
    until: Instant,
    span: Duration,
    /// Whether its end was reported.
    is_over: bool,
}

impl Quarantine {
    /// Puts `peer` in quarantine; returns for how long, or nothing when it is there already.
    pub fn put(&mut self, now: Instant, peer: &NodeName) -> Option<Duration> {
        let former = self.peers.get(peer);
        if former.is_some_and(|former| now < former.until) {
            return None;
        }
        let span = former.map_or(FIRST, |former| former.span.saturating_mul(2).min(LONGEST));
        if former.is_none() && self.peers.len() >= PEERS_MAX {
            self.forget_one();
        }
        let offender = Offender {
            until: now + span,
            span,
            is_over: false,
        };
        self.peers.insert(peer.clone(), offender);
        Some(span)
    }

    /// Whether `peer` is in quarantine.
    pub fn holds(&self, now: Instant, peer: &NodeName) -> bool {
        self.peers.get(peer).is_some_and(|peer| now < peer.until)
    }

    /// Who is in quarantine, and for how long still.
    pub fn held(&self, now: Instant) -> impl Iterator<Item = (&NodeName, Duration)> {
        let held = self.peers.iter().filter(move |(_, peer)| now < peer.until);
        held.map(move |(name, peer)| (name, now.until(peer.until)))
    }

    /// The peers whose quarantine ended since the last call; forgets those that behaved since.
    pub fn ended(&mut self, now: Instant) -> Vec<NodeName> {
        self.peers
            .retain(|_, peer| now < peer.until || now.since(peer.until) < FORGOTTEN_AFTER);
        let mut ended = Vec::new();
        for (name, peer) in &mut self.peers {
            if !peer.is_over && now >= peer.until {
                peer.is_over = true;
                ended.push(name.clone());
            }
        }
        ended
    }

    /// Makes room: the one whose quarantine ended, or will end, first.
    fn forget_one(&mut self) {
        let first = self.peers.iter().min_by_key(|(_, peer)| peer.until);
        if let Some(name) = first.map(|(name, _)| name.clone()) {
            self.peers.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn peer(number: usize) -> NodeName {
        NodeName::new(&format!("n{number}")).expect("a valid name")
    }

    #[test]
    fn each_quarantine_takes_twice_as_long_as_the_one_before_up_to_a_limit() {
        let mut quarantine = Quarantine::default();
        let mut now = at(0);
        let mut spans = Vec::new();
        for _ in 0..9 {
            let span = quarantine.put(now, &peer(1)).expect("not held");
            spans.push(span.as_secs());
            now = now + span;
        }
        assert_eq!(spans, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    #[test]
    fn peer_in_quarantine_is_held_until_its_end_and_no_longer() {
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.put(at(0), &peer(1)), Some(FIRST));
        assert_eq!(quarantine.put(at(5), &peer(1)), None);
        assert!(quarantine.holds(at(9), &peer(1)));
        assert!(!quarantine.holds(at(9), &peer(2)));
        assert!(!quarantine.holds(at(10), &peer(1)));
        let held: Vec<_> = quarantine.held(at(4)).collect();
        assert_eq!(held, [(&peer(1), Duration::from_secs(6))]);
    }

    #[test]
    fn end_is_reported_once() {
        let mut quarantine = Quarantine::default();
        quarantine.put(at(0), &peer(1));
        assert_eq!(quarantine.ended(at(9)), []);
        assert_eq!(quarantine.ended(at(10)), [peer(1)]);
        assert_eq!(quarantine.ended(at(11)), []);
    }

    #[test]
    fn peer_that_behaved_for_an_hour_begins_anew() {
        let mut quarantine = Quarantine::default();
        quarantine.put(at(0), &peer(1));
        quarantine.ended(at(3_609));
        assert_eq!(quarantine.put(at(3_609), &peer(1)), Some(FIRST * 2));
        quarantine.ended(at(3_629 + 3_600));
        assert_eq!(quarantine.put(at(7_229), &peer(1)), Some(FIRST));
    }

    #[test]
    fn full_table_forgets_who_is_free_first() {
        let mut quarantine = Quarantine::default();
        for number in 0..=PEERS_MAX {
            quarantine.put(at(number as u64 / 1_000), &peer(number));
        }
        assert_eq!(quarantine.peers.len(), PEERS_MAX);
        assert!(!quarantine.holds(at(2), &peer(0)));
        assert!(quarantine.holds(at(2), &peer(PEERS_MAX)));
    }
}
