//! Clients are directed to the nearest ready node, by DNS and by `GET /v1/mesh/nearest`.
//!
//! Queried with third-party programs: `dig` and `dnsperf`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use grapevine_tests::client::{Answer, EventStream, http, whole};
use grapevine_tests::ports::free_address;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until, within};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const ZONE: &str = "mesh.example";

/// How long resolvers may keep an answer: what changes must have changed before.
const TTL: Duration = Duration::from_secs(30);

/// Where a client is, an address of its own, and the node that is nearest to it.
const CLIENTS: [(&str, &str, &str); 9] = [
    ("SG", "165.21.83.88", "sgp"),
    ("MY", "1.9.1.9", "sgp"),
    ("JP", "133.11.0.1", "sgp"),
    ("US", "8.8.8.8", "usa"),
    ("CA", "142.150.1.1", "usa"),
    ("DE", "194.25.0.60", "eur"),
    ("FR", "212.27.40.240", "eur"),
    ("JP", "2001:200::1", "sgp"),
    ("DE", "2003::1", "eur"),
];

/// Three regions, and a node without public addresses.
struct Steered {
    mesh: Mesh,
    dns: [(&'static str, SocketAddr); 3],
}

fn public_address(node: &str) -> &'static str {
    match node {
        "sgp" => "203.0.113.1",
        "usa" => "203.0.113.2",
        "eur" => "203.0.113.3",
        other => panic!("no address for {other}"),
    }
}

impl Steered {
    async fn start(mock: &Mock) -> Self {
        let dns = ["sgp", "usa", "eur"].map(|name| (name, free_address()));
        let mut builder = Mesh::builder();
        for (name, listen) in dns {
            let public = json!({
                "url": format!("https://{name}.api.example"),
                "addresses": [public_address(name), "2001:db8::1"],
            });
            let zone = json!({"listen": listen.to_string(), "zone": ZONE, "ttl": "30s"});
            builder = builder.node(name, |node| {
                let node = node.upstream(mock).config("node.public", public);
                let node = node.config("drain.timeout", json!("60s"));
                // One of them trusts its balancer's headers.
                let trusted = if name == "usa" {
                    vec!["127.0.0.0/8"]
                } else {
                    vec![]
                };
                let node = node.config("trusted_proxies", json!(trusted));
                node.config("dns", zone)
            });
        }
        let mesh = builder.node("lab", |node| node).start().await;
        Self { mesh, dns }
    }

