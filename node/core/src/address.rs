//! What kind of host an address names, and which addresses a node calls for a client.
//!
//! A client may choose a URL (a webhook's), never what lies behind the node: its own listeners, its network,
//! its cloud's metadata. So only addresses of the public Internet are called, unless the operator names others.
//! The check is of addresses and not of names: a name may change its address between two looks.
//!
//! Sources: IANA's registries of special-purpose IPv4 and IPv6 addresses (RFC 6890), RFC 6052 (NAT64),
//! RFC 3056 (6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP), and the clouds' own pages for metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// A host of the public Internet.
    Public,
    /// An address of the node itself, whatever its kind would be for others.
    Own,
    /// No host, which some systems take for this one: `0.0.0.0/8`, `::`.
    Unspecified,
    /// This host: `127.0.0.0/8`, `::1`.
    Loopback,
    /// The same link: `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// A private network: RFC 1918, `fc00::/7`, `fec0::/10`.
    Private,
    /// Shared by the customers of a carrier: `100.64.0.0/10`.
    Shared,
    /// Where a cloud hands credentials to its machines.
    Metadata,
    /// Many hosts: `224.0.0.0/4`, `ff00::/8`, `255.255.255.255`.
    Multicast,
    /// For examples and measurements: `192.0.2.0/24`, `198.18.0.0/15`, `2001:db8::/32` and their like.
    Documentation,
    /// An IPv4 address wrapped for a tunnel: 6to4, Teredo, ISATAP.
    Tunnel,
    /// Everything that is not assigned to hosts.
    Reserved,
}

impl AddressKind {
    /// A few words for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Own => "an address of this node",
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Private => "a private address",
            Self::Shared => "a carrier's shared address",
            Self::Metadata => "a cloud's metadata address",
            Self::Multicast => "a multicast or broadcast address",
            Self::Documentation => "an address for documentation or benchmarks",
            Self::Tunnel => "a tunnelled address",
            Self::Reserved => "a reserved address",
        }
    }
}

/// How the operator's configuration names an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedBy {
    /// Not at all, or by a host name, which names no address.
    Not,
    /// As one of a network.
    InNetwork,
    /// By itself.
    Alone,
}

/// Whether a node may call an address of `kind` for a client.
pub const fn may_call(kind: AddressKind, named: NamedBy) -> bool {
    match kind {
        AddressKind::Public => true,
        // Nothing that an operator could mean answers there.
        AddressKind::Unspecified | AddressKind::Multicast => false,
        // A network that happens to hold them does not mean them.
        AddressKind::Own | AddressKind::Loopback | AddressKind::Metadata => {
            matches!(named, NamedBy::Alone)
        }
        _ => !matches!(named, NamedBy::Not),
    }
}

