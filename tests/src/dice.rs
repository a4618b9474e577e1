//! Chance that can be repeated: a generator with a seed that is printed, and taken from the environment.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::wait::must;

/// The variable that names the seed.
const SEED: &str = "GRAPEVINE_TEST_SEED";

/// `SplitMix64` (Steele, Lea and Flood 2014): the same seed, the same draws.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator with the seed that `GRAPEVINE_TEST_SEED` names, else one of the clock; prints it.
    ///
    /// # Panics
    ///
    /// When the variable is no number.
    #[must_use]
    pub fn of_environment() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::of_environment_or(must("reading the clock", now).as_secs())
    }

    /// The same with a seed of its own where the variable names none.
    ///
    /// # Panics
    ///
    /// When the variable is no number.
    #[must_use]
    pub fn of_environment_or(seed: u64) -> Self {
        let named = std::env::var(SEED).ok();
        let named = named.map(|named| must("reading GRAPEVINE_TEST_SEED", named.parse()));
        let seed = named.unwrap_or(seed);
        eprintln!("{SEED}={seed}");
        Self(seed)
    }

    /// A generator with this seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator, which draws independently of what this one draws from here on.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }

    /// A number from 0 to before `bound`.
    ///
    /// # Panics
    ///
    /// When `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// Brings `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_draws_and_another_others() {
        let draws = |seed| {
            let mut dice = Dice(seed);
            (0..20).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        assert!(draws(7).iter().all(|draw| *draw < 1_000));
    }

    #[test]
    fn shuffled_items_are_the_same_items() {
        let mut items: Vec<usize> = (0..50).collect();
        Dice(1).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