    /// What `dig` prints for a question to the DNS server of `node`.
    fn dig(&self, node: &str, arguments: &[&str]) -> String {
        let (_, address) = self.dns[self.dns.iter().position(|it| it.0 == node).unwrap_or(0)];
        let port = address.port().to_string();
        let mut command = Command::new("dig");
        command.args(["-r", "@127.0.0.1", "-p", &port, "+time=5", "+tries=2"]);
        let output = must(
            "dig, which ./tests/run installs",
            command.args(arguments).output(),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The addresses that the DNS server of `node` gives to a client's network.
    fn addresses(&self, node: &str, client: &str) -> Vec<String> {
        let width = if client.contains(':') { 56 } else { 24 };
        let subnet = format!("+subnet={client}/{width}");
        let printed = self.dig(node, &[ZONE, "A", "+short", &subnet]);
        printed.lines().map(str::to_owned).collect()
    }

    /// Waits until `node` sends `client` to `wanted`, and returns how long it took.
    async fn leads(&self, node: &str, client: &str, wanted: &str) -> Duration {
        let what = format!("{node} leads {client} to {wanted}");
        let wait = wait_until(&what, TTL, async || match self.addresses(node, client) {
            found if found == [public_address(wanted)] => Ok(()),
            found => Err(format!("{found:?}")),
        });
        wait.await.1
    }
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[tokio::test]
async fn dns_directs_each_client_to_its_nearest_node_until_that_drains_or_dies() {
    let mock = Mock::start("near", &[MODEL]).await;
    let steered = Steered::start(&mock).await;
    for (country, client, nearest) in CLIENTS {
        // Whichever server is asked.
        for node in ["sgp", "usa", "eur"] {
            let found = steered.addresses(node, client);
            assert_eq!(
                found,
                [public_address(nearest)],
                "{country} {client} at {node}"
            );
        }
    }

    mock.set(json!({"chunk_interval": "100ms", "chunks": 10_000}))
        .await;
    let mut stream = EventStream::chat(&steered.mesh["sgp"], MODEL, "long").await;
    within("the first event", TTL, stream.next()).await;
    steered.mesh["sgp"].terminate();
    let drained = steered.leads("usa", "165.21.83.88", "eur").await;
    // It still answers, and directs clients away from itself.
    let itself = steered.leads("sgp", "165.21.83.88", "eur").await;

    steered.mesh["eur"].kill();
    let killed = steered.leads("usa", "194.25.0.60", "usa").await;
    steered.leads("usa", "165.21.83.88", "usa").await;
    eprintln!("left out: draining {drained:?} (by itself {itself:?}), killed {killed:?}");

    steered.mesh["eur"].restart().await;
    steered.leads("usa", "194.25.0.60", "eur").await;
}

#[tokio::test]
async fn dns_is_authoritative_for_its_zone_and_nothing_else() {
    let mock = Mock::start("near", &[MODEL]).await;
    let steered = Steered::start(&mock).await;
    let dig = |arguments: &[&str]| steered.dig("usa", arguments);

    let answer = dig(&[ZONE, "A", "+subnet=165.21.83.0/24"]);
    let echoed = "CLIENT-SUBNET: 165.21.83.0/24/24";
    assert_has(
        &answer,
        &["status: NOERROR", " aa", "\t30\tIN\tA\t203.0.113.1", echoed],
    );
    assert!(!answer.contains(" ra"), "{answer}");
    let over_tcp = dig(&[ZONE, "A", "+tcp", "+subnet=165.21.83.0/24"]);
    assert_has(&over_tcp, &["status: NOERROR", "\t30\tIN\tA\t203.0.113.1"]);

    let soa = dig(&[ZONE, "SOA"]);
    let primary = "eur.node.mesh.example. hostmaster.mesh.example. 1 7200 900 1209600 30";
    assert_has(&soa, &["status: NOERROR", " aa", primary]);
    let servers = dig(&[ZONE, "NS"]);
    for node in ["sgp", "usa", "eur"] {
        let name = format!("NS\t{node}.node.mesh.example.");
        let glue = format!("IN\tA\t{}", public_address(node));
        assert_has(&servers, &[name.as_str(), glue.as_str()]);
        let host = format!("{node}.node.{ZONE}");
        assert_eq!(dig(&[&host, "A", "+short"]).trim(), public_address(node));
    }
    assert!(!servers.contains("lab.node"), "{servers}");

    let none = dig(&[ZONE, "TXT"]);
    assert_has(&none, &["status: NOERROR", "ANSWER: 0", "IN\tSOA"]);
    let no_name = dig(&["nothing.mesh.example", "A"]);
    assert_has(&no_name, &["status: NXDOMAIN", " aa", "IN\tSOA"]);
    assert_has(
        &dig(&[ZONE, "ANY", "+notcp"]),
        &["status: REFUSED", "ANSWER: 0"],
    );
    for transfer in ["AXFR", "IXFR=1"] {
        let refused = dig(&[ZONE, transfer]);
        assert!(!refused.contains("IN\tSOA"), "{refused}");
        assert_has(&refused, &["ransfer failed"]);
    }
    for other in ["example.net", "example", "www.example.com"] {
        assert_has(&dig(&[other, "A"]), &["status: REFUSED", "ANSWER: 0"]);
    }
    assert_has(&dig(&["version.bind", "CH", "TXT"]), &["status: REFUSED"]);
    assert_has(&dig(&[ZONE, "SOA", "+opcode=NOTIFY"]), &["status: NOTIMP"]);
    assert_has(
        &dig(&[ZONE, "A", "+edns=1", "+noednsneg"]),
        &["status: BADVERS"],
    );

    let metrics = steered.mesh["usa"].metrics().await;
    for labels in [
        r#"{type="A",code="noerror"}"#,
        r#"{type="ANY",code="refused"}"#,
        r#"{type="AXFR",code="refused"}"#,
        r#"{type="A",code="nxdomain"}"#,
    ] {
        assert_has(&metrics, &[&format!("grapevine_dns_queries_total{labels}")]);
    }

    steered.mesh["usa"].reload(|config| config["dns"]["ttl"] = json!("7s"));
    wait_until("the new TTL", TTL, async || {
        let answer = dig(&[ZONE, "A"]);
        answer.contains("\t7\tIN\tA").then_some(()).ok_or(answer)
    })
    .await;
}

#[tokio::test]
async fn dns_answers_every_question_of_a_load() {
    let mock = Mock::start("near", &[MODEL]).await;
    let steered = Steered::start(&mock).await;
    let questions = steered.mesh.directory().join("questions");
    let lines = format!("{ZONE} A\n{ZONE} AAAA\n{ZONE} SOA\n{ZONE} NS\nsgp.node.{ZONE} A\n");
    must("writing questions", std::fs::write(&questions, lines));
    let port = steered.dns[1].1.port().to_string();
    for transport in ["udp", "tcp"] {
        let mut command = Command::new("dnsperf");
        command.args([
            "-s",
            "127.0.0.1",
            "-p",
            &port,
            "-m",
            transport,
            "-l",
            "2",
            "-e",
        ]);
        // A client in Singapore: family 1, 24 bits, 165.21.83.
        command
            .args(["-E", "8:00011800a51553", "-d"])
            .arg(&questions);
        let output = must("dnsperf, which ./tests/run installs", command.output());
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{report}");
        let line = |name: &str| {
            let mut lines = report.lines();
            let line = lines.find(|line| line.trim_start().starts_with(name));
            line.unwrap_or_else(|| panic!("no {name} in\n{report}"))
                .trim()
                .to_owned()
        };
        eprintln!(
            "{transport}: {}; {}",
            line("Queries completed"),
            line("Queries per second")
        );
        assert!(line("Queries lost").ends_with("0 (0.00%)"), "{report}");
        assert!(line("Response codes").ends_with("(100.00%)"), "{report}");
        assert!(line("Response codes").contains("NOERROR"), "{report}");
    }
}

/// The answer of `node` to a client at `address`, if it trusts its headers.
async fn nearest(node: &Node, address: &str, query: &str) -> Answer {
    let url = format!("{}/mesh/nearest{query}", node.base_url());
    let request = http().get(url).header("x-forwarded-for", address);
    must("asking for the nearest", whole(request).await)
}

fn names(list: &Value) -> Vec<&str> {
    let nodes = list["data"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    nodes
        .iter()
        .filter_map(|node| node["node"].as_str())
        .collect()
}

#[tokio::test]
async fn nearest_lists_ready_nodes_in_order_with_their_addresses_and_figures() {
    let mock = Mock::start("near", &[MODEL]).await;
    let steered = Steered::start(&mock).await;
    let (usa, eur) = (&steered.mesh["usa"], &steered.mesh["eur"]);
    for (country, client, first) in CLIENTS {
        let answer = nearest(usa, client, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let list = answer.json();
        assert_eq!(
            (names(&list).len(), names(&list)[0]),
            (3, first),
            "{country}"
        );
        assert_eq!(list["client"]["country"], country, "{list:#}");
        let node = &list["data"][0];
        assert_eq!(node["url"], format!("https://{first}.api.example"));
        assert_eq!(
            node["addresses"],
            json!([public_address(first), "2001:db8::1"])
        );
        assert_eq!(
            (&node["reason"], &node["region"]),
            (&json!("distance"), &json!(first))
        );
        assert!(
            node["distance_km"].as_f64().is_some_and(|km| km < 9_000.0),
            "{node}"
        );
        assert_eq!(node["upstreams"]["healthy"], 1);
        assert_eq!(
            list["left_out"],
            json!({"without_public_address": 1, "not_allowed": 0})
        );
        assert_eq!(answer.header("x-grapevine-node"), "usa");
    }
    let one = nearest(usa, "8.8.8.8", "?limit=1").await.json();
    assert_eq!(names(&one), ["usa"]);
    let bad = nearest(usa, "8.8.8.8", "?limit=0").await;
    assert_eq!(
        (bad.status, &bad.json()["error"]["param"]),
        (400, &json!("limit"))
    );
    // A client without trusted headers has no location: by round trip, from the node asked.
    let spoofed = nearest(eur, "165.21.83.88", "").await.json();
    assert_eq!(
        (names(&spoofed)[0], &spoofed["client"]["country"]),
        ("eur", &Value::Null)
    );
    assert_eq!(spoofed["data"][0]["reason"], "round-trip");

    let url = format!("{}/mesh/nearest", usa.base_url());
    let head = must("HEAD", whole(http().head(&url)).await);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let posted = must("POST", whole(http().post(&url)).await);
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));

    steered.mesh["sgp"].kill();
    wait_until("sgp to be left out", TTL, async || {
        let list = nearest(usa, "165.21.83.88", "").await.json();
        let is_left_out = names(&list) == ["eur", "usa"];
        is_left_out.then_some(()).ok_or(list.to_string())
    })
    .await;
}

#[tokio::test]
async fn fenced_client_gets_permitted_nodes_only_and_451_without_any() {
    let mock = Mock::start("near", &[MODEL]).await;
    let steered = Steered::start(&mock).await;
    let usa = &steered.mesh["usa"];
    usa.reload(|config| config["residency"] = json!([{"clients": ["EU"], "regions": ["eur"]}]));
    wait_until("the fence", TTL, async || {
        let list = nearest(usa, "194.25.0.60", "").await.json();
        (names(&list) == ["eur"])
            .then_some(())
            .ok_or(list.to_string())
    })
    .await;
    steered.mesh["eur"].kill();
    wait_until("451", TTL, async || {
        let answer = nearest(usa, "194.25.0.60", "").await;
        let code = answer.json()["error"]["code"].clone();
        let is_refused = answer.status == 451 && code == "residency";
        is_refused.then_some(()).ok_or(answer.text())
    })
    .await;
    let singaporean = nearest(usa, "165.21.83.88", "").await.json();
    assert_eq!(names(&singaporean), ["sgp", "usa"]);
    // No answer directs a fenced client outside.
    let failed = steered.dig("usa", &[ZONE, "A", "+subnet=194.25.0.0/24"]);
    assert_has(&failed, &["status: SERVFAIL", "ANSWER: 0", "EDE: 14"]);
}
