//! One log line for each finished request, at the level `debug`: off unless an operator asks for it, with
//! `grapevine log info,grapevine_observe::requests=debug` for these lines alone.
//!
//! Written by the collecting task from the request's record, so that it costs the request path nothing.

use tracing::debug;

use super::excerpt::Excerpt;
use super::milliseconds;
use super::record::RequestRecord;

/// Logs a finished request.
pub fn log(record: &RequestRecord) {
    let served = record.served.as_ref();
    debug!(
        request.id = %record.id,
        request.forwarded_as = record.forwarded_as.as_deref(),
        request.kind = record.kind.as_str(),
        trace.id = record.trace.map(|trace| trace.id.to_string()),
        method = %record.method,
        path = %record.path,
        model = record.model.as_ref().map(|model| model.as_str()),
        dialect = record.dialect.as_ref().map(Excerpt::as_str),
        fallback = record.fallback(),
        hedge = record.hedge.as_ref().map(|hedge| hedge.result.as_str()),
        key = record.key.as_deref(),
        status = record.status,
        end = record.end().as_str(),
        node.name = served.map(|served| served.node.as_str()),
        upstream.name = served.map(|served| served.upstream.as_str()),
        attempts = record.attempts.len(),
        total_ms = milliseconds(record.total),
        error = record.error,
        "request finished"
    );
    for attempt in record.attempts.iter().filter(|it| it.detail.is_some()) {
        debug!(
            request.id = %record.id,
            node.name = %attempt.node,
            upstream.name = %attempt.upstream,
            outcome = attempt.outcome,
            detail = attempt.detail.as_ref().map(Excerpt::as_str),
            "attempt failed"
        );
    }
}
