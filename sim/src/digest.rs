//! A fingerprint of everything that happened, in order: equal for equal runs.

use std::fmt;

/// The fingerprint so far.
///
/// FNV-1a over 64-bit words with a final mix: two lines of code, the same in every build. There
/// is no adversary to resist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Default for Digest {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Digest {
    pub(crate) fn word(&mut self, word: u64) {
        // In a plain product, high bits never reach low ones.
        self.0 = ((self.0 ^ word).wrapping_mul(PRIME)).rotate_left(23);
    }

    pub(crate) fn words(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.word(*word));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", crate::chance::mix(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_every_bit_count() {
        let of = |words: &[u64]| {
            let mut digest = Digest::default();
            digest.words(words);
            digest.to_string()
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[1 << 63]), of(&[0]));
    }
}
