//! Seeded randomness: a generator for each kind of chance, so that a change in one leaves the others.
//!
//! What belongs to one request (how slow its upstream happens to be) is not drawn but hashed from the
//! seed and the request's number: then every policy meets the same conditions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The generators of one run.
#[derive(Debug)]
pub(crate) struct Chance {
    pub(crate) seed: u64,
    pub(crate) workload: ChaCha8Rng,
    pub(crate) routing: ChaCha8Rng,
    pub(crate) membership: ChaCha8Rng,
    pub(crate) faults: ChaCha8Rng,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            workload: stream(seed, 1),
            routing: stream(seed, 2),
            membership: stream(seed, 3),
            faults: stream(seed, 4),
        }
    }
}

/// The generator of the network.
pub(crate) fn network(seed: u64) -> ChaCha8Rng {
    stream(seed, 5)
}

fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// A number in `0.0..1.0`.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    to_unit(rng.next_u64())
}

/// An index below `bound`; zero when the bound is zero.
pub(crate) fn below(rng: &mut impl Rng, bound: usize) -> usize {
    (unit(rng) * bound as f64) as usize
}

/// A span with this mean until the next of events that arrive independently.
pub(crate) fn exponential(rng: &mut impl Rng, mean: f64) -> f64 {
    -mean * (1.0 - unit(rng)).ln()
}

/// Mixes 64 bits so that each input bit changes half of the output's (SplitMix64's finaliser).
pub(crate) const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One number of several.
pub(crate) fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, part| {
        mix(hash ^ part.wrapping_add(0x9e37_79b9_7f4a_7c15))
    })
}

/// A hash as a number in `0.0..1.0`.
pub(crate) fn to_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A hash as a draw from the standard normal distribution (Box and Muller, 1958).
pub(crate) fn to_normal(bits: u64) -> f64 {
    let radius = (-2.0 * (1.0 - to_unit(bits)).ln()).sqrt();
    let angle = std::f64::consts::TAU * to_unit(mix(bits ^ 0x5851_f42d_4c95_7f2d));
    radius * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let first = |seed, number| stream(seed, number).next_u64();
        assert_eq!(first(7, 1), first(7, 1));
        assert_ne!(first(7, 1), first(7, 2));
        assert_ne!(first(7, 1), first(8, 1));
    }

    #[test]
    fn hashed_normal_has_its_mean_and_spread() {
        let draws: Vec<f64> = (0..20_000).map(|index| to_normal(hash(&[index]))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let square = draws.iter().map(|draw| draw * draw).sum::<f64>() / draws.len() as f64;
        assert!(
            mean.abs() < 0.03 && (square - 1.0).abs() < 0.05,
            "{mean} {square}"
        );
    }
}
