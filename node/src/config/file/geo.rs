//! Geography as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Item;

/// Where clients are, and which regions serve them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeoFile {
    /// An MMDB file with countries, and coordinates where it has them; read again when it changes.
    /// Default: countries that are built in.
    pub database: Option<String>,
    /// Regions of clients under the geo strategy, before distance; the first that fits first. Default: none.
    pub map: Option<Vec<Item<HomeFile>>>,
    /// What residency rules about clients do with one whose country is not known. Default: fenced.
    pub unknown: Option<UnknownWord>,
}

/// Clients of these countries belong to this region.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["countries", "region"]))]
pub struct HomeFile {
    /// Countries (SG), groups (EU, EEA) and continents (asia).
    pub countries: Option<Vec<Item<String>>>,
    /// The region that serves them.
    pub region: Option<String>,
}

/// What residency rules about clients do with one whose country is not known.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownWord {
    /// They all concern it.
    Fenced,
    /// None concerns it.
    Open,
}

/// Whom a rule concerns, and where they may be answered. What is left out holds for everyone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["regions"]))]
pub struct ResidencyFile {
    /// Clients in these countries (DE), groups (EU, EEA) and continents (asia). Default: everywhere.
    pub clients: Option<Vec<Item<String>>>,
    /// Clients with these keys, by name. Default: every key, and none.
    pub keys: Option<Vec<Item<String>>>,
    /// Requests for these models, by the names that clients use. Default: every model, and none.
    pub models: Option<Vec<Item<String>>>,
    /// The regions that may answer, 1 to 64.
    pub regions: Option<Vec<Item<String>>>,
}
