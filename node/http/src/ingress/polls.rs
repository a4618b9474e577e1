//! Slots of polls that wait for tasks, apart from those of requests: an idle worker is no load, and must not
//! cause clients to be refused. Rare enough for a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_core::quota::admits_poll;

use grapevine_base::exchange::TaskCaller;

/// Polls that wait, by client. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Polls(Arc<Mutex<BTreeMap<Arc<str>, u32>>>);

/// A poll that waits; ends when dropped.
#[derive(Debug)]
pub(super) struct Poll {
    polls: Polls,
    client: Arc<str>,
}

impl Polls {
    /// Takes a slot for `caller` until the poll is dropped; `None` where none of `slots` is free for it.
    pub(super) fn enter(&self, caller: &TaskCaller, slots: u32) -> Option<Poll> {
        let client = caller.key.clone().or_else(|| caller.network.clone());
        let client = client.unwrap_or_default();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = waiting.values().sum();
        let own = waiting.get(&client).copied().unwrap_or_default();
        if !admits_poll(slots, all, own) {
            return None;
        }
        waiting.insert(Arc::clone(&client), own + 1);
        Some(Poll {
            polls: self.clone(),
            client,
        })
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let mut waiting = self.polls.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = waiting.get_mut(&self.client) else {
            return;
        };
        *own -= 1;
        if *own == 0 {
            waiting.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(key: &str) -> TaskCaller {
        TaskCaller {
            key: Some(key.into()),
            ..TaskCaller::default()
        }
    }

    #[test]
    fn slots_are_released_when_polls_end() {
        let polls = Polls::default();
        let first = polls.enter(&caller("a"), 2);
        assert!(first.is_some() && polls.enter(&caller("a"), 2).is_none());
        let other = polls.enter(&caller("b"), 2);
        assert!(other.is_some() && polls.enter(&caller("c"), 2).is_none());
        drop((first, other));
        assert!(polls.enter(&caller("a"), 2).is_some());
        assert!(polls.0.lock().expect("no panic").is_empty());
    }
}
