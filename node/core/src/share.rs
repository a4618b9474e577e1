//! Shares of a whole that has a limit and that several holders want: bytes of memory, slots.
//!
//! Dynamic thresholds (Choudhury and Hahne, 1998, for the shared memory of switches): a holder may have as
//! much as is left free. One alone gets half of the whole, n that all want more get an (n+1)th each, and as
//! much is always left for one that has nothing yet. A fixed share would be too small at a node with one
//! client and too large at one with a thousand, and an equal one would need a count of who wants some.

/// What is held of a whole just now, the new piece not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// What there is.
    pub limit: u64,
    /// What all holders have of it.
    pub all: u64,
    /// What the one has that asks for more.
    pub own: u64,
}

/// Why there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareExceeded {
    /// So little is left that even one that holds nothing could not have it.
    Whole,
    /// The holder has its share.
    Share,
}

impl Holdings {
    /// Whether the holder may have `more`.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(self, more: u64) -> Result<(), ShareExceeded> {
        let left = self.limit.saturating_sub(self.all).saturating_sub(more);
        if more > left {
            Err(ShareExceeded::Whole)
        } else if self.own.saturating_add(more) > left {
            Err(ShareExceeded::Share)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of `holders` has when all take one at a time for as long as they may.
    fn saturated(limit: u64, holders: usize) -> Vec<u64> {
        let mut own = vec![0; holders];
        loop {
            let before = own.clone();
            for index in 0..holders {
                let held = Holdings {
                    limit,
                    all: own.iter().sum(),
                    own: own[index],
                };
                own[index] += u64::from(held.admit(1).is_ok());
            }
            if own == before {
                return own;
            }
        }
    }

    #[test]
    fn one_alone_gets_half() {
        assert_eq!(saturated(100, 1), [50]);
    }

    #[test]
    fn several_get_equal_shares_and_leave_one_free() {
        let shares = saturated(1_000, 4);
        assert!(
            shares.iter().all(|share| (199..=200).contains(share)),
            "{shares:?}"
        );
        let crowd = saturated(32_768, 1_000);
        assert!(crowd.iter().all(|share| (31..=33).contains(share)));
    }

    #[test]
    fn newcomer_gets_some_beside_one_that_took_all_it_could() {
        let held = Holdings {
            limit: 100,
            all: 50,
            own: 0,
        };
        assert_eq!(held.admit(25), Ok(()));
        assert_eq!(
            Holdings { own: 50, ..held }.admit(1),
            Err(ShareExceeded::Share)
        );
    }

    #[test]
    fn what_nobody_could_have_is_refused_by_the_whole() {
        let held = Holdings {
            limit: 100,
            all: 60,
            own: 0,
        };
        assert_eq!(held.admit(21), Err(ShareExceeded::Whole));
        assert_eq!(held.admit(20), Ok(()));
        let overdrawn = Holdings {
            all: u64::MAX,
            ..held
        };
        assert_eq!(overdrawn.admit(1), Err(ShareExceeded::Whole));
        assert_eq!(held.admit(u64::MAX), Err(ShareExceeded::Whole));
    }
}
