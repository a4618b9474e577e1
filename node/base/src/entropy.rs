//! The process's randomness: one place that seeds core's generators from the operating system.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use ring::rand::{SecureRandom, SystemRandom};

/// A generator of its own for each thread that needs one.
///
/// # Panics
/// When the operating system has no randomness, without which no TLS is possible either.
pub fn generator() -> ChaCha8Rng {
    ChaCha8Rng::from_seed(bytes())
}

/// Random bytes.
///
/// # Panics
/// When the operating system has no randomness.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system has randomness");
    bytes
}
