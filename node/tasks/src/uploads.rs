//! How much is being uploaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of unfinished uploads, by account. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<BTreeMap<String, u64>>>);

impl Uploads {
    /// Counts bytes to an account; all that are coming for it then.
    pub(super) fn add(&self, account: &str, bytes: u64) -> u64 {
        let mut coming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = coming.entry(account.to_owned()).or_default();
        *sum = sum.saturating_add(bytes);
        *sum
    }

    /// Takes what was counted back.
    pub(super) fn remove(&self, account: &str, bytes: u64) {
        let mut coming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = coming.get_mut(account) {
            *sum = sum.saturating_sub(bytes);
            if *sum == 0 {
                coming.remove(account);
            }
        }
    }
}