/// Metadata services of Amazon (machines, containers, pods), Azure, Alibaba, Oracle and Google.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// What `address` names, whichever way it is written.
pub fn kind(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> AddressKind {
    if METADATA_V4.contains(&address) {
        return AddressKind::Metadata;
    }
    match address.octets() {
        [0, ..] => AddressKind::Unspecified,
        [127, ..] => AddressKind::Loopback,
        [169, 254, ..] => AddressKind::LinkLocal,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => AddressKind::Private,
        [100, 64..=127, ..] => AddressKind::Shared,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => {
            AddressKind::Documentation
        }
        // IETF protocols, AS112, and what were relays of 6to4.
        [192, 0, 0, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] => {
            AddressKind::Reserved
        }
        [192, 88, 99, _] => AddressKind::Tunnel,
        [224..=239, ..] | [255, 255, 255, 255] => AddressKind::Multicast,
        [240..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> AddressKind {
    if METADATA_V6.contains(&address) {
        return AddressKind::Metadata;
    }
    let embedded = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        kind_v4(Ipv4Addr::from_bits(bits))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
        // IPv4, mapped, as stateless translators write it, compatible, and behind a NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] | [0x2002, ..] | [0x2001, 0, ..] => {
            AddressKind::Tunnel
        }
        [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressKind::Private,
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        [0x2001, 0xdb8, ..] | [0x2001, 2, 0, ..] | [0x3fff, 0..=0x0fff, ..] => {
            AddressKind::Documentation
        }
        // IETF protocols; beyond 2000::/3 nothing is assigned to hosts.
        [0x2001, 0..=0x01ff, ..] => AddressKind::Reserved,
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::AddressKind::*;
    use super::*;

    #[test]
    fn each_special_block_is_known_at_its_edges_and_beside_them() {
        let rows: &[(AddressKind, &[&str])] = &[
            (
                Public,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "11.0.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                ],
            ),
            (
                Public,
                &[
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.167.255.255",
                    "192.169.0.0",
                ],
            ),
            (
                Public,
                &[
                    "100.63.255.255",
                    "100.128.0.0",
                    "169.253.255.255",
                    "169.255.0.0",
                ],
            ),
            (
                Public,
                &[
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "168.63.129.15",
                ],
            ),
            (Unspecified, &["0.0.0.0", "0.255.255.255", "::"]),
            (Loopback, &["127.0.0.1", "127.255.255.255", "::1"]),
            (
                LinkLocal,
                &["169.254.0.0", "169.254.255.255", "fe80::1", "febf::1"],
            ),
            (
                Private,
                &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255"],
            ),
            (
                Private,
                &[
                    "192.168.0.0",
                    "192.168.255.255",
                    "fc00::1",
                    "fdff::1",
                    "fec0::1",
                ],
            ),
            (Shared, &["100.64.0.0", "100.127.255.255"]),
            (
                Metadata,
                &[
                    "169.254.169.254",
                    "169.254.170.2",
                    "168.63.129.16",
                    "fd00:ec2::254",
                ],
            ),
            (
                Metadata,
                &[
                    "100.100.100.200",
                    "192.0.0.192",
                    "fd20:ce::254",
                    "169.254.170.23",
                ],
            ),
            (
                Multicast,
                &["224.0.0.0", "239.255.255.255", "255.255.255.255", "ff02::1"],
            ),
            (
                Documentation,
                &["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.0"],
            ),
            (
                Documentation,
                &["198.19.255.255", "2001:db8::1", "2001:2::1", "3fff:fff::1"],
            ),
            (
                Tunnel,
                &[
                    "192.88.99.1",
                    "2002:7f00:1::",
                    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                ],
            ),
            (Tunnel, &["2606::5efe:7f00:1", "2606::200:5efe:7f00:1"]),
            (
                Reserved,
                &[
                    "192.0.0.1",
                    "240.0.0.0",
                    "255.255.255.254",
                    "100::1",
                    "2001:20::1",
                ],
            ),
            (Reserved, &["64:ff9b:1::1", "4000::1", "1fff::1"]),
            (
                Public,
                &["2606:4700::1111", "2001:200::1", "3fff:1000::1", "2003::1"],
            ),
        ];
        for (wanted, addresses) in rows {
            for text in *addresses {
                let address = text.parse().expect("an address");
                assert_eq!(kind(address), *wanted, "{text}");
            }
        }
    }

    #[test]
    fn ipv4_address_keeps_its_kind_in_every_ipv6_form() {
        let rows = [
            (Loopback, "127.0.0.1"),
            (Private, "10.1.2.3"),
            (Metadata, "169.254.169.254"),
            (Unspecified, "0.0.0.0"),
            (Public, "8.8.8.8"),
        ];
        for (wanted, text) in rows {
            for form in ["::ffff:", "::ffff:0:", "64:ff9b::"] {
                let address = format!("{form}{text}").parse().expect("an address");
                assert_eq!(kind(address), wanted, "{address}");
            }
        }
        assert_eq!(kind("::10.1.2.3".parse().expect("an address")), Private);
    }

    #[test]
    fn only_what_is_named_is_called_beside_the_public_internet() {
        let called = |kind| {
            let ways = [NamedBy::Not, NamedBy::InNetwork, NamedBy::Alone];
            ways.map(|named| may_call(kind, named))
        };
        assert_eq!(called(Public), [true, true, true]);
        for kind in [Private, LinkLocal, Shared, Documentation, Tunnel, Reserved] {
            assert_eq!(called(kind), [false, true, true], "{kind:?}");
        }
        for kind in [Own, Loopback, Metadata] {
            assert_eq!(called(kind), [false, false, true], "{kind:?}");
        }
        for kind in [Unspecified, Multicast] {
            assert_eq!(called(kind), [false, false, false], "{kind:?}");
        }
    }
}
