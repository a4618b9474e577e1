//! Messages in, messages out, over views made by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use grapevine_core::Instant;
use grapevine_core::fact::{NodeFact, Phase, Public};
use grapevine_core::homes::Home;
use grapevine_core::ids::{Generation, NodeName, RegionName};
use grapevine_core::residency::{Rule, Unknown};
use grapevine_core::view::{NodeView, Reach, Routes, View};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use proptest::prelude::{any, prop, prop_assert, proptest};

use super::respond::{Ground, Response, Transport};
use super::*;

const ZONE: &str = "mesh.example";
const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));

/// The locations of the tests' clients, by the first number of their address.
fn locate() -> LocateAddress {
    LocateAddress::new(|address| {
        let first = match address {
            IpAddr::V4(v4) => v4.octets()[0],
            IpAddr::V6(v6) => v6.octets()[0],
        };
        let (code, latitude, longitude) = match first {
            1 => ("SG", 1.35, 103.82),
            2 => ("DE", 51.0, 10.0),
            3 | 0x20 => ("US", 39.8, -98.6),
            _ => return (ClientOrigin::Unknown, None),
        };
        let country = code
            .parse()
            .map_or(ClientOrigin::Unknown, ClientOrigin::Country);
        (country, GeoPoint::new(latitude, longitude))
    })
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a valid name")
}

fn node(name: &str, at: (f64, f64), rtt_ms: u64, addresses: &[&str]) -> NodeView {
    let addresses = addresses.iter();
    let addresses = addresses.map(|text| text.parse().expect("an address"));
    let public = Public {
        url: None,
        addresses: addresses.collect(),
        answers_dns: true,
    };
    NodeView {
        name: NodeName::new(name).expect("a valid name"),
        fact: Some(NodeFact {
            region: region(&name[..3]),
            place: GeoPoint::new(at.0, at.1),
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public,
        }),
        generation: Generation(1),
        phase: Phase::Ready,
        live: true,
        reach: Reach::Open,
        rtt: Some(Duration::from_millis(rtt_ms)),
        upstreams: Vec::new(),
        services: None,
        rules_differ_since: None,
    }
}

/// Two nodes in Frankfurt, one in Singapore, one in Virginia, as the first sees them.
fn nodes() -> Vec<NodeView> {
    vec![
        node("eur-1", (50.1, 8.7), 0, &["203.0.113.1", "2001:db8::1"]),
        node("eur-2", (50.1, 8.7), 1, &["203.0.113.2"]),
        node("sgp-1", (1.29, 103.85), 160, &["203.0.113.3"]),
        node(
            "usa.east",
            (38.9, -77.4),
            90,
            &["203.0.113.4", "2001:db8::4"],
        ),
    ]
}

fn view(nodes: Vec<NodeView>) -> View {
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
        nodes,
    }
}

fn settings() -> DnsSettings {
    let zone = ZONE.parse().expect("a name");
    let ttl = Duration::from_secs(30);
    DnsSettings::new(&zone, ttl, &[], Homes::default(), Residency::default())
}

fn respond(
    settings: &DnsSettings,
    view: &View,
    bytes: &[u8],
    transport: Transport,
) -> Option<Response> {
    let ground = Ground {
        settings,
        view,
        locate: &locate(),
    };
    ground.respond(bytes, RESOLVER, transport)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(format!("{name}.")).expect("a name");
    message.add_query(Query::query(name, kind));
    message
}

/// With the client's subnet.
fn from(subnet: &str, name: &str, kind: RecordType) -> Message {
    let mut message = question(name, kind);
    let mut edns = Edns::new();
    let subnet: ClientSubnet = subnet.parse().expect("a subnet");
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    message.set_edns(edns);
    message
}

fn asked(nodes: Vec<NodeView>, message: &Message) -> Message {
    respond_to(&settings(), nodes, message)
}

fn respond_to(settings: &DnsSettings, nodes: Vec<NodeView>, message: &Message) -> Message {
    let bytes = message.to_bytes().expect("a message");
    let response = respond(settings, &view(nodes), &bytes, Transport::Udp);
    Message::from_bytes(&response.expect("an answer").bytes).expect("a message")
}

fn code(answer: &Message) -> ResponseCode {
    answer.metadata.response_code
}

