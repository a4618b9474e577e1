//! The connections of one node as a whole: to whom it stays connected, and to whom a rumor goes.
//!
//! All of a small mesh. Beyond [`ALL_MAX`] members a node keeps a few: the nearest, which it may choose for
//! requests and tasks, and some that are drawn once and stay, so that the mesh of connections has no gaps between
//! regions. Bound: 16 connections at 1,000 nodes, and 16 messages for each rumor. What one connection carries
//! and what its silence means is decided in [`crate::link`], and when one outside this set is closed in [`idle`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::Rng;

use crate::ids::NodeName;
use crate::random;

pub mod idle;

/// Up to this many members all stay connected. An idle connection costs 116 KB and, at this
/// keep-alive, under half a millisecond of CPU per second.
pub const ALL_MAX: usize = 64;

/// Beyond it, this many of the nearest that answer requests,
pub const NEAREST: usize = 8;

/// this many of the nearest that do background work alone, so that they take no slot from those above,
pub const WORKERS: usize = 4;

/// and this many others.
pub const OTHERS: usize = 4;

/// Up to this many peers a rumor goes to all of them, and nobody passes it on.
pub const RUMOR_PEERS_MAX: usize = 64;

/// To how many a rumor goes beyond that; a peer that receives it for the first time passes it on in the same way. All
/// of 1,000 nodes receive it in about three steps: two reach 256 and a third the rest. With 12 the simulator's
/// slowest transition took more than 1.5 times the largest one-way delay, since two steps reached 144 only.
pub const RUMOR_FAN_OUT: usize = 16;

/// Rumors whose signatures a node checks per second: an eighth of a core.
pub const RUMORS_PER_SECOND: u32 = 2_000;

/// The same for those of one peer, so that it cannot take the time of all.
pub const RUMORS_PER_PEER: u32 = 500;

/// Whether a mesh is linked whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MeshSize {
    /// It is: who is not linked cannot be reached.
    #[default]
    Whole,
    /// It is too large for that: links are opened for requests.
    Large,
}

impl MeshSize {
    /// That of a mesh with so many live peers.
    pub const fn of(peers: usize) -> Self {
        match peers > ALL_MAX {
            true => Self::Large,
            false => Self::Whole,
        }
    }
}

/// A member of the mesh that a node may connect to.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// The round trip to it: measured, or estimated from its location, or the default for an unknown one.
    pub rtt: Duration,
    /// Whether it answers requests, as far as is known.
    pub answers: bool,
    /// Whether it runs tasks of any service.
    pub works: bool,
}

/// The members that `me` stays connected to. The same members with the same round trips give the same set, so
/// that connections do not come and go.
pub fn warm_set<'a>(
    me: &NodeName,
    members: impl IntoIterator<Item = Member<'a>>,
) -> BTreeSet<NodeName> {
    let others = members.into_iter().filter(|member| member.name != me);
    let mut members: Vec<Member<'a>> = others.collect();
    if members.len() <= ALL_MAX {
        return members.iter().map(|it| it.name.clone()).collect();
    }
    members.sort_by_key(|member| (member.rtt, member.name));
    let (answering, rest): (Vec<_>, Vec<_>) = members.into_iter().partition(|it| it.answers);
    let working = rest.iter().filter(|member| member.works);
    let near = answering.iter().take(NEAREST).chain(working.take(WORKERS));
    let mut warm: BTreeSet<NodeName> = near.map(|member| member.name.clone()).collect();
    let mut rest: Vec<Member<'a>> = answering.into_iter().chain(rest).collect();
    rest.retain(|member| !warm.contains(member.name));
    rest.sort_by_cached_key(|member| lot(me, member.name));
    warm.extend(rest.iter().take(OTHERS).map(|member| member.name.clone()));
    warm
}

/// A pseudo-random number that is always the same for two names.
fn lot(me: &NodeName, other: &NodeName) -> u64 {
    let (me, other) = (me.as_str().as_bytes(), other.as_str().as_bytes());
    random::mix(random::hash(me) ^ random::mix(random::hash(other)))
}

/// Keeps those of the connected `peers` that a rumor goes to, drawn anew each time.
pub fn spread<T>(peers: &mut Vec<T>, rng: &mut impl Rng) {
    if peers.len() <= RUMOR_PEERS_MAX {
        return;
    }
    for chosen in 0..RUMOR_FAN_OUT {
        let drawn = random::below(rng, peers.len() - chosen);
        peers.swap(chosen, chosen + drawn);
    }
    peers.truncate(RUMOR_FAN_OUT);
}

/// Whether a rumor is passed on in a mesh of so many members: in a small one its author reaches everybody.
pub const fn relays(members: usize) -> bool {
    members > RUMOR_PEERS_MAX
}

