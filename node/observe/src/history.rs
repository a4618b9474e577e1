//! The last requests, for the operator, and counts of how attempts ended.
//!
//! One task receives the batches of all request threads; further counts attach to it with a closure, and cost
//! the request path nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_core::ids::{NodeName, UpstreamName};
use grapevine_core::price::NanoUsd;
use grapevine_core::request::FallbackStep;
use grapevine_core::residency::ClientOrigin;
use grapevine_core::route::{Choice, Cost};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::excerpt::Excerpt;
use super::milliseconds;
use super::record::{AttemptRecord, Batch, ClientRecord, RequestRecord};

/// Requests that are kept.
pub const REQUESTS_MAX: usize = 1_000;

/// Which attempts a count is of: the upstream's owner, the upstream, and the outcome's word.
pub type AttemptKey = (NodeName, UpstreamName, &'static str);

/// The most distinct counts of attempts; further ones are not counted.
const COUNTS_MAX: usize = 10_000;

/// The last requests, the newest last. Cheap to clone; locked by the collector and the operator only.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    requests: VecDeque<Box<RequestRecord>>,
    /// All requests so far, including evicted ones.
    total: u64,
    attempts: BTreeMap<AttemptKey, u64>,
}

impl History {
    /// Keeps what arrives until every [`super::record::Recorder`] is dropped; `observe` is called with each record
    /// once, in the order of arrival.
    pub async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        mut observe: impl FnMut(&RequestRecord) + Send,
    ) {
        while let Some(batch) = batches.recv().await {
            batch.iter().for_each(|record| observe(record));
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
            book.total += 1;
        }
    }

    /// The last `count` requests, the newest first.
    pub fn last(&self, count: usize) -> Vec<RequestRecord> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = book.requests.iter().rev().take(count);
        newest.map(|record| RequestRecord::clone(record)).collect()
    }

    /// Requests after the first `seen`, at most `count`, the newest first; and the number of all so far, to pass
    /// the next time.
    pub fn since(&self, seen: u64, count: usize) -> (Vec<RequestRecord>, u64) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unseen = usize::try_from(book.total.saturating_sub(seen)).unwrap_or(usize::MAX);
        let newest = book.requests.iter().rev().take(unseen.min(count));
        let newest = newest.map(|record| RequestRecord::clone(record));
        (newest.collect(), book.total)
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
        if let Some(count) = self.attempts.get_mut(&key) {
            *count += 1;
        } else if self.attempts.len() < COUNTS_MAX {
            self.attempts.insert(key, 1);
        }
    }
}

impl RequestRecord {
    /// The record for the operator's list of requests.
    pub fn to_json(&self) -> Value {
        let served = self.served.as_ref();
        let attempts: Vec<Value> = self.attempts.iter().map(AttemptRecord::to_json).collect();
        let untried: Vec<Value> = self.untried.iter().map(choice_to_json).collect();
        json!({
            "id": &*self.id,
            "time": self.time.as_secs_f64(),
            "method": self.method.as_str(),
            "path": self.path.as_str(),
            "model": self.model.as_ref().map(|model| model.as_str()),
            "fallbacks": self.fallbacks.iter().map(fallback_to_json).collect::<Vec<_>>(),
            "dialect": self.dialect.as_ref().map(Excerpt::as_str),
            "stream": self.stream,
            "status": self.status,
            "end": self.end().as_str(),
            "failed": self.end().is_failed(),
            "node": served.map(|served| served.node.as_str()),
            "region": served.map(|served| served.region.as_str()),
            "upstream": served.map(|served| served.upstream.as_str()),
            "account": served.and_then(|served| served.account.as_ref()).map(|name| name.as_str()),
            "client": self.client.to_json(),
            "attempts": attempts,
            "untried": untried,
            "overhead_ms": milliseconds(self.overhead),
            "first_byte_ms": milliseconds(self.first_byte),
            "total_ms": milliseconds(self.total),
            "tokens_in": self.tokens.input,
            "tokens_cached": self.tokens.cached,
            "tokens_out": self.tokens.output,
            "cost_usd": self.cost.map(NanoUsd::as_dollars),
            "key": self.key.as_deref(),
            "key_id": self.key_id.as_ref().map(|id| id.as_str()),
            "residency": self.residency.as_deref(),
            "hedge": self.hedge.as_ref().map(|hedge| hedge.result.as_str()),
            "error": self.error,
            "kind": self.kind.as_str(),
            "forwarded_as": self.forwarded_as.as_deref(),
            "trace": self.trace.map(|trace| trace.id.to_string()),
        })
    }
}