fn addresses(records: &[Record]) -> Vec<String> {
    let data = records.iter().map(|record| match &record.data {
        RData::A(address) => address.to_string(),
        RData::AAAA(address) => address.to_string(),
        other => panic!("not an address: {other}"),
    });
    data.collect()
}

fn is_soa(records: &[Record]) -> bool {
    records.len() == 1 && records[0].record_type() == RecordType::SOA
}

#[test]
fn client_subnet_gets_the_nodes_of_the_nearest_region_nearest_first() {
    for (subnet, nearest) in [
        ("1.2.3.0/24", &["203.0.113.3"][..]),
        ("2.2.3.0/24", &["203.0.113.1", "203.0.113.2"]),
        ("3.2.3.0/24", &["203.0.113.4"]),
        ("2001:db8::/56", &["203.0.113.4"]),
    ] {
        let answer = asked(nodes(), &from(subnet, ZONE, RecordType::A));
        assert_eq!(addresses(&answer.answers), nearest, "{subnet}");
        assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
        assert!(answer.answers.iter().all(|record| record.ttl == 30));
    }
}

#[test]
fn resolver_without_a_subnet_is_steered_by_its_own_address() {
    let bytes = question(ZONE, RecordType::A).to_bytes().expect("a message");
    let (settings, view) = (settings(), view(nodes()));
    let ground = Ground {
        settings: &settings,
        view: &view,
        locate: &locate(),
    };
    let singapore = IpAddr::from([1, 1, 1, 1]);
    let response = ground.respond(&bytes, singapore, Transport::Udp);
    let answer = Message::from_bytes(&response.expect("an answer").bytes).expect("a message");
    assert_eq!(addresses(&answer.answers), ["203.0.113.3"]);
    assert!(answer.edns.is_none());
}

#[test]
fn subnet_is_echoed_with_the_scope_of_the_answer() {
    let scope = |subnet: &str, name: &str, kind| {
        let answer = asked(nodes(), &from(subnet, name, kind));
        let edns = answer.edns.expect("options");
        match edns.option(EdnsCode::Subnet) {
            Some(EdnsOption::Subnet(subnet)) => (subnet.source_prefix(), subnet.scope_prefix()),
            other => panic!("no subnet: {other:?}"),
        }
    };
    assert_eq!(scope("1.2.3.0/24", ZONE, RecordType::A), (24, 24));
    assert_eq!(scope("2001:db8::/48", ZONE, RecordType::AAAA), (48, 48));
    assert_eq!(scope("1.2.3.0/24", ZONE, RecordType::SOA), (24, 0));
    assert_eq!(scope("1.2.3.0/24", "no.such", RecordType::A), (24, 0));
    assert_eq!(scope("0.0.0.0/0", ZONE, RecordType::A), (0, 0));
}

#[test]
fn malformed_subnet_is_a_malformed_question() {
    let mut scoped = question(ZONE, RecordType::A);
    let mut edns = Edns::new();
    let subnet = ClientSubnet::new(RESOLVER, 32, 24);
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    scoped.set_edns(edns);
    let bits = from("1.2.3.4/23", ZONE, RecordType::A);
    for message in [scoped, bits] {
        assert_eq!(code(&asked(nodes(), &message)), ResponseCode::FormErr);
    }
}

#[test]
fn node_that_drains_or_died_or_is_not_ready_is_left_out_at_once() {
    let spoils: [fn(&mut NodeView); 3] = [
        |node| node.phase = Phase::Draining,
        |node| node.live = false,
        |node| node.phase = Phase::Joining,
    ];
    for spoil in spoils {
        let mut nodes = nodes();
        // One of two in the region, then the only one: the next region is used.
        spoil(&mut nodes[0]);
        spoil(&mut nodes[2]);
        let german = asked(nodes.clone(), &from("2.2.3.0/24", ZONE, RecordType::A));
        assert_eq!(addresses(&german.answers), ["203.0.113.2"]);
        let singaporean = asked(nodes, &from("1.2.3.0/24", ZONE, RecordType::A));
        assert_eq!(addresses(&singaporean.answers), ["203.0.113.2"]);
    }
}

