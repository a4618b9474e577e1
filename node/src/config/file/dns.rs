//! DNS as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, Item};

/// A DNS server that answers for one zone with the addresses of the ready nodes nearest to who asks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["zone"]))]
pub struct DnsFile {
    /// Where it is asked: IP:PORT, UDP and TCP. A port below 1024 needs CAP_NET_BIND_SERVICE. On a host
    /// with several addresses write the one to answer from. Default: 0.0.0.0:53.
    pub listen: Option<String>,
    /// The domain name to answer for, such as api.example.net, at most 180 bytes; its parent zone
    /// delegates it to these nodes.
    pub zone: Option<String>,
    /// How long resolvers may keep an answer, 1s to 1d, in whole seconds. Default: 30s.
    pub ttl: Option<DurationText>,
    /// The names of the zone's servers, as in the parent zone, 1 to 8. Default: NODE.node.ZONE for each
    /// live node that answers DNS and has public addresses.
    pub name_servers: Option<Vec<Item<String>>>,
}
