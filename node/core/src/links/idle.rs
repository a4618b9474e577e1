//! When a connection outside the warm set is closed again.
//!
//! Gossip draws its partners from all members, so in a large mesh each round opens a connection or two that nobody
//! else needs; kept for ever they would make every node a partner of all. Which of the others to keep follows from what they
//! cost. A connection that stays costs its keep-alives and pings, and one that is closed too early another handshake.
//! Gossip comes back to a pair at random, by a Poisson process, so the time that a connection has been idle tells
//! nothing of how long it will be: the best is either to close it as soon as the exchange is over, or never
//! (Karlin et al., "Competitive randomized algorithms for non-uniform problems", 1994, on renting a ski with a known
//! distribution). The border is where the mean time between two exchanges equals [`HANDSHAKE_WORTH`].
//!
//! [`linger`] is that rule: with N members at one round each 200 ms, links stay up to 95 members and are closed beyond.
//! What requests use stays for longer, within a bound: the ones used last ([`CALLED_MAX`]).
//!
//! Invariant: only the end that dialled a connection closes it, and never one with a call in flight. So both ends agree
//! without a message, and a peer that wants it dials once, and then decides itself.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Instant;
use crate::ids::NodeName;

/// Peers that gossip turns to in each round (chitchat's `GOSSIP_COUNT`).
pub const GOSSIP_FAN_OUT: u32 = 3;

/// Members up to which every round of gossip is sent; of N beyond it, this share of N.
pub const GOSSIP_FULL_PACE: u32 = 80;

/// Bytes that each end of a new connection sends for handshake and greeting, as measured between two nodes.
pub const HANDSHAKE_BYTES: u32 = 3_000;

/// Bytes that each end of an idle connection sends in a second, as measured: keep-alives, pings, their echoes, and what
/// acknowledges them.
pub const IDLE_BYTES_PER_SECOND: u32 = 800;

/// How long an idle connection may be kept for what another handshake costs. CPU gives about the same: 2 ms for the
/// signatures of both ends, against half a millisecond a second.
pub const HANDSHAKE_WORTH: Duration =
    Duration::from_millis(1_000 * HANDSHAKE_BYTES as u64 / IDLE_BYTES_PER_SECOND as u64);

/// The least time without use: an exchange of gossip takes one and a half round trips, and of those that span the Earth
/// under loss some take a second.
pub const LINGER_MIN: Duration = Duration::from_secs(2);

/// Mean times between two exchanges after which a connection that gossip uses counts as idle: one gap in 150 is longer.
const GAPS: u32 = 5;

/// Of the connections outside the warm set that requests use, so many stay: those used last.
pub const CALLED_MAX: usize = 16;

/// For so long after the last request. A request that opens it anew waits for two round trips more.
pub const CALLED_KEPT: Duration = Duration::from_secs(60);

/// Connections that a node closes at once at most, at each look.
pub const CLOSED_MAX: usize = 16;

/// How often a node looks for connections to close.
pub const LOOK: Duration = Duration::from_secs(1);

/// The use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkUse {
    /// When it was opened, or gossip or a message about rights last went over it, either way.
    pub exchanged_at: Instant,
    /// When the last request or call to an inside was in flight on it, either way; `None` before the first.
    pub called_at: Option<Instant>,
    /// Whether one is now.
    pub in_flight: bool,
}

/// The time between two rounds of gossip of a node that counts `members`, at `interval` in a small mesh.
pub fn round(interval: Duration, members: usize) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    interval.mul_f64(f64::from(members.max(GOSSIP_FULL_PACE)) / f64::from(GOSSIP_FULL_PACE))
}

/// How long a connection outside the warm set may be idle in a mesh of so many `members`, with gossip's `interval` in a
/// small mesh.
///
/// Each node turns to [`GOSSIP_FAN_OUT`] of N - 1 others in each [`round`], so a pair exchanges after a mean time of
/// `T = round x (N - 1) / 6`. Up to [`HANDSHAKE_WORTH`] the linger is 5 T: nobody closes what gossip uses. Beyond it
/// is [`LINGER_MIN`].
pub fn linger(interval: Duration, members: usize) -> Duration {
    let others = u32::try_from(members.saturating_sub(1)).unwrap_or(u32::MAX);
    let gap = round(interval, members).saturating_mul(others) / (2 * GOSSIP_FAN_OUT);
    match gap <= HANDSHAKE_WORTH {
        true => gap.saturating_mul(GAPS).max(LINGER_MIN),
        false => LINGER_MIN,
    }
}