/// How many rumors a node may still check in this second, of all peers and of each.
#[derive(Debug, Default)]
pub struct RumorChecks {
    taken: u32,
    by_peer: BTreeMap<NodeName, u32>,
}

impl RumorChecks {
    /// A second has passed.
    pub fn refill(&mut self) {
        self.taken = 0;
        self.by_peer.clear();
    }

    /// Takes one for a rumor of `peer`; false where none is left.
    pub fn take(&mut self, peer: &NodeName) -> bool {
        let of_peer = match self.by_peer.get_mut(peer) {
            Some(taken) => taken,
            None => self.by_peer.entry(peer.clone()).or_default(),
        };
        if *of_peer >= RUMORS_PER_PEER || self.taken >= RUMORS_PER_SECOND {
            return false;
        }
        *of_peer += 1;
        self.taken += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).expect("a valid name")
    }

    fn names(count: usize) -> Vec<NodeName> {
        (0..count).map(|index| name(&format!("n{index}"))).collect()
    }

    fn far(name: &NodeName) -> Member<'_> {
        Member {
            name,
            rtt: Duration::from_millis(150),
            answers: true,
            works: false,
        }
    }

    fn near(name: &NodeName) -> Member<'_> {
        Member {
            rtt: Duration::from_millis(1),
            ..far(name)
        }
    }

    #[test]
    fn small_mesh_stays_connected_whole() {
        let mut all = names(ALL_MAX);
        all.push(name("me"));
        let warm = warm_set(&name("me"), all.iter().map(far));
        assert_eq!(warm.len(), ALL_MAX);
        assert!(!warm.contains("me"));
    }

    #[test]
    fn large_mesh_keeps_the_nearest_and_the_same_few_others() {
        let all = names(200);
        let member = |(index, name)| match index % 10 == 0 && index < 10 * NEAREST {
            true => near(name),
            false => far(name),
        };
        let members = || all.iter().enumerate().map(member);
        let warm = warm_set(&name("me"), members());
        assert_eq!(warm.len(), NEAREST + OTHERS);
        for index in 0..NEAREST {
            assert!(warm.contains(&all[index * 10]), "{index}");
        }
        assert_eq!(warm, warm_set(&name("me"), members()));
        assert_ne!(warm, warm_set(&name("other"), members()));
    }

    #[test]
    fn near_workers_stay_connected_beside_those_that_answer_requests() {
        let all = names(200);
        let member = |(index, name)| match index < 2 * NEAREST {
            true => Member {
                answers: false,
                works: true,
                ..near(name)
            },
            false => far(name),
        };
        let warm = warm_set(&name("me"), all.iter().enumerate().map(member));
        assert_eq!(warm.len(), NEAREST + WORKERS + OTHERS);
        let working = all.iter().take(2 * NEAREST).filter(|it| warm.contains(*it));
        let working = working.count();
        assert!((WORKERS..=WORKERS + OTHERS).contains(&working), "{working}");
    }

    #[test]
    fn every_other_is_somebodys_lot_in_a_mesh_of_equals() {
        let all = names(200);
        let sets = all.iter().map(|me| warm_set(me, all.iter().map(far)));
        let mut known: BTreeSet<NodeName> = BTreeSet::new();
        sets.for_each(|warm| known.extend(warm));
        // With four each, e^-4 of them are drawn by nobody.
        assert!(known.len() > 180, "{}", known.len());
    }

    #[test]
    fn rumor_goes_to_all_of_few_and_to_some_of_many() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut few: Vec<usize> = (0..RUMOR_PEERS_MAX).collect();
        spread(&mut few, &mut rng);
        assert_eq!(few.len(), RUMOR_PEERS_MAX);
        let mut many: Vec<usize> = (0..=RUMOR_PEERS_MAX).collect();
        spread(&mut many, &mut rng);
        let drawn: BTreeSet<usize> = many.iter().copied().collect();
        assert_eq!((many.len(), drawn.len()), (RUMOR_FAN_OUT, RUMOR_FAN_OUT));
        assert!(!relays(RUMOR_PEERS_MAX) && relays(RUMOR_PEERS_MAX + 1));
    }

    #[test]
    fn one_peer_cannot_take_the_checks_of_all() {
        let mut checks = RumorChecks::default();
        let takes = |checks: &mut RumorChecks, peer: &str| {
            let peer = name(peer);
            (0..10_000).filter(|_| checks.take(&peer)).count()
        };
        assert_eq!(takes(&mut checks, "loud"), RUMORS_PER_PEER as usize);
        let others = ["a", "b", "c"].map(|peer| takes(&mut checks, peer));
        assert_eq!(others, [RUMORS_PER_PEER as usize; 3]);
        assert_eq!(takes(&mut checks, "late"), 0);
        checks.refill();
        assert!(checks.take(&name("loud")));
    }
}
