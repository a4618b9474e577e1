//! A message to the DNS listener: the first byte selects UDP or TCP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::fact::{NodeFact, Phase, Public};
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::homes::Homes;
use grapevine_core::ids::{Generation, NodeName, RegionName};
use grapevine_core::residency::{ClientOrigin, Residency};
use grapevine_core::view::{NodeView, Reach, Routes, View};
use grapevine_node::dns::probes::{DnsTransport, respond};
use grapevine_node::dns::{DnsSettings, LocateAddress};

const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));

/// The longest answers over UDP: to a client without EDNS options, and to anybody.
const PLAIN_BYTES_MAX: usize = 512;
const DATAGRAM_BYTES_MAX: usize = 1_232;

/// Nothing is answered but questions, an answer is one, and over UDP it is short.
pub(crate) fn target(bytes: &[u8]) {
    let Some((way, message)) = bytes.split_first() else {
        return;
    };
    let way = if way % 2 == 0 {
        DnsTransport::Udp
    } else {
        DnsTransport::Tcp
    };
    let Some(answer) = answered(message, way) else {
        let is_question = message.get(2).is_some_and(|flags| flags & 0x80 == 0);
        assert!(
            message.len() < 12 || !is_question,
            "a question is left unanswered"
        );
        return;
    };
    assert_eq!(answer[..2], message[..2]);
    assert!(answered(&answer, way).is_none(), "an answer is answered");
    // No option can be in a message without additional records.
    let has_additional = message[10..12] != [0, 0];
    let max = match way {
        DnsTransport::Tcp => usize::from(u16::MAX),
        DnsTransport::Udp if has_additional => DATAGRAM_BYTES_MAX,
        DnsTransport::Udp => PLAIN_BYTES_MAX,
    };
    assert!(answer.len() <= max, "{} bytes", answer.len());
}

fn answered(message: &[u8], way: DnsTransport) -> Option<Vec<u8>> {
    let zone = "mesh.example".parse().expect("a name");
    let ttl = Duration::from_secs(30);
    let settings = DnsSettings::new(&zone, ttl, &[], Homes::default(), Residency::default());
    let locate = LocateAddress::new(|_| (ClientOrigin::Unknown, GeoPoint::new(50.0, 8.0)));
    respond(&settings, &view(), &locate, message, RESOLVER, way)
}

fn view() -> View {
    let nodes = ["eur-1", "eur-2", "sgp-1", "usa-1"].map(node);
    View {
        made_at: Instant::from_start(Duration::ZERO),
        node: nodes[0].name.clone(),
        region: region("eur"),
        place: None,
        phase: Phase::Ready,
        settled: true,
        models: BTreeMap::new(),
        any_model: Routes::default(),
        no_model: Routes::default(),
        own: BTreeMap::new(),
        mesh_rules: Arc::default(),
        nodes: nodes.into(),
    }
}

fn node(name: &str) -> NodeView {
    let addresses = (1..=8_u8).map(|last| IpAddr::from([203, 0, 113, last]));
    let public = Public {
        url: None,
        addresses: addresses
            .chain(["2001:db8::1".parse().expect("an address")])
            .collect(),
        answers_dns: true,
    };
    NodeView {
        name: NodeName::new(name).expect("a name"),
        fact: Some(NodeFact {
            region: region(&name[..3]),
            place: GeoPoint::new(50.0, 8.0),
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public,
        }),
        generation: Generation(1),
        phase: Phase::Ready,
        live: true,
        reach: Reach::Open,
        rtt: Some(Duration::from_millis(3)),
        upstreams: Vec::new(),
        services: None,
        rules_differ_since: None,
    }
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a name")
}
