//! Responses that are kept.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::exchange::{items, text};

/// The most responses kept, and their most bytes together; beyond, the oldest go.
const KEPT_MAX: usize = 8_192;
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Responses that clients may refer to.
#[derive(Debug, Default)]
pub(super) struct Kept {
    kept: Mutex<VecDeque<KeptResponse>>,
}

#[derive(Debug, Clone)]
pub(super) struct KeptResponse {
    response: Value,
    /// The conversation up to the end of the response.
    pub(super) items: Vec<Value>,
    bytes: usize,
}

impl Kept {
    pub(super) fn keep(&self, response: Value, items: Vec<Value>) {
        let size = |value: &Value| value.to_string().len();
        let bytes = size(&response) + items.iter().map(size).sum::<usize>();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(KeptResponse {
            response,
            items,
            bytes,
        });
        let mut total: usize = kept.iter().map(|one| one.bytes).sum();
        while kept.len() > KEPT_MAX || total > KEPT_BYTES_MAX {
            total -= kept.pop_front().map_or(total, |one| one.bytes);
        }
    }

    /// The response called `id`.
    pub(super) fn response(&self, id: &str) -> Option<Value> {
        self.find(id).map(|kept| kept.response)
    }

    /// Forgets the response called `id`, and says whether there was one.
    pub(super) fn delete(&self, id: &str) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.len();
        kept.retain(|one| text(&one.response, "id") != id);
        kept.len() < before
    }

    pub(super) fn find(&self, id: &str) -> Option<KeptResponse> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .find(|one| text(&one.response, "id") == id)
            .cloned()
    }

    pub(super) fn has_item(&self, id: &str) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|one| {
            items(&one.response["output"])
                .iter()
                .any(|item| text(item, "id") == id)
        })
    }
}
