//! How many of the process's file descriptors each part of a node may hold.
//!
//! A client's connection is the one thing that strangers can make a node hold, so theirs are bounded by
//! what is left when everything else has its share: the operator's port, DNS, the mesh, files, threads,
//! and the connections to upstreams that the clients' requests need in turn.

/// Descriptors that a node holds whatever it does: standard streams, listeners, the mesh's socket, the
/// task store, the log, timers, and some to spare for files that are read now and then.
const BASE: u64 = 64;

/// What each request thread holds: its listener and what its runtime waits with.
const PER_WORKER: u64 = 5;

/// The operator's connections.
const ADMIN: u64 = 64;

/// Clients that are refused with an answer, and connections that are being closed while others come.
const TURNOVER: u64 = 96;

/// Connections to upstreams need no more than this where clients are few thousands.
const UPSTREAMS: u64 = 1_024;

/// What a node's parts may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients.
    pub public: usize,
    /// Connections of the operator.
    pub admin: usize,
    /// DNS conversations over TCP.
    pub dns: usize,
}

/// What a node is meant to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Connections of clients: `limits.connections`.
    pub public: usize,
    /// DNS conversations over TCP; 0 without DNS.
    pub dns: usize,
    /// Threads that serve clients.
    pub workers: usize,
}

impl Wanted {
    /// Descriptors that are not for clients.
    fn reserve(&self) -> u64 {
        BASE + ADMIN + TURNOVER + PER_WORKER * self.workers as u64 + self.dns as u64
    }

    /// How many descriptors all of it takes.
    pub fn descriptors(&self) -> u64 {
        let public = self.public as u64;
        let with_upstreams = (public * 3).div_ceil(2).min(public + UPSTREAMS);
        self.reserve() + with_upstreams.max((public * 8).div_ceil(7))
    }

    /// What each part may hold of `limit` descriptors. At least an eighth of what clients could take is
    /// left for upstreams; where there is less than is needed, everything shrinks and nothing vanishes.
    pub fn shares(&self, limit: u64) -> Shares {
        let reserve = self.reserve().min(limit / 2);
        let rest = limit - reserve;
        let upstreams = (rest / 8).max((rest / 3).min(UPSTREAMS));
        // Each gets the share of its wanted number that the reserve gets of its own.
        let part = |wanted: u64| {
            let share = u128::from(wanted) * u128::from(reserve) / u128::from(self.reserve());
            usize::try_from(share).unwrap_or(usize::MAX)
        };
        let public = usize::try_from(rest - upstreams).unwrap_or(usize::MAX);
        Shares {
            public: self.public.min(public).max(1),
            admin: part(ADMIN).max(1),
            dns: part(self.dns as u64).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(public: usize) -> Wanted {
        Wanted {
            public,
            dns: 0,
            workers: 2,
        }
    }

    #[test]
    fn wanted_connections_are_granted_exactly_where_there_are_descriptors() {
        for public in [1, 10, 1_000, 2_500, 5_000, 16_384, 100_000] {
            let wanted = wanted(public);
            let needed = wanted.descriptors();
            if needed > 2 * wanted.reserve() {
                assert_eq!(wanted.shares(needed).public, public, "{public}");
                assert!(wanted.shares(needed - 2).public < public, "{public}");
            }
        }
    }

    #[test]
    fn few_descriptors_leave_room_for_operators_and_upstreams() {
        let shares = wanted(16_384).shares(256);
        assert_eq!((shares.public, shares.admin), (86, 35));
    }

    #[test]
    fn no_number_of_descriptors_leaves_a_part_without_any() {
        for limit in 0..2_000 {
            let shares = wanted(16_384).shares(limit);
            assert!(shares.public > 0 && shares.admin > 0 && shares.dns > 0);
            let total = (shares.public + shares.admin) as u64;
            assert!(limit < 16 || total < limit, "{limit}: {shares:?}");
        }
    }
}