fn fallback_to_json(step: &FallbackStep) -> Value {
    json!({"model": step.model.as_str(), "cause": step.cause.as_str()})
}

impl AttemptRecord {
    fn to_json(&self) -> Value {
        json!({
            "node": self.node.as_str(),
            "region": self.region.as_str(),
            "upstream": self.upstream.as_str(),
            "model": self.model.as_ref().map(|model| model.as_str()),
            "outcome": self.outcome,
            "status": self.status,
            "began_ms": milliseconds(self.began),
            "ms": milliseconds(self.took),
            "reason": self.reason,
            "cost_ms": cost_to_json(&self.cost),
            "detail": self.detail.as_ref().map(Excerpt::as_str),
        })
    }
}

impl ClientRecord {
    /// The country or continent; nothing where neither is known.
    pub fn area(self) -> Option<String> {
        match self.origin {
            ClientOrigin::Unknown => None,
            ClientOrigin::Continent(continent) => Some(continent.to_string()),
            ClientOrigin::Country(country) => Some(country.to_string()),
        }
    }

    /// The area, and coordinates to a degree; `null` where nothing is known.
    fn to_json(self) -> Option<Value> {
        let area = self.area();
        let place = self.place.map(
            |place| json!({"lat": place.latitude().round(), "lon": place.longitude().round()}),
        );
        (area.is_some() || place.is_some()).then(|| json!({"area": area, "location": place}))
    }
}

fn choice_to_json(choice: &Choice) -> Value {
    let upstream = &choice.candidate.upstream;
    json!({
        "node": upstream.node.as_str(),
        "region": upstream.region.as_str(),
        "upstream": upstream.name.as_str(),
        "reason": choice.reason.as_str(),
        "cost_ms": cost_to_json(&choice.cost),
    })
}

fn cost_to_json(cost: &Cost) -> Value {
    json!({
        "rtt": milliseconds(cost.rtt),
        "ttft": milliseconds(cost.ttft),
        "load": milliseconds(cost.load),
        "staleness": milliseconds(cost.staleness),
        "breaks": milliseconds(cost.breaks),
        "total": milliseconds(cost.total()),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use grapevine_core::ids::RegionName;
    use http::Method;
    use http::uri::PathAndQuery;
    use std::time::Duration;

    pub(crate) fn record(id: usize) -> RequestRecord {
        let path = PathAndQuery::from_static("/v1/embeddings");
        RequestRecord {
            time: Duration::from_secs(1),
            status: 200,
            attempts: vec![AttemptRecord {
                node: NodeName::new("sgp").expect("a valid name"),
                region: RegionName::new("sgp").expect("a valid name"),
                upstream: UpstreamName::new("primary").expect("a valid name"),
                model: None,
                outcome: "answered",
                status: Some(200),
                began: Duration::ZERO,
                took: Duration::from_micros(1_500),
                reason: "only",
                cost: Cost::default(),
                detail: None,
            }],
            ..RequestRecord::begun(id.to_string().into(), &Method::POST, &path)
        }
    }

    #[test]
    fn oldest_request_is_evicted_and_every_attempt_is_counted() {
        let history = History::default();
        history.keep((0..REQUESTS_MAX + 5).map(record).map(Box::new).collect());
        let last = history.last(usize::MAX);
        assert_eq!(last.len(), REQUESTS_MAX);
        assert_eq!((&*last[0].id, &*last[REQUESTS_MAX - 1].id), ("1004", "5"));
        let counts: Vec<u64> = history.attempts().into_values().collect();
        assert_eq!(counts, [REQUESTS_MAX as u64 + 5]);
    }

    #[test]
    fn only_requests_that_were_not_seen_are_returned() {
        let history = History::default();
        history.keep((0..3).map(record).map(Box::new).collect());
        let (first, seen) = history.since(0, 2);
        assert_eq!((&*first[0].id, first.len(), seen), ("2", 2, 3));
        assert_eq!(history.since(seen, 2).0.len(), 0);
        history.keep((3..4).map(record).map(Box::new).collect());
        let (next, seen) = history.since(seen, 2);
        assert_eq!((&*next[0].id, next.len(), seen), ("3", 1, 4));
    }

    #[test]
    fn times_are_shown_in_milliseconds() {
        let shown = record(1).to_json().to_string();
        assert!(shown.contains("\"ms\":1.5"), "{shown}");
    }
}