#[test]
fn mesh_without_a_ready_node_is_a_failure_and_not_an_absence() {
    let mut nodes = nodes();
    nodes
        .iter_mut()
        .for_each(|node| node.phase = Phase::Draining);
    let answer = asked(nodes, &from("1.2.3.0/24", ZONE, RecordType::A));
    assert_eq!(code(&answer), ResponseCode::ServFail);
    assert!(answer.answers.is_empty() && answer.authorities.is_empty());
    let edns = answer.edns.expect("options");
    let reason = edns.option(EdnsCode::from(15));
    assert_eq!(reason, Some(&EdnsOption::Unknown(15, vec![0, 14])));
}

#[test]
fn map_wins_over_distance() {
    let mut settings = settings();
    settings.homes = Homes(vec![Home {
        clients: vec!["SG".parse().expect("a known area")],
        region: region("usa"),
    }]);
    let answer = respond_to(&settings, nodes(), &from("1.2.3.0/24", ZONE, RecordType::A));
    assert_eq!(addresses(&answer.answers), ["203.0.113.4"]);
}

#[test]
fn fence_permits_its_regions_only_and_fails_without_one_that_is_ready() {
    let mut settings = settings();
    let rule = Rule {
        clients: vec!["EU".parse().expect("a known area")],
        keys: vec![],
        models: vec![],
        regions: [region("sgp")].into(),
    };
    settings.residency = Residency::new(vec![rule], Unknown::Fenced);
    let german = from("2.2.3.0/24", ZONE, RecordType::A);
    let answer = respond_to(&settings, nodes(), &german);
    assert_eq!(addresses(&answer.answers), ["203.0.113.3"]);
    let region = from("2.2.3.0/24", "eur.region.mesh.example", RecordType::A);
    assert_eq!(
        code(&respond_to(&settings, nodes(), &region)),
        ResponseCode::ServFail
    );
    let mut left = nodes();
    left.remove(2);
    assert_eq!(
        code(&respond_to(&settings, left, &german)),
        ResponseCode::ServFail
    );
}

#[test]
fn family_that_the_nearest_region_lacks_is_no_record_rather_than_another_regions() {
    let answer = asked(nodes(), &from("1.2.3.0/24", ZONE, RecordType::AAAA));
    assert_eq!(code(&answer), ResponseCode::NoError);
    assert!(answer.answers.is_empty() && is_soa(&answer.authorities));
    let answer = asked(nodes(), &from("2.2.3.0/24", ZONE, RecordType::AAAA));
    assert_eq!(addresses(&answer.answers), ["2001:db8::1"]);
}

#[test]
fn names_of_nodes_and_regions_have_addresses() {
    let of = |name: &str, kind| {
        let name = format!("{name}.{ZONE}");
        addresses(&asked(nodes(), &from("2.2.3.0/24", &name, kind)).answers)
    };
    assert_eq!(of("sgp-1.node", RecordType::A), ["203.0.113.3"]);
    assert_eq!(of("USA.east.NODE", RecordType::AAAA), ["2001:db8::4"]);
    assert_eq!(
        of("eur.region", RecordType::A),
        ["203.0.113.1", "203.0.113.2"]
    );
    let mut drained = nodes();
    drained[2].phase = Phase::Draining;
    let host = asked(drained, &question("sgp-1.node.mesh.example", RecordType::A));
    assert_eq!(addresses(&host.answers), ["203.0.113.3"]);
}

