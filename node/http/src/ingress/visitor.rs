//! A client's location, and the home regions and fence that follow from it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use grapevine_base::exchange::Caller;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::residency::{ClientOrigin, Fence, MeshRules, Permitted, ResidencyQuestion};
use grapevine_core::route::Strategy;
use grapevine_core::view::View;
use http::HeaderMap;
use serde_json::{Value, json};

use super::IngressSettings;

/// A client's location, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientLocation {
    /// For rules and the map.
    pub origin: ClientOrigin,
    /// For distance.
    pub place: Option<GeoPoint>,
    /// For limits, never stored; `None` where it is not known.
    pub address: Option<IpAddr>,
}

/// Locates clients by the address of their connection and their headers. The default knows no location.
#[derive(Clone)]
pub struct Locate(Arc<Locating>);

type Locating = dyn Fn(SocketAddr, &HeaderMap) -> ClientLocation + Send + Sync;

impl Locate {
    /// Uses `locate`, which is called once for each request and must not block.
    pub fn new(
        locate: impl Fn(SocketAddr, &HeaderMap) -> ClientLocation + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(locate))
    }

    pub(super) fn locate(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientLocation {
        (self.0)(peer, headers)
    }
}

impl Default for Locate {
    fn default() -> Self {
        Self::new(|_, _| ClientLocation::default())
    }
}

impl fmt::Debug for Locate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Locate")
    }
}

/// The network of an address, for the turns and quotas of clients without a key: the block that a provider
/// assigns to one customer, and coarse enough to be stored with a task, unlike the address itself.
fn network(address: IpAddr) -> Arc<str> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24").into()
        }
        IpAddr::V6(address) => {
            const NETWORK: u128 = u128::MAX << 80;
            let address = Ipv6Addr::from_bits(address.to_bits() & NETWORK);
            format!("{address}/48").into()
        }
    }
}

/// Tells a client from others by its key, else by its address, and says nothing of either: the hash is this
/// process's own.
fn mark(address: Option<IpAddr>, key: Option<&str>) -> u64 {
    static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mark = match (key, address) {
        (Some(key), _) => MARKS.hash_one(key),
        (None, Some(address)) => MARKS.hash_one(address.to_canonical()),
        (None, None) => return 0,
    };
    // Zero is nobody's.
    mark.max(1)
}

/// A client, with what its location means for its request.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Whence it comes; `None` when that is not known.
    address: Option<IpAddr>,
    pub(super) place: Option<GeoPoint>,
    /// Empty unless routing uses geography.
    pub(super) homes: Vec<RegionName>,
    pub(super) permitted: Permitted,
    model_is_unnamed: bool,
    /// Sent with the request to a serving node, for its own rules.
    pub(super) caller: Caller,
}

impl Visitor {
    /// Applies the own rules, and those on which `mesh` agrees, to a request for `model` with the key called
    /// `key`.
    pub(super) fn new(
        settings: &IngressSettings,
        mesh: &MeshRules,
        location: ClientLocation,
        key: Option<Arc<str>>,
        model: Option<&ModelName>,
    ) -> Self {
        let client = location.origin;
        let question = ResidencyQuestion {
            client,
            key: key.as_deref(),
            model,
        };
        let permitted = settings.residency.permits_with(mesh, &question);
        Self {
            address: location.address,
            place: location.place,
            homes: match settings.strategy {
                Strategy::Geo => settings.homes.of(client),
                _ => Vec::new(),
            },
            permitted,
            model_is_unnamed: model.is_none(),
            caller: Caller {
                mark: mark(location.address, key.as_deref()),
                lossy: None,
                client,
                key,
            },
        }
    }

    /// The same client with a request for `model`: the rules may differ.
    pub(super) fn asking(
        &self,
        settings: &IngressSettings,
        mesh: &MeshRules,
        model: &ModelName,
    ) -> Self {
        let question = ResidencyQuestion {
            model: Some(model),
            ..self.caller.question()
        };
        Self {
            permitted: settings.residency.permits_with(mesh, &question),
            model_is_unnamed: false,
            ..self.clone()
        }
    }

    /// The network it comes from; `None` when that is not known.
    pub(super) fn network(&self) -> Option<Arc<str>> {
        self.address.map(network)
    }

    /// Whether its request must name a model and names none, since rules about models apply to it.
    pub(super) fn needs_model(&self, settings: &IngressSettings, view: &View) -> bool {
        self.model_is_unnamed
            && settings
                .residency
                .depends_on_model(&view.mesh_rules, &self.caller.question())
    }

    /// Its fence, as in answers.
    pub(super) fn residency(&self) -> Option<Value> {
        let fence = self.fence()?;
        let regions: Vec<&str> = fence.regions.iter().map(RegionName::as_str).collect();
        Some(json!({"rules": fence.to_string(), "regions": regions}))
    }

    pub(super) fn fence(&self) -> Option<&Fence> {
        self.permitted.fence()
    }

    /// The regions that both the rules and the client's `requested` ones permit; empty permits all.
    ///
    /// Where they have none in common there is no call: a plan has no candidate then.
    pub(super) fn allowed(&self, requested: &[RegionName]) -> Arc<[RegionName]> {
        match self.fence() {
            None => requested.into(),
            Some(fence) if requested.is_empty() => Arc::clone(&fence.regions),
            Some(fence) => {
                let both = fence.regions.iter().filter(|it| requested.contains(it));
                both.cloned().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(&*network("203.0.113.7"), "203.0.113.0/24");
        assert_eq!(network("::ffff:203.0.113.9"), network("203.0.113.7"));
        assert_eq!(&*network("2001:db8:1:2::3"), "2001:db8:1::/48");
        assert_eq!(network("2001:db8:1:ffff::"), network("2001:db8:1::1"));
    }
}
