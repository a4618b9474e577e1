//! Second attempts, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether a second attempt is sent beside one that is late.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HedgeFile {
    /// Never.
    Word(HedgeWord),
    /// When, and within which share of all requests.
    Budgeted(BudgetedHedgeFile),
}

/// No second attempts.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HedgeWord {
    /// Never.
    Off,
}

/// Whether requests of a key may be sent a second time.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyHedgeWord {
    /// They may, where `routing.hedge` says when.
    On,
    /// Never: each call costs.
    Off,
}

/// When a second attempt is sent, and within which share of all requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetedHedgeFile {
    /// When an attempt is late: p95, longer than 95 of 100 answers of its candidate for the model took. Default: p95.
    pub after: Option<HedgeAfterWord>,
    /// The share of all requests that may be sent a second time, such as 3%, above 0% and at most 20%. Default: 3%.
    pub budget: Option<String>,
}

/// When an attempt is late.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HedgeAfterWord {
    /// After the 95th percentile of what its candidate took before.
    P95,
}