#[test]
fn absent_names_and_absent_types_are_distinguished_and_carry_the_soa() {
    for (name, kind, wanted) in [
        ("mesh.example", RecordType::TXT, ResponseCode::NoError),
        ("mesh.example", RecordType::MX, ResponseCode::NoError),
        ("node.mesh.example", RecordType::A, ResponseCode::NoError),
        ("region.mesh.example", RecordType::A, ResponseCode::NoError),
        (
            "east.node.mesh.example",
            RecordType::A,
            ResponseCode::NoError,
        ),
        (
            "sgp-1.node.mesh.example",
            RecordType::NS,
            ResponseCode::NoError,
        ),
        (
            "sgp-1.node.mesh.example",
            RecordType::AAAA,
            ResponseCode::NoError,
        ),
        ("no.mesh.example", RecordType::A, ResponseCode::NXDomain),
        (
            "sgp-9.node.mesh.example",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (
            "usa\\.east.node.mesh.example",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (
            "x.sgp-1.node.mesh.example",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (
            "lab.region.mesh.example",
            RecordType::A,
            ResponseCode::NXDomain,
        ),
    ] {
        let answer = asked(nodes(), &question(name, kind));
        assert_eq!(code(&answer), wanted, "{name} {kind}");
        assert!(
            answer.answers.is_empty() && is_soa(&answer.authorities),
            "{name}"
        );
        assert!(answer.metadata.authoritative, "{name}");
        assert_eq!(answer.authorities[0].ttl, 30);
    }
}

#[test]
fn zone_has_its_servers_with_glue_and_one_of_them_as_primary() {
    let mut nodes = nodes();
    nodes[1].live = false;
    if let Some(fact) = &mut nodes[2].fact {
        fact.public.answers_dns = false;
    }
    let answer = asked(nodes.clone(), &question("MESH.example", RecordType::NS));
    let names: Vec<String> = answer
        .answers
        .iter()
        .map(|it| it.data.to_string())
        .collect();
    // In the order of DNS: by the last label first.
    assert_eq!(
        names,
        ["usa.east.node.mesh.example.", "eur-1.node.mesh.example."]
    );
    let mut glue = addresses(&answer.additionals);
    glue.sort();
    assert_eq!(
        glue,
        ["2001:db8::1", "2001:db8::4", "203.0.113.1", "203.0.113.4"]
    );
    let soa = asked(nodes, &question(ZONE, RecordType::SOA));
    let RData::SOA(soa) = &soa.answers[0].data else {
        panic!("not an SOA: {soa:?}");
    };
    assert!(names.contains(&soa.mname.to_string()));
    assert_eq!(soa.rname.to_string(), "hostmaster.mesh.example.");
    assert_eq!(soa.minimum, 30);
}

#[test]
fn configured_servers_are_named_as_written() {
    let server: DomainName = "ns1.example.net".parse().expect("a name");
    let zone = ZONE.parse().expect("a name");
    let ttl = Duration::from_secs(30);
    let (homes, residency) = (Homes::default(), Residency::default());
    let settings = DnsSettings::new(&zone, ttl, &[server], homes, residency);
    let answer = respond_to(&settings, nodes(), &question(ZONE, RecordType::NS));
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(answer.answers[0].data.to_string(), "ns1.example.net.");
    assert!(answer.additionals.is_empty());
}

#[test]
fn what_is_not_for_this_server_is_refused() {
    for message in [
        question("example", RecordType::A),
        question("example.net", RecordType::A),
        question("badmesh.example", RecordType::A),
        question(ZONE, RecordType::ANY),
        question(ZONE, RecordType::AXFR),
        question(ZONE, RecordType::IXFR),
        question(ZONE, RecordType::Unknown(253)),
        chaos(),
    ] {
        let answer = asked(nodes(), &message);
        assert_eq!(code(&answer), ResponseCode::Refused, "{message:?}");
        assert!(answer.answers.is_empty() && answer.authorities.is_empty());
        assert_eq!(answer.queries, message.queries);
    }
}

fn chaos() -> Message {
    let mut message = question("version.bind", RecordType::TXT);
    message.queries[0].set_query_class(DNSClass::CH);
    message
}

#[test]
fn what_is_no_query_is_not_implemented() {
    for op_code in [
        OpCode::Notify,
        OpCode::Update,
        OpCode::Status,
        OpCode::Unknown(1),
    ] {
        let mut message = question(ZONE, RecordType::SOA);
        message.metadata.op_code = op_code;
        let answer = asked(nodes(), &message);
        assert_eq!(code(&answer), ResponseCode::NotImp);
        assert_eq!(answer.metadata.op_code, op_code);
    }
}

#[test]
fn later_version_of_the_options_is_refused_as_such() {
    let mut message = question(ZONE, RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    let answer = asked(nodes(), &message);
    // The codec reads 16, which means two things, as the other one.
    let bad_version = u16::from(ResponseCode::BADVERS);
    assert_eq!(u16::from(code(&answer)), bad_version);
    assert_eq!(answer.edns.map(|edns| edns.version()), Some(0));
}

#[test]
fn message_without_or_with_two_questions_is_malformed() {
    let none = Message::new(7, MessageType::Query, OpCode::Query);
    let mut two = question(ZONE, RecordType::A);
    two.add_query(two.queries[0].clone());
    for message in [none, two] {
        assert_eq!(code(&asked(nodes(), &message)), ResponseCode::FormErr);
    }
}

#[test]
fn broken_message_is_answered_by_its_head_and_a_shorter_one_or_an_answer_not_at_all() {
    let (settings, view) = (settings(), view(nodes()));
    let whole = question(ZONE, RecordType::A).to_bytes().expect("a message");
    let broken = &whole[..whole.len() - 3];
    let response = respond(&settings, &view, broken, Transport::Udp).expect("an answer");
    assert_eq!((response.kind, response.code), ("none", "formerr"));
    assert_eq!(response.bytes.len(), 12);
    assert_eq!(response.bytes[..2], whole[..2]);
    assert!(respond(&settings, &view, &whole[..11], Transport::Udp).is_none());
    let mut answer = whole.clone();
    answer[2] |= 0x80;
    assert!(respond(&settings, &view, &answer, Transport::Udp).is_none());
}

#[test]
fn case_of_the_question_comes_back() {
    let answer = asked(nodes(), &question("mEsH.ExAmPlE", RecordType::A));
    assert_eq!(answer.answers[0].name.to_string(), "mEsH.ExAmPlE.");
    assert_eq!(answer.queries[0].name().to_string(), "mEsH.ExAmPlE.");
}

/// So many nodes with all addresses that their name servers do not fit into 512 bytes.
fn many() -> Vec<NodeView> {
    let name = |number: usize| format!("eur-{number}-{}", "x".repeat(50));
    let node = |number: usize| {
        let addresses: Vec<String> = (0..8)
            .map(|at| format!("2001:db8:{number}::{at}"))
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        node(&name(number), (50.1, 8.7), 1, &addresses)
    };
    (0..8).map(node).collect()
}

#[test]
fn answer_that_does_not_fit_loses_glue_and_then_all_records() {
    let (settings, view) = (settings(), view(many()));
    let ask = |payload: Option<u16>, transport| {
        let mut message = question(ZONE, RecordType::NS);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let bytes = message.to_bytes().expect("a message");
        let response = respond(&settings, &view, &bytes, transport).expect("an answer");
        let answer = Message::from_bytes(&response.bytes).expect("a message");
        (response.bytes.len(), answer)
    };
    let (length, plain) = ask(None, Transport::Udp);
    assert!(length <= 512 && plain.metadata.truncation && plain.answers.is_empty());
    let (length, large) = ask(Some(4_096), Transport::Udp);
    assert!(length <= 1_232 && !large.metadata.truncation, "{length}");
    assert_eq!((large.answers.len(), large.additionals.len()), (8, 0));
    let (_, whole) = ask(None, Transport::Tcp);
    assert_eq!((whole.answers.len(), whole.additionals.len()), (8, 64));
    let (length, small) = ask(Some(100), Transport::Udp);
    assert!(length <= 512 && small.metadata.truncation && small.edns.is_some());
}

#[test]
fn one_answer_holds_few_nodes_and_few_addresses() {
    let mut nodes = many();
    for node in &mut nodes {
        if let Some(fact) = &mut node.fact {
            fact.public.addresses = fact.public.addresses.iter().take(2).copied().collect();
        }
    }
    let few = asked(nodes, &from("2.2.3.0/24", ZONE, RecordType::AAAA));
    assert_eq!(few.answers.len(), 6);
    let all = asked(many(), &from("2.2.3.0/24", ZONE, RecordType::AAAA));
    assert_eq!(all.answers.len(), 8);
}

proptest! {
    /// No input panics, and each answer can be read and is within its limit.
    #[test]
    fn no_bytes_make_the_server_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((0..60_usize, any::<u8>()), 0..6),
    ) {
        let (settings, view) = (settings(), view(nodes()));
        let mut mutated = from("1.2.3.0/24", ZONE, RecordType::A).to_bytes().expect("a message");
        for (at, byte) in flips {
            if let Some(place) = mutated.get_mut(at) {
                *place = byte;
            }
        }
        for bytes in [bytes, mutated] {
            if let Some(response) = respond(&settings, &view, &bytes, Transport::Udp) {
                prop_assert!(response.bytes.len() <= 1_232);
                let answer = Message::from_bytes(&response.bytes);
                prop_assert!(answer.is_ok_and(|it| it.metadata.message_type == MessageType::Response));
            }
        }
    }
}
