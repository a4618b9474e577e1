//! The cache of prompts: prefixes by the digest of all blocks up to their end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest::{Context, SHA256};

/// The most prefixes kept; beyond, the oldest goes.
const PREFIXES_MAX: usize = 4_096;

/// How long a prefix is kept after its last use, as Anthropic's default has it.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

type Digest = [u8; 32];

/// A conversation as blocks, each with the digest of everything up to its end.
pub(super) struct Prefixes {
    context: Context,
    bytes: u64,
    blocks: Vec<(Digest, u64)>,
}

impl Prefixes {
    /// Prefixes of different models never match.
    pub(super) fn of(model: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(model.as_bytes());
        Self {
            context,
            bytes: 0,
            blocks: Vec::new(),
        }
    }

    /// Adds a block, and returns how many there are.
    pub(super) fn push(&mut self, block: &str) -> usize {
        self.context.update(&[0]);
        self.context.update(block.as_bytes());
        self.bytes += block.len() as u64;
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.clone().finish().as_ref());
        self.blocks.push((digest, self.bytes / 4));
        self.blocks.len()
    }
}

/// Prefixes that were seen.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    until: BTreeMap<Digest, SystemTime>,
    order: VecDeque<Digest>,
}

/// What a prompt found in the cache and left there, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CacheUse {
    pub(super) read: u64,
    pub(super) written: u64,
}

impl PrefixCache {
    /// Looks the longest known prefix up, and keeps those that end after each of `marks` blocks.
    pub(super) fn pass(&self, prefixes: &Prefixes, marks: &[usize], now: SystemTime) -> CacheUse {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = marks.iter().max().copied().unwrap_or(0);
        let known =
            |(digest, _): &&(Digest, u64)| seen.until.get(digest).is_some_and(|until| *until > now);
        let read = prefixes.blocks.iter().take(last).rev().find(known);
        let read = read.map_or(0, |(_, tokens)| *tokens);
        let mut whole = 0;
        for mark in marks {
            let Some((digest, tokens)) = mark.checked_sub(1).and_then(|at| prefixes.blocks.get(at))
            else {
                continue;
            };
            whole = whole.max(*tokens);
            if seen.until.insert(*digest, now + LIFETIME).is_none() {
                seen.order.push_back(*digest);
            }
            if seen.order.len() > PREFIXES_MAX
                && let Some(oldest) = seen.order.pop_front()
            {
                seen.until.remove(&oldest);
            }
        }
        CacheUse {
            read,
            written: whole.saturating_sub(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(blocks: &[&str]) -> Prefixes {
        let mut prefixes = Prefixes::of("m");
        for block in blocks {
            prefixes.push(block);
        }
        prefixes
    }

    #[test]
    fn a_marked_prefix_is_written_once_and_then_read_by_longer_prompts() {
        let cache = PrefixCache::default();
        let now = SystemTime::UNIX_EPOCH;
        let first = cache.pass(&prefixes(&["aaaaaaaa", "bbbb"]), &[1], now);
        assert_eq!(
            first,
            CacheUse {
                read: 0,
                written: 2
            }
        );
        let longer = cache.pass(&prefixes(&["aaaaaaaa", "bbbb", "cccc"]), &[3], now);
        assert_eq!(
            longer,
            CacheUse {
                read: 2,
                written: 2
            }
        );
        let other = cache.pass(&prefixes(&["aaaaaaab", "bbbb"]), &[2], now);
        assert_eq!(other.read, 0);
    }

    #[test]
    fn a_prefix_is_forgotten_after_five_minutes() {
        let cache = PrefixCache::default();
        let now = SystemTime::UNIX_EPOCH;
        cache.pass(&prefixes(&["aaaaaaaa"]), &[1], now);
        assert_eq!(
            cache
                .pass(&prefixes(&["aaaaaaaa"]), &[1], now + LIFETIME)
                .read,
            0
        );
    }
}
