//! Random draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A number below `end`, which is not 0 (Lemire's method; its bias is below 2^-32 here).
pub(crate) fn below(end: usize, rng: &mut ChaCha8Rng) -> usize {
    ((u128::from(rng.next_u64()) * end as u128) >> 64) as usize
}

/// A number from 0 to below 1.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// At most `count` different ones of `from`.
pub(crate) fn some(from: &[u32], count: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut left = from.to_vec();
    for index in 0..count.min(left.len()) {
        let other = index + below(left.len() - index, rng);
        left.swap(index, other);
    }
    left.truncate(count);
    left
}

/// `count` different indices of true elements, of which there must be many more.
pub(crate) fn some_of_many(is_there: &[bool], count: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let index = below(is_there.len(), rng);
        if is_there[index] && !drawn.contains(&(index as u32)) {
            drawn.push(index as u32);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn each_is_drawn_about_as_often_and_never_twice_at_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let from: Vec<u32> = (0..10).collect();
        let mut times = [0; 10];
        for _ in 0..10_000 {
            let drawn = some(&from, 3, &mut rng);
            assert_eq!(drawn.len(), 3);
            assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
            for one in drawn {
                times[one as usize] += 1;
            }
        }
        assert!(
            times.iter().all(|times| (2_700..3_300).contains(times)),
            "{times:?}"
        );
    }

    #[test]
    fn fewer_are_drawn_where_there_are_fewer() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!(some(&[], 3, &mut rng).is_empty());
        assert_eq!(some(&[7], 3, &mut rng), [7]);
    }
}
