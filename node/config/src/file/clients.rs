//! Clients' keys, prices and the ledger, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    CountText, DayText, DollarsText, DurationText, Item, KeyHedgeWord, SecretText, SizeText,
};

/// A client API key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "hash"]))]
pub struct KeyFile {
    /// The name of the key in logs and metrics, unique: letters, digits, '-', '_', '.', at most 63 bytes.
    pub name: Option<String>,
    /// sha256: and 64 hexadecimal digits, as printed by `grapevine key hash`.
    pub hash: Option<SecretText>,
    /// The models the key may use. Default: every model.
    pub models: Option<Vec<Item<String>>>,
    /// The regions that may serve it; a narrower fence than those in residency, never a wider one. Default: every
    /// region.
    pub regions: Option<Vec<Item<String>>>,
    /// Makes the key an external worker's key: it may only create and run tasks of these services, such as
    /// [my-plugin:process]. Default: none, the key is a client's.
    pub services: Option<Vec<Item<String>>>,
    /// The upstreams that clients may choose with x-grapevine-upstream, by name; the first keeps the files that they
    /// upload. Default: none, a client may choose none.
    pub upstreams: Option<Vec<Item<String>>>,
    /// Requests per minute, at least 1; 200k is 200,000. Over the whole mesh. Default: no limit.
    pub rpm: Option<CountText>,
    /// Tokens per minute, at least 1; 200k is 200,000. Over the whole mesh. Default: no limit.
    pub tpm: Option<CountText>,
    /// US dollars per day or month, such as 50usd/month. Over the whole mesh. Default: no limit.
    pub budget: Option<String>,
    /// Requests at once, 1 to 100000. Over the whole mesh. Default: no limit.
    pub concurrency: Option<u64>,
    /// Limits by the model that is asked for, such as {gpt-4o: {rpm: 60}}, at most 64. They hold beside those above.
    /// Default: none.
    pub limits: Option<BTreeMap<String, ModelLimitsFile>>,
    /// How many turns the key has where requests wait at an overloaded node, beside one of a key of weight 1: 1 to
    /// 1000. Default: 1.
    pub weight: Option<u64>,
    /// Whether its requests may be sent a second time beside an attempt that is late, where routing.hedge says when: on or
    /// off. Default: on.
    pub hedge: Option<KeyHedgeWord>,
    /// The day from whose beginning (UTC) the key is refused, such as 2027-01-31. Default: never.
    pub expires: Option<DayText>,
}

/// The limits of a key for one model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelLimitsFile {
    /// Requests per minute, at least 1. Over the whole mesh. Default: no limit.
    pub rpm: Option<CountText>,
    /// Tokens per minute, at least 1. Over the whole mesh. Default: no limit.
    pub tpm: Option<CountText>,
    /// US dollars per day or month. Over the whole mesh. Default: no limit.
    pub budget: Option<String>,
    /// Requests at once, 1 to 100000. Over the whole mesh. Default: no limit.
    pub concurrency: Option<u64>,
}

/// An account at a provider. Upstreams that name it share its rate limits: where one is limited, or little is left, others
/// go first.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct AccountFile {
    /// The name that upstreams write as `account`, unique: letters, digits, '-', '_', '.', at most 63 bytes.
    pub name: Option<String>,
    /// Requests per minute to all of its upstreams, at least 1; 200k is 200,000. Over the whole mesh; needs
    /// `limits.nodes` there. Default: no limit of one's own.
    pub rpm: Option<CountText>,
    /// Tokens per minute, at least 1; 200k is 200,000. Over the whole mesh. Default: no limit of one's own.
    pub tpm: Option<CountText>,
    /// US dollars per day or month, such as 500usd/month, by `prices`. Over the whole mesh. Default: no limit.
    pub budget: Option<String>,
}

/// Keys that the operator issues as signed tokens (`grapevine key issue`), which every node verifies alone; and signed
/// statements about keys: revoked, put, removed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["public_keys"]))]
pub struct IssuedKeysFile {
    /// The public halves of the operator's issuing keys, at most 8, as printed by `grapevine key init`; several while
    /// one replaces another. No node needs the private halves.
    pub public_keys: Option<Vec<Item<String>>>,
    /// The name of the mesh that tokens must be for. Default: mesh.name.
    pub mesh: Option<String>,
    /// Where statements are kept, one a line. Default: grapevine-keys-NAME.jws with the node's name, next to the
    /// configuration file.
    pub file: Option<String>,
    /// How long a node that reaches no peer accepts issued keys without knowing of new revocations, 1m to 30d; then
    /// they are refused with 503. Default: for good.
    pub stale_after: Option<DurationText>,
}

/// What a model costs, in US dollars per million tokens.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["model", "input", "output"]))]
pub struct PriceFile {
    /// The model, by the name that clients ask for.
    pub model: Option<String>,
    /// A million tokens of the prompt.
    pub input: Option<DollarsText>,
    /// A million tokens of the prompt that came from the upstream's cache. Default: input.
    pub cached_input: Option<DollarsText>,
    /// A million tokens of the prompt that were written to the cache. Default: input.
    pub cache_write: Option<DollarsText>,
    /// A million tokens of the answer, with those of its reasoning.
    pub output: Option<DollarsText>,
    /// Each answered request. Default: 0.
    pub request: Option<DollarsText>,
}

/// The ledger of finished requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub struct LedgerFile {
    /// The file that lines are appended to. Full ones are renamed to FILE.N beside it.
    pub file: Option<String>,
    /// The size at which a file is full, 1MiB to 16GiB. Default: 64MiB.
    pub size: Option<SizeText>,
    /// The age at which a file counts as full, 1h to 30d. Default: 1d.
    pub age: Option<DurationText>,
    /// How long full files are kept, 1d to 365d. Default: 90d.
    pub retention: Option<DurationText>,
}
