//! The last requests, for the operator, and counts of how attempts ended.
//!
//! One task takes the batches of all request threads; whoever wants to count more hangs onto it with
//! a closure, and costs the request path nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_core::ids::{NodeName, UpstreamName};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::milliseconds;
use super::record::{AttemptRecord, Batch, RequestRecord};

/// Requests that are kept.
pub const REQUESTS_MAX: usize = 1_000;

/// Which attempts a count is of: the upstream's owner, the upstream, and the outcome's word.
pub type AttemptKey = (NodeName, UpstreamName, &'static str);

/// Counts of attempts that are kept apart; further ones are not counted.
const COUNTS_MAX: usize = 10_000;

/// The last requests, the newest last. Cheap to clone; locked by the collector and the operator only.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    requests: VecDeque<RequestRecord>,
    attempts: BTreeMap<AttemptKey, u64>,
}

impl History {
    /// Keeps what comes in until every [`super::record::Recorder`] is gone; `observe` sees each record
    /// once, in the order of arrival.
    pub async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        mut observe: impl FnMut(&RequestRecord) + Send,
    ) {
        while let Some(batch) = batches.recv().await {
            batch.iter().for_each(&mut observe);
            self.keep(batch);
        }
    }

    /// Keeps `batch`.
    pub fn keep(&self, batch: Batch) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for record in batch {
            for attempt in &record.attempts {
                book.count(attempt);
            }
            if book.requests.len() == REQUESTS_MAX {
                book.requests.pop_front();
            }
            book.requests.push_back(record);
        }
    }

    /// The last `count` requests, the newest first.
    pub fn last(&self, count: usize) -> Vec<RequestRecord> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.requests.iter().rev().take(count).cloned().collect()
    }

    /// How many attempts ended how, since the start.
    pub fn attempts(&self) -> BTreeMap<AttemptKey, u64> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.attempts.clone()
    }
}

impl Book {
    fn count(&mut self, attempt: &AttemptRecord) {
        let key = (
            attempt.node.clone(),
            attempt.upstream.clone(),
            attempt.outcome,
        );
        if self.attempts.len() < COUNTS_MAX || self.attempts.contains_key(&key) {
            *self.attempts.entry(key).or_default() += 1;
        }
    }
}

impl RequestRecord {
    /// The record for the operator's list of requests.
    pub fn to_json(&self) -> Value {
        let served = self.served.as_ref();
        let attempts: Vec<Value> = self.attempts.iter().map(AttemptRecord::to_json).collect();
        json!({
            "id": &*self.id,
            "time": self.time.as_secs_f64(),
            "method": self.method.as_str(),
            "path": self.path.path(),
            "model": self.model.as_ref().map(|model| model.as_str()),
            "stream": self.stream,
            "status": self.status,
            "node": served.map(|served| served.node.as_str()),
            "region": served.map(|served| served.region.as_str()),
            "upstream": served.map(|served| served.upstream.as_str()),
            "attempts": attempts,
            "overhead_ms": milliseconds(self.overhead),
            "first_byte_ms": milliseconds(self.first_byte),
            "total_ms": milliseconds(self.total),
            "tokens_in": self.tokens.input,
            "tokens_out": self.tokens.output,
            "key": self.key.as_deref(),
            "residency": self.residency.as_deref(),
            "error": self.error,
            "kind": self.kind.as_str(),
            "forwarded_as": self.forwarded_as.as_deref(),
            "trace": self.trace.map(|trace| trace.id.to_string()),
        })
    }
}

impl AttemptRecord {
    fn to_json(&self) -> Value {
        json!({
            "node": self.node.as_str(),
            "upstream": self.upstream.as_str(),
            "outcome": self.outcome,
            "status": self.status,
            "began_ms": milliseconds(self.began),
            "ms": milliseconds(self.took),
            "reason": self.reason,
            "detail": self.detail,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observe::record::{RequestKind, Tokens};
    use http::Method;
    use http::uri::PathAndQuery;
    use std::time::Duration;

    pub(in crate::observe) fn record(id: usize) -> RequestRecord {
        RequestRecord {
            id: id.to_string().into(),
            time: Duration::from_secs(1),
            method: Method::POST,
            path: PathAndQuery::from_static("/v1/embeddings?key=secret"),
            model: None,
            stream: false,
            status: 200,
            served: None,
            attempts: vec![AttemptRecord {
                node: NodeName::new("sgp").expect("a valid name"),
                upstream: UpstreamName::new("primary").expect("a valid name"),
                outcome: "answered",
                status: Some(200),
                began: Duration::ZERO,
                took: Duration::from_micros(1_500),
                reason: "only",
                detail: None,
            }],
            overhead: Duration::ZERO,
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            tokens: Tokens::default(),
            key: None,
            residency: None,
            error: None,
            kind: RequestKind::Client,
            trace: None,
            forwarded_as: None,
        }
    }

    #[test]
    fn oldest_request_makes_room_and_every_attempt_is_counted() {
        let history = History::default();
        history.keep((0..REQUESTS_MAX + 5).map(record).collect());
        let last = history.last(usize::MAX);
        assert_eq!(last.len(), REQUESTS_MAX);
        assert_eq!((&*last[0].id, &*last[REQUESTS_MAX - 1].id), ("1004", "5"));
        let counts: Vec<u64> = history.attempts().into_values().collect();
        assert_eq!(counts, [REQUESTS_MAX as u64 + 5]);
    }

    #[test]
    fn query_of_a_request_is_not_shown() {
        let shown = record(1).to_json().to_string();
        assert!(
            shown.contains("/v1/embeddings") && !shown.contains("secret"),
            "{shown}"
        );
        assert!(shown.contains("\"ms\":1.5"), "{shown}");
    }
}
