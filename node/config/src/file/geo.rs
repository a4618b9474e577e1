//! Geography as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Item;

/// Client locations, and the regions that serve them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeoFile {
    /// An MMDB file with countries and, optionally, coordinates; reloaded when it changes.
    /// Default: the built-in country database.
    pub database: Option<String>,
    /// The regions of clients, by country; takes precedence over distance, in order. Default: none.
    pub map: Option<Vec<Item<HomeFile>>>,
    /// How residency rules about clients treat a client whose country is unknown. Default: fenced.
    pub unknown: Option<UnknownWord>,
}

/// The region of clients in these countries.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["countries", "region"]))]
pub struct HomeFile {
    /// Countries (SG), groups (EU, EEA) and continents (asia).
    pub countries: Option<Vec<Item<String>>>,
    /// The region that serves them.
    pub region: Option<String>,
}

/// How residency rules about clients treat a client whose country is unknown.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownWord {
    /// Every such rule applies.
    Fenced,
    /// No such rule applies.
    Open,
}

/// A data residency rule: the requests it applies to, and the regions that may answer them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["regions"]))]
pub struct ResidencyFile {
    /// Clients in these countries (DE), groups (EU, EEA) and continents (asia). Default: every client.
    pub clients: Option<Vec<Item<String>>>,
    /// Clients with these keys, by name. Default: every client, with or without a key.
    pub keys: Option<Vec<Item<String>>>,
    /// Requests for these models, by the names that clients use. Default: every request, with or without a model.
    pub models: Option<Vec<Item<String>>>,
    /// The regions that may answer, 1 to 64.
    pub regions: Option<Vec<Item<String>>>,
}
