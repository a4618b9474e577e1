//! Which of two connections to one peer is used: the rules at the head of [`super::links`].

use grapevine_core::ids::Generation;

/// What decides between two connections to the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkPreference {
    /// The peer's incarnation.
    pub(super) generation: Generation,
    /// Whether it is not silent.
    pub(super) speaks: bool,
    /// Whether this node dialled it.
    pub(super) dialled_here: bool,
    /// Grows with each connection of this process.
    pub(super) serial: u64,
}

impl LinkPreference {
    /// A key: the connection with the greatest is used. `smaller_here` is whether this node's name is smaller.
    pub(super) fn key(self, smaller_here: bool) -> impl Ord {
        let age = if self.dialled_here {
            u64::MAX - self.serial
        } else {
            self.serial
        };
        let by_smaller = self.dialled_here == smaller_here;
        (self.generation, self.speaks, by_smaller, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preference(generation: u64, dialled_here: bool, serial: u64) -> LinkPreference {
        LinkPreference {
            generation: Generation(generation),
            speaks: true,
            dialled_here,
            serial,
        }
    }

    fn wins(winner: LinkPreference, loser: LinkPreference, smaller_here: bool) -> bool {
        winner.key(smaller_here) > loser.key(smaller_here)
    }

    #[test]
    fn both_ends_choose_the_connection_dialled_by_the_smaller_name() {
        let (mine, theirs) = (preference(1, true, 1), preference(1, false, 2));
        assert!(wins(mine, theirs, true));
        // The same two connections as the other end sees them.
        let (mine, theirs) = (preference(1, true, 2), preference(1, false, 1));
        assert!(wins(theirs, mine, false));
    }

    #[test]
    fn later_incarnation_wins_whoever_dialled() {
        for smaller_here in [false, true] {
            for dialled_here in [false, true] {
                let newer = preference(2, dialled_here, 1);
                assert!(wins(newer, preference(1, !dialled_here, 2), smaller_here));
            }
        }
    }

    #[test]
    fn silent_connection_loses_to_one_that_speaks() {
        let silent = LinkPreference {
            speaks: false,
            ..preference(1, true, 1)
        };
        assert!(wins(preference(1, false, 2), silent, true));
    }

    #[test]
    fn dialler_keeps_its_oldest_and_the_other_end_takes_the_newest() {
        assert!(wins(preference(1, true, 1), preference(1, true, 2), true));
        assert!(wins(preference(1, false, 2), preference(1, false, 1), true));
    }
}