/// Those of the connections which this node dialled that it closes now: idle ones outside the `warm` set, the longest
/// idle first. At most [`CLOSED_MAX`].
pub fn to_close<'a>(
    now: Instant,
    linger: Duration,
    warm: &BTreeSet<NodeName>,
    dialled: impl IntoIterator<Item = (&'a NodeName, LinkUse)>,
) -> Vec<NodeName> {
    let outside = dialled
        .into_iter()
        .filter(|(peer, _)| !warm.contains(*peer));
    let (called, idle): (Vec<_>, Vec<_>) = outside.partition(|(_, used)| {
        let is_recent = |at: Instant| now.since(at) < CALLED_KEPT;
        used.in_flight || used.called_at.is_some_and(is_recent)
    });
    let mut called: Vec<(&NodeName, LinkUse)> = called;
    called.sort_by_key(|(peer, used)| {
        let last = (used.in_flight, used.called_at);
        (std::cmp::Reverse(last), *peer)
    });
    let surplus = called.into_iter().skip(CALLED_MAX);
    let mut closing: Vec<(Instant, &NodeName)> = idle
        .into_iter()
        .chain(surplus)
        .filter(|(_, used)| !used.in_flight)
        .map(|(peer, used)| {
            (
                used.exchanged_at.max(used.called_at.unwrap_or_default()),
                peer,
            )
        })
        .filter(|(used_at, _)| now.since(*used_at) >= linger)
        .collect();
    closing.sort_unstable();
    closing.truncate(CLOSED_MAX);
    closing.into_iter().map(|(_, peer)| peer.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn name(index: usize) -> NodeName {
        NodeName::new(&format!("n{index:03}")).expect("a valid name")
    }

    fn idle_since(seconds: u64) -> LinkUse {
        LinkUse {
            exchanged_at: at(seconds),
            called_at: None,
            in_flight: false,
        }
    }

    fn called(seconds: u64) -> LinkUse {
        LinkUse {
            called_at: Some(at(seconds)),
            ..idle_since(0)
        }
    }

    fn closed(now: u64, links: &BTreeMap<NodeName, LinkUse>) -> Vec<NodeName> {
        let links = links.iter().map(|(name, used)| (name, *used));
        to_close(at(now), LINGER_MIN, &BTreeSet::new(), links)
    }

    #[test]
    fn link_stays_where_gossip_returns_soon_and_goes_where_it_does_not() {
        // 0.2 s x 79 / 6 = 2.6 s between two exchanges.
        let stays = linger(INTERVAL, 80);
        let about = Duration::from_secs(13)..Duration::from_secs(14);
        assert!(about.contains(&stays), "{stays:?}");
        assert!(linger(INTERVAL, 95) > Duration::from_secs(18));
        assert_eq!(linger(INTERVAL, 96), LINGER_MIN);
        assert_eq!(linger(INTERVAL, 300), LINGER_MIN);
        assert_eq!(linger(INTERVAL, 1_000), LINGER_MIN);
        assert_eq!(round(INTERVAL, 80), INTERVAL);
        assert_eq!(round(INTERVAL, 1_000), Duration::from_millis(2_500));
    }

    #[test]
    fn idle_link_is_closed_after_its_linger_and_not_before() {
        let links = BTreeMap::from([(name(1), idle_since(10))]);
        assert!(closed(11, &links).is_empty());
        assert_eq!(closed(12, &links), [name(1)]);
    }

    #[test]
    fn warm_link_is_never_closed() {
        let (peer, warm) = (name(1), BTreeSet::from([name(1)]));
        let idle = [(&peer, idle_since(0))];
        assert!(to_close(at(1_000), LINGER_MIN, &warm, idle).is_empty());
    }

    #[test]
    fn link_with_a_call_in_flight_is_never_closed() {
        let busy = LinkUse {
            in_flight: true,
            ..idle_since(0)
        };
        let links = (0..2 * CALLED_MAX)
            .map(|index| (name(index), busy))
            .collect();
        assert!(closed(1_000, &links).is_empty());
    }

    #[test]
    fn links_that_requests_used_last_stay_within_their_bound() {
        let count = CALLED_MAX + 3;
        let links: BTreeMap<_, _> = (0..count)
            .map(|index| (name(index), called(10 + index as u64)))
            .collect();
        assert_eq!(closed(40, &links), [name(0), name(1), name(2)]);
        let later = 10 + count as u64 + CALLED_KEPT.as_secs();
        assert_eq!(closed(later, &links).len(), CLOSED_MAX);
    }

    proptest! {
        #[test]
        fn few_are_closed_at_once_and_none_that_is_warm_busy_or_young(
            uses in prop::collection::vec((0_u64..98, prop::option::of(0_u64..98), any::<bool>()), 0..60),
            warm in prop::collection::btree_set(0_usize..60, 0..20),
        ) {
            let warm: BTreeSet<NodeName> = warm.into_iter().map(name).collect();
            let links: BTreeMap<NodeName, LinkUse> = uses
                .into_iter()
                .enumerate()
                .map(|(index, (exchanged, called, in_flight))| {
                    let called_at = called.map(at);
                    (name(index), LinkUse { exchanged_at: at(exchanged), called_at, in_flight })
                })
                .collect();
            let pairs = links.iter().map(|(name, used)| (name, *used));
            let closing = to_close(at(100), LINGER_MIN, &warm, pairs);
            prop_assert!(closing.len() <= CLOSED_MAX);
            for peer in &closing {
                let used = links[peer];
                prop_assert!(!warm.contains(peer) && !used.in_flight);
                prop_assert!(at(100).since(used.exchanged_at) >= LINGER_MIN);
            }
            let kept = links.iter().filter(|(peer, used)| {
                let is_called = used.called_at.is_some_and(|it| at(100).since(it) < CALLED_KEPT);
                is_called && !used.in_flight && !warm.contains(*peer) && !closing.contains(peer)
            });
            prop_assert!(closing.len() == CLOSED_MAX || kept.count() <= CALLED_MAX);
        }
    }
}
