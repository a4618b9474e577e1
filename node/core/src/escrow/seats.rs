//! Who holds rights: the nodes of the configured list, each in its seat, and each one's share of a limit.
//!
//! A right must come from one place. Members of a mesh are no such place: two sides of a partition see two meshes, and
//! each would mint the whole limit. So the nodes that hold rights are a list in the configuration, the same at all of
//! them, and what a node mints follows from the list and the limit alone: no view, no election, no message.

use crate::ids::NodeName;
use crate::random;

use super::spec::LimitId;

/// Nodes that hold rights, at most.
pub const SEATS_MAX: usize = 128;

/// Homes of a limit are at least this many, where the mesh has them: losing one leaves two thirds of a small limit.
const HOMES_MIN: u64 = 3;

/// Beyond [`HOMES_MIN`], a home has at least so many units. Splitting a small limit further would only make requests
/// wait for transfers (Guerin, arXiv 1909.08969).
const SHARE_MIN: u64 = 20;

/// A node's place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub u16);

/// Why a list of nodes cannot hold rights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeatsError {
    /// This node is none of them.
    #[error("this node, {0}, is not in the list of nodes that hold rights: add it at every node")]
    NotListed(NodeName),
    /// One is listed twice.
    #[error("{0} is listed twice")]
    Twice(NodeName),
    /// There are too many.
    #[error("{0} nodes are listed, of at most {SEATS_MAX}")]
    TooMany(usize),
}

/// The list.
#[derive(Clone, Debug)]
pub struct Seats {
    names: Vec<NodeName>,
    hashes: Vec<u64>,
    own: Seat,
    digest: u64,
}

impl Seats {
    /// The list `names`, in which this node is `own`. Its order does not matter.
    ///
    /// # Errors
    /// Where it has too many nodes, one twice, or not this one.
    pub fn new(mut names: Vec<NodeName>, own: &NodeName) -> Result<Self, SeatsError> {
        if names.len() > SEATS_MAX {
            return Err(SeatsError::TooMany(names.len()));
        }
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(SeatsError::Twice(pair[0].clone()));
        }
        let at = names.iter().position(|name| name == own);
        let at = at.ok_or_else(|| SeatsError::NotListed(own.clone()))?;
        let hash = |name: &NodeName| random::mix(random::hash(name.as_str().as_bytes()));
        let hashes: Vec<u64> = names.iter().map(hash).collect();
        let digest = hashes
            .iter()
            .fold(0, |all: u64, hash| random::mix(all ^ hash));
        Ok(Self {
            names,
            hashes,
            own: seat(at),
            digest,
        })
    }

    /// This node's.
    pub const fn own(&self) -> Seat {
        self.own
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: this node is one of them.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The same at all nodes with the same list. Nodes with different lists do not lend to one another.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Who sits there.
    pub fn name(&self, seat: Seat) -> Option<&NodeName> {
        self.names.get(usize::from(seat.0))
    }

    /// Where a node sits.
    pub fn seat_of(&self, name: &NodeName) -> Option<Seat> {
        self.names.binary_search(name).ok().map(seat)
    }

    /// All but this node's.
    pub fn others(&self) -> impl Iterator<Item = Seat> {
        let own = self.own;
        (0..self.names.len())
            .map(seat)
            .filter(move |seat| *seat != own)
    }

    /// The nodes that hold the rights of a limit, each with its share. The shares add up to `amount`.
    ///
    /// By rendezvous hash (Thaler and Ravishankar, 1998) over the list. With `n` nodes there are
    /// `amount / SHARE_MIN` homes, at least three and at most `n`.
    pub fn homes(&self, limit: LimitId, amount: u64) -> Vec<(Seat, u64)> {
        let most = self.names.len() as u64;
        let homes = (amount / SHARE_MIN)
            .max(HOMES_MIN)
            .min(most)
            .min(amount.max(1));
        let score = |at: usize| random::mix(self.hashes[at] ^ limit.low());
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by_key(|at| (score(*at), *at));
        order.truncate(usize::try_from(homes).unwrap_or(usize::MAX));
        let (base, rest) = (amount / homes, amount % homes);
        let share = |(index, at): (u64, usize)| (seat(at), base + u64::from(index < rest));
        (0..).zip(order).map(share).collect()
    }
}

fn seat(at: usize) -> Seat {
    // SEATS_MAX fits.
    Seat(u16::try_from(at).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: usize) -> NodeName {
        NodeName::new(&format!("node-{index:03}")).expect("a name")
    }

    fn seats(count: usize, own: usize) -> Seats {
        let names = (0..count).rev().map(name).collect();
        Seats::new(names, &name(own)).expect("a list")
    }

    #[test]
    fn shares_add_up_to_the_limit_at_every_node() {
        for count in [1, 2, 3, 5, 30, 128] {
            for amount in [0, 1, 2, 7, 59, 100, 12_345, u64::MAX] {
                let limit = LimitId::of(&["app", &amount.to_string()]);
                let homes = seats(count, 0).homes(limit, amount);
                let sum: u128 = homes.iter().map(|(_, share)| u128::from(*share)).sum();
                assert_eq!(sum, u128::from(amount), "{count} {amount}");
                assert_eq!(homes, seats(count, count - 1).homes(limit, amount));
            }
        }
    }

    #[test]
    fn small_limit_has_few_homes_and_a_large_one_all() {
        let homes = |amount| {
            seats(30, 0)
                .homes(LimitId::of(&["app"]), amount)
                .into_iter()
                .map(|(_, share)| share)
        };
        assert_eq!(homes(10).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(homes(100).collect::<Vec<_>>(), [20; 5]);
        assert_eq!(homes(600).collect::<Vec<_>>(), [20; 30]);
        assert_eq!(homes(2).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn list_without_this_node_or_with_one_twice_is_refused() {
        let error = Seats::new(vec![name(1)], &name(2)).expect_err("not listed");
        assert_eq!(error, SeatsError::NotListed(name(2)));
        let error = Seats::new(vec![name(1), name(1)], &name(1)).expect_err("twice");
        assert_eq!(error, SeatsError::Twice(name(1)));
        let many = (0..=SEATS_MAX).map(name).collect();
        assert!(matches!(
            Seats::new(many, &name(1)),
            Err(SeatsError::TooMany(_))
        ));
    }

    #[test]
    fn other_list_has_another_digest() {
        assert_eq!(seats(3, 0).digest(), seats(3, 2).digest());
        assert_ne!(seats(3, 0).digest(), seats(4, 0).digest());
    }
}
