//! The cost of a request, and the header that says it.

use grapevine_base::head_lines::HeadLines;
use grapevine_config::prices::PriceTable;
use grapevine_core::ids::ModelName;
use grapevine_core::price::{DollarText, NanoUsd};
use grapevine_observe::record::RequestRecord;
use http::header::HeaderName;

const COST: HeaderName = HeaderName::from_static("x-grapevine-cost-usd");

/// What the tokens reported so far by `model` cost; `None` where no upstream answered well, nothing is reported, or the
/// model has no price.
pub(super) fn of(
    record: &RequestRecord,
    model: Option<&ModelName>,
    prices: &PriceTable,
) -> Option<NanoUsd> {
    let is_good = record.served.is_some() && record.status < 400;
    let model = model.filter(|_| is_good)?;
    let tokens = record.tokens.billed()?;
    Some(prices.of(model)?.cost(tokens))
}

/// Says the cost in the head of an answer that is there as a whole. That of a stream is known at its end alone.
pub(super) fn mark(lines: &mut HeadLines, cost: Option<NanoUsd>) {
    if let Some(cost) = cost {
        lines.push_value(&COST, DollarText::of(cost).as_bytes());
    }
}
