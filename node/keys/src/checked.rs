//! Tokens whose signatures were verified, kept by each thread for itself.
//!
//! A signature costs tens of microseconds, a look at this table less than one; what changes meanwhile (expiry,
//! revocation, the mesh's issuers) is checked at each request all the same. Only tokens with a good signature get
//! in, so a flood of others evicts none of them; what the flood costs is bounded by an allowance of failures a
//! second, beyond which tokens that the table does not hold are turned away unread.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::hash::KeyHash;
use super::rights::ClientKey;

/// Sets of the table; a token has its place in one of them.
const SETS: usize = 1_024;

/// Tokens in a set; the oldest leaves for a new one. 4,096 tokens a thread, about 300 KiB.
const WAYS: usize = 4;

/// Failed verifications that a thread does in a second: about 3 % of its time.
pub(super) const FAILURES_PER_SECOND: u32 = 500;

#[derive(Clone)]
struct Verified {
    hash: KeyHash,
    /// Of the issuers that it was verified with.
    generation: u64,
    key: Arc<ClientKey>,
}

#[derive(Default)]
struct Table {
    sets: Vec<[Option<Verified>; WAYS]>,
    /// The next place in each set.
    next: Vec<u8>,
    /// Failures in `second`, the current one since the Unix epoch.
    failures: u32,
    second: u64,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// The token of this hash, where it was verified before with issuers of this generation.
pub(super) fn find(hash: &KeyHash, generation: u64) -> Option<Arc<ClientKey>> {
    TABLE.with_borrow(|table| {
        let set = table.sets.get(place(hash))?;
        let mut verified = set.iter().flatten();
        // What the time taken shows of a hash is of no use: a token is not found by its hash.
        let found = verified.find(|it| it.hash == *hash && it.generation == generation);
        found.map(|found| Arc::clone(&found.key))
    })
}

/// Keeps a verified token.
pub(super) fn keep(hash: KeyHash, generation: u64, key: &Arc<ClientKey>) {
    TABLE.with_borrow_mut(|table| {
        if table.sets.is_empty() {
            table.sets = vec![[const { None }; WAYS]; SETS];
            table.next = vec![0; SETS];
        }
        let at = place(&hash);
        let next = &mut table.next[at];
        let way = usize::from(*next) % WAYS;
        *next = next.wrapping_add(1);
        table.sets[at][way] = Some(Verified {
            hash,
            generation,
            key: Arc::clone(key),
        });
    });
}

/// Whether another signature may be verified now.
pub(super) fn may_verify(now: Duration) -> bool {
    TABLE.with_borrow_mut(|table| {
        if table.second != now.as_secs() {
            (table.second, table.failures) = (now.as_secs(), 0);
        }
        table.failures < FAILURES_PER_SECOND
    })
}

/// Counts a token that was none.
pub(super) fn failed() {
    TABLE.with_borrow_mut(|table| table.failures = table.failures.saturating_add(1));
}

fn place(hash: &KeyHash) -> usize {
    hash.beginning() as usize % SETS
}
