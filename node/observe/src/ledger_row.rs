//! One row of the ledger.

use grapevine_core::ids::RegionName;
use grapevine_core::outcome::RequestEnd;
use grapevine_core::price::NanoUsd;
use serde::{Deserialize, Serialize};

use super::record::RequestRecord;

/// The outcome of the call that was cancelled, since another one of its request answered first.
const HEDGE_LOST: &str = "hedge_lost";

/// One finished request: who, what, where, how much. Never what was said, and no key but its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// When the request arrived, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Its id, as in `x-request-id`.
    pub request: String,
    /// Who made it: `client` or `task`.
    pub kind: String,
    /// The name of its key.
    pub key: Option<String>,
    /// The id of that key, where it was issued.
    pub key_id: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The upstream that served it, by its name at its owner.
    pub upstream: Option<String>,
    /// That owner.
    pub node: Option<String>,
    /// The account that the upstream draws on, where that is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Its region; the entry node's where none served it.
    pub region: String,
    /// Tokens of the whole prompt; `null` where the upstream reported none.
    pub tokens_in: Option<u64>,
    /// Of them, those read from the upstream's cache.
    pub tokens_cached: Option<u64>,
    /// Of them, those written to it.
    pub tokens_cache_written: Option<u64>,
    /// Tokens of the answer.
    pub tokens_out: Option<u64>,
    /// The cost in billionths of a US dollar; `null` where the model has no price or nothing was reported.
    pub cost_nano_usd: Option<u64>,
    /// Whether the counts may be less than what the upstream will bill: the answer did not come to its end.
    pub partial: bool,
    /// The status that the client got; 499 when it went away before.
    pub status: u16,
    /// `ok`, or one word for what went wrong.
    pub outcome: String,
}

impl LedgerRow {
    /// The row of the attempt of `record` that was cancelled, since another one answered first: a call that its upstream
    /// will bill, at least for the prompt. Its id is that of the request's own row.
    pub fn of_loser(record: &RequestRecord, region: &RegionName) -> Option<Self> {
        let loser = record.hedge.as_deref()?.loser.as_ref()?;
        let served = &loser.served;
        Some(Self {
            upstream: Some(served.upstream.to_string()),
            node: Some(served.node.to_string()),
            account: served.account.as_ref().map(ToString::to_string),
            region: served.region.to_string(),
            tokens_in: loser.input,
            tokens_cached: None,
            tokens_cache_written: None,
            tokens_out: None,
            cost_nano_usd: loser.cost.map(|NanoUsd(nano)| nano),
            partial: true,
            outcome: HEDGE_LOST.to_owned(),
            ..Self::of(record, region)
        })
    }

    /// Whether it is of a second call of a request that has a row of its own.
    pub fn is_second_call(&self) -> bool {
        self.outcome == HEDGE_LOST
    }

    /// How its request ended for its client, as its record says it.
    pub(super) fn end(&self) -> RequestEnd {
        let error = Some(self.outcome.as_str()).filter(|it| ![OK, PASSED_THROUGH].contains(it));
        RequestEnd::of(self.status, error)
    }

    /// The row of `record`, at a node in `region`.
    pub fn of(record: &RequestRecord, region: &RegionName) -> Self {
        let served = record.served.as_ref();
        Self {
            time_ms: u64::try_from(record.time.as_millis()).unwrap_or(u64::MAX),
            request: record.id.to_string(),
            kind: record.kind.as_str().to_owned(),
            key: record.key.as_deref().map(str::to_owned),
            key_id: record.key_id.as_ref().map(ToString::to_string),
            model: record.model.as_ref().map(ToString::to_string),
            upstream: served.map(|served| served.upstream.to_string()),
            node: served.map(|served| served.node.to_string()),
            account: served.and_then(|served| Some(served.account.as_ref()?.to_string())),
            region: served.map_or(region, |served| &served.region).to_string(),
            tokens_in: record.tokens.input,
            tokens_cached: record.tokens.cached,
            tokens_cache_written: record.tokens.cache_written,
            tokens_out: record.tokens.output,
            cost_nano_usd: record.cost.map(|NanoUsd(nano)| nano),
            partial: record.error.is_some() && served.is_some(),
            status: record.status,
            outcome: outcome(record).to_owned(),
        }
    }
}

/// The outcome of a request that was answered well, and of one that got an upstream's own error.
const OK: &str = "ok";
const PASSED_THROUGH: &str = "error_passed_through";

/// `ok`, or one word for what went wrong.
const fn outcome(record: &RequestRecord) -> &'static str {
    match (record.error, record.status) {
        (Some(error), _) => error,
        (None, 400..) => PASSED_THROUGH,
        (None, _) => OK,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::uri::PathAndQuery;

    use super::*;

    #[test]
    fn row_failed_where_its_record_did() {
        let region = "fra".parse().expect("a name");
        let path = PathAndQuery::from_static("/v1/chat/completions");
        for (status, error, failed) in [
            (200, None, false),
            (200, Some("upstream_broken_off"), true),
            (200, Some("cancelled"), false),
            (404, None, false),
            (429, Some("rate_limited"), false),
            (502, None, true),
            (503, Some("no_upstream_reachable"), true),
        ] {
            let record = RequestRecord {
                status,
                error,
                ..RequestRecord::begun("r".into(), &Method::POST, &path)
            };
            let row = LedgerRow::of(&record, &region);
            assert_eq!(row.end(), record.end(), "{status} {error:?}");
            assert_eq!(row.end().is_failed(), failed);
        }
    }
}
