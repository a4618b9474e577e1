//! Draws from the generator that the caller hands in.

use rand_core::Rng;

/// A number in `0.0..1.0`, of 53 random bits.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    to_unit(rng.next_u64())
}

/// A number in `0.0..1.0`, of the upper 53 of random `bits`.
pub(crate) const fn to_unit(bits: u64) -> f64 {
    const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
    (bits >> 11) as f64 * SCALE
}

/// An index below `bound`; zero when the bound is zero.
///
/// By multiplication and shift (Lemire, 2016); the bias is below 2^-32 for the short lists drawn from.
pub(crate) fn below(rng: &mut impl Rng, bound: usize) -> usize {
    ((u64::from(rng.next_u32()) * bound as u64) >> 32) as usize
}

/// A factor in `1 - spread .. 1 + spread`.
pub(crate) fn jitter(rng: &mut impl Rng, spread: f64) -> f64 {
    1.0 + spread * (2.0 * unit(rng) - 1.0)
}

/// Mixes 64 bits so that each input bit changes half of the output's (SplitMix64's finaliser).
pub(crate) const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A 64-bit hash of `bytes` that is the same on every node and in every build (FNV-1a).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// As [`hash`], for long texts: eight bytes at a time, after what was hashed before. The same on every node and in
/// every build; nobody's choice of text is defended against.
pub(crate) fn hash_long(before: u64, bytes: &[u8]) -> u64 {
    // The odd constant of the golden ratio (Knuth); the rotation brings the upper bits into the next product.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(before, |hash, word| step(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(step(
        step(hash, u64::from_le_bytes(last)),
        bytes.len() as u64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    #[test]
    fn draws_stay_in_their_ranges() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&unit(&mut rng)));
            assert!(below(&mut rng, 3) < 3);
            assert!((0.9..=1.1).contains(&jitter(&mut rng, 0.1)));
        }
        assert_eq!(below(&mut rng, 0), 0);
    }
}
