//! DNS as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{DurationText, Item};

/// An authoritative DNS server for one zone, which answers with the nearest ready nodes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["zone"]))]
pub struct DnsFile {
    /// The listener: IP:PORT, UDP and TCP. A port below 1024 needs CAP_NET_BIND_SERVICE. On a host with
    /// several addresses, use the one to answer from. Default: 0.0.0.0:53.
    pub listen: Option<String>,
    /// The zone, such as api.example.net, at most 180 bytes; the parent zone delegates it to these nodes.
    pub zone: Option<String>,
    /// The TTL of answers, 1s to 1d, in whole seconds. Default: 30s.
    pub ttl: Option<DurationText>,
    /// The zone's name servers, as in the parent zone, 1 to 8. Default: NODE.node.ZONE for each
    /// live node that answers DNS and has public addresses.
    pub name_servers: Option<Vec<Item<String>>>,
}
