//! Where clients are and what follows: which addresses count, what broken databases do, and who is nearest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::load::{Load, failures};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::program::{grapevine, workspace};
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mesh, Mock, Node, wait_until, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(15);

/// Everything in these tests comes from here.
const THIS_MACHINE: &str = "127.0.0.0/8";

const GERMAN: &str = "193.99.144.80";
const AMERICAN: &str = "18.9.22.169";
const BRITISH: &str = "81.2.69.142";

/// An address of each family, and the nearest of the four regions: national networks and universities.
const KNOWN: [(&str, &str, &str); 11] = [
    ("165.21.83.88", "2001:d98::1", "sgp"),  // Singapore
    ("202.188.0.133", "2001:d08::1", "sgp"), // Malaysia
    ("133.11.0.1", "2001:200::1", "jpn"),    // Japan
    ("131.111.8.42", "2001:630::1", "eur"),  // Great Britain
    (GERMAN, "2001:638::1", "eur"),
    ("212.27.48.10", "2a01:e00::1", "eur"), // France
    ("129.132.1.1", "2001:620::1", "eur"),  // Switzerland
    ("132.246.11.1", "2001:410::1", "usa"), // Canada
    (AMERICAN, "2620:0:ccc::2", "usa"),
    ("200.160.2.3", "2804:14c::1", "usa"), // Brazil
    ("139.130.4.5", "2001:388::1", "sgp"), // Australia
];

/// Sends a chat request with `headers`.
async fn ask(node: &Node, headers: &[(&str, &str)]) -> Answer {
    let url = format!("{}/chat/completions", node.base_url());
    let mut request = http().post(url).json(&chat_body(MODEL, "where am I?"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    whole(request).await.expect("a whole answer")
}

/// The plan for a request with `headers`.
async fn dry_run(node: &Node, headers: &[(&str, &str)]) -> Value {
    let dry = [("x-grapevine-dry-run", "true")];
    ask(node, &[&dry[..], headers].concat()).await.json()
}

/// The plan for a client at `address`, as explained to the operator.
async fn explained(node: &Node, address: &str) -> Value {
    let path = format!("/explain?client={address}&model={MODEL}");
    node.admin(&path).await.json()
}

/// The record of `node` for the request that `answer` ended: it appears a moment later.
async fn record_of(node: &Node, answer: &Answer) -> Value {
    let id = answer.header("x-request-id");
    let found = wait_until("the request's record", LIMIT, async || {
        let list = node.requests().await;
        let all = list["requests"].as_array().cloned().unwrap_or_default();
        let mut mine = all.into_iter().filter(|record| record["id"] == id);
        mine.next().ok_or_else(|| list.to_string())
    });
    found.await.0
}

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(grapevine())
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fixture(name: &str) -> PathBuf {
    workspace().join("node/geo/tests/geo").join(name)
}

fn at(node: NodeBuilder, lat: f64, lon: f64) -> NodeBuilder {
    node.config("node.location", json!({"lat": lat, "lon": lon}))
        .config("routing.strategy", json!("geo"))
}

/// Nodes of four regions, each with its mock; all trust this machine's headers about clients.
async fn four_regions(mocks: &[Mock; 4]) -> Mesh {
    let [sgp, jpn, usa, eur] = mocks;
    let trusting = |node: NodeBuilder| node.config("trusted_proxies", json!([THIS_MACHINE]));
    Mesh::builder()
        .node("sgp", |node| trusting(at(node, 1.35, 103.82)).upstream(sgp))
        .node("jpn", |node| {
            trusting(at(node, 35.68, 139.69)).upstream(jpn)
        })
        .node("usa", |node| {
            trusting(at(node, 39.04, -77.49)).upstream(usa)
        })
        .node("eur", |node| trusting(at(node, 50.11, 8.68)).upstream(eur))
        .start()
        .await
}

async fn four_mocks() -> [Mock; 4] {
    [
        Mock::start("sgp-mock", &[MODEL]).await,
        Mock::start("jpn-mock", &[MODEL]).await,
        Mock::start("usa-mock", &[MODEL]).await,
        Mock::start("eur-mock", &[MODEL]).await,
    ]
}

#[tokio::test]
async fn an_untrusted_peers_claim_of_an_address_has_no_effect() {
    let (usa, eur) = (
        Mock::start("usa-mock", &[MODEL]).await,
        Mock::start("eur-mock", &[MODEL]).await,
    );
    // Clients that are or may be in the EU stay there; one that claims to be elsewhere would be free.
    let rules = json!([{"clients": ["EU"], "regions": ["eur"]}]);
    let mesh = Mesh::builder()
        .node("strict", |node| {
            node.region("usa")
                .config("residency", rules.clone())
                .upstream(&usa)
        })
        .node("trusting", |node| {
            node.region("usa")
                .config("residency", rules.clone())
                .config("trusted_proxies", json!([THIS_MACHINE]))
        })
        .node("eur", |node| node.upstream(&eur))
        .start()
        .await;
    let claims = |address: &'static str| {
        let forwarded = if address == GERMAN {
            "for=193.99.144.80"
        } else {
            "for=18.9.22.169"
        };
        [
            vec![("x-forwarded-for", address)],
            vec![("forwarded", forwarded)],
            vec![("x-forwarded-for", address), ("forwarded", forwarded)],
        ]
    };
    let outcome = async |node: &Node, headers: &[(&'static str, &'static str)]| {
        let shown = dry_run(node, headers).await;
        let answer = ask(node, headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let region = answer.header("x-grapevine-region").to_owned();
        let record = record_of(node, &answer).await;
        (
            shown["client"]["area"].clone(),
            region,
            record["residency"].clone(),
        )
    };
    let fenced = json!("residency[0]");
    for headers in claims(AMERICAN) {
        let strict = outcome(&mesh["strict"], &headers).await;
        assert_eq!(strict, (Value::Null, "eur".to_owned(), fenced.clone()));
        let (area, region, rules) = outcome(&mesh["trusting"], &headers).await;
        assert_eq!((area, rules), (json!("US"), Value::Null));
        assert!(["usa", "eur"].contains(&region.as_str()), "{region}");
    }
    for headers in claims(GERMAN) {
        let strict = outcome(&mesh["strict"], &headers).await;
        assert_eq!(strict, (Value::Null, "eur".to_owned(), fenced.clone()));
        let trusting = outcome(&mesh["trusting"], &headers).await;
        assert_eq!(trusting, (json!("DE"), "eur".to_owned(), fenced.clone()));
    }
    let without = outcome(&mesh["strict"], &[]).await;
    assert_eq!(without, (Value::Null, "eur".to_owned(), fenced));
}

/// Sends a dry run after `preface` on a bare connection, and returns what comes.
async fn dry_run_after(address: SocketAddr, preface: &[u8], headers: &str) -> String {
    let body = chat_body(MODEL, "where am I?").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-grapevine-dry-run: true\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    within("an answer", LIMIT, async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let all = [preface, request.as_bytes()].concat();
        stream.write_all(&all).await.expect("sent");
        let mut answer = Vec::new();
        // A connection that is closed with bytes unread is reset: what came before counts.
        drop(stream.read_to_end(&mut answer).await);
        text(&answer)
    })
    .await
}

/// The client's country, by a dry run's answer.
fn area(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let plan: Value = serde_json::from_str(body).expect("a plan");
    plan["client"]["area"].clone()
}

#[tokio::test]
async fn a_balancers_proxy_header_names_the_client() {
    let mock = Mock::start("mock", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("usa", |node| {
            node.config("proxy_protocol", json!("required"))
                .config("trusted_proxies", json!([THIS_MACHINE, "10.0.0.0/8"]))
                .upstream(&mock)
        })
        .launch()
        .await;
    let node = &mesh["usa"];
    // The public port's health is behind the header too; the admin port's is not.
    node.wait_until_ready().await;
    node.wait_for_view("the mock", LIMIT, |view| {
        view.upstream("usa", "mock").is_some()
    })
    .await;
    let address = node.addresses().public;
    let v1 = format!("PROXY TCP4 {GERMAN} 10.0.0.1 40000 8080\r\n");
    assert_eq!(area(&dry_run_after(address, v1.as_bytes(), "").await), "DE");
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([193, 99, 144, 80, 10, 0, 0, 1, 0x9c, 0x40, 0x1f, 0x90]);
    assert_eq!(area(&dry_run_after(address, &v2, "").await), "DE");
    // An HTTP header counts only where the address of the PROXY header is a trusted proxy too.
    let claim = format!("x-forwarded-for: {AMERICAN}\r\n");
    let inner = b"PROXY TCP4 10.0.0.9 10.0.0.1 40000 8080\r\n";
    assert_eq!(area(&dry_run_after(address, inner, &claim).await), "US");
    let spoofed = dry_run_after(address, v1.as_bytes(), &claim).await;
    assert_eq!(area(&spoofed), "DE");
    // The balancer itself is this machine, which is nowhere.
    let own = dry_run_after(address, b"PROXY UNKNOWN\r\n", "").await;
    assert_eq!(area(&own), Value::Null);

    assert_eq!(dry_run_after(address, b"", "").await, "");
    let metrics = node.metrics().await;
    let lost = "grapevine_lost_total{kind=\"unintroduced\"} 1";
    assert!(metrics.lines().any(|line| line == lost), "{metrics}");
    // Both keys change while the node runs.
    node.reload(|config| config["proxy_protocol"] = json!("off"));
    wait_until("the new configuration", LIMIT, async || {
        let answer = dry_run_after(address, b"", "").await;
        answer
            .starts_with("HTTP/1.1 200 ")
            .then_some(())
            .ok_or(answer)
    })
    .await;
    let answer = dry_run_after(address, v1.as_bytes(), "").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// Files that are no location databases, each with a part of the complaint.
fn broken_databases(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let good = std::fs::read(fixture("city-nested.mmdb")).expect("a fixture");
    let word = b"iso_code";
    let position = good.windows(word.len()).position(|part| part == word);
    let mut corrupt = good.clone();
    corrupt[position.expect("a record") - 1..][..100].fill(0xff);
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let cut = "only the start of one";
    vec![
        (write("corrupt.mmdb", &corrupt), "is damaged"),
        (write("truncated.mmdb", &good[..good.len() / 2]), cut),
        (write("page.mmdb", b"<html>404 not found</html>"), cut),
        (write("empty.mmdb", b""), cut),
        (fixture("asn.mmdb"), "without countries or coordinates"),
        (folder.join("absent.mmdb"), "cannot be read"),
    ]
}

#[test]
fn a_broken_database_is_refused_with_its_key_path_and_remedy() {
    let scratch = Scratch::new("databases");
    for (path, complaint) in broken_databases(scratch.path()) {
        let config = scratch.path().join("node.yaml");
        let written = json!({
            "listen": "127.0.0.1:0",
            "geo": {"database": path},
            "upstreams": [{"name": "a", "base_url": "http://127.0.0.1:1/v1"}],
        });
        std::fs::write(&config, written.to_string()).unwrap();
        let config = config.display().to_string();
        for command in ["check", "node"] {
            let output = run(&[command, "-c", &config]);
            let printed = text(&output.stdout) + &text(&output.stderr);
            assert!(!output.status.success(), "{command}: {printed}");
            let path = path.display().to_string();
            for wanted in ["geo.database", &path, complaint, "; "] {
                assert!(
                    printed.contains(wanted),
                    "{command} without {wanted}: {printed}"
                );
            }
        }
        let output = run(&["check", "--json", "-c", &config]);
        assert!(!output.status.success());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["problems"][0]["key"], "geo.database");
    }
}

#[tokio::test]
async fn a_broken_new_database_changes_nothing_and_harms_no_request() {
    let scratch = Scratch::new("reload");
    let live = scratch.path().join("live.mmdb");
    let put = |source: &Path| {
        // As a careful operator does it: the file is never incomplete.
        let next = scratch.path().join("next");
        std::fs::copy(source, &next).unwrap();
        std::fs::rename(&next, &live).unwrap();
    };
    put(&fixture("country-v4.mmdb"));
    let mock = Mock::start("mock", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("usa", |node| {
            node.config("geo.database", json!(live)).upstream(&mock)
        })
        .start()
        .await;
    let node = &mesh["usa"];
    // Only this database has no v6, and only that one has coordinates of a city.
    let british = async |address| explained(node, address).await["client"]["area"].clone();
    assert_eq!(british(BRITISH).await, "GB");
    assert_eq!(british("2001:218::1").await, Value::Null);
    let load = Load::start(node, 4, MODEL);
    let refused = |log: &str| log.matches("the old one stays in use").count();
    for (path, complaint) in broken_databases(scratch.path()) {
        let before = refused(&node.log());
        if complaint == "cannot be read" {
            std::fs::remove_file(&live).unwrap();
        } else {
            put(&path);
        }
        wait_until("a complaint about the file", LIMIT, async || {
            (refused(&node.log()) > before)
                .then_some(())
                .ok_or_else(|| "none yet".to_owned())
        })
        .await;
        let log = node.log();
        let logged = log
            .lines()
            .rfind(|line| refused(line) > 0)
            .unwrap_or_default();
        let path = live.display().to_string();
        for wanted in ["ERROR", "geo.database", &path, complaint] {
            assert!(logged.contains(wanted), "without {wanted}: {logged}");
        }
        assert_eq!(british(BRITISH).await, "GB");
    }
    put(&fixture("city-flat.mmdb"));
    wait_until("the good database", LIMIT, async || {
        let area = british("2001:218::1").await;
        (area == "JP").then_some(()).ok_or_else(|| area.to_string())
    })
    .await;
    let samples = load.finish().await;
    assert_eq!(failures(&samples), Vec::<String>::new());
    assert!(samples.len() > 20, "{} requests", samples.len());
}

#[tokio::test]
async fn known_addresses_of_ten_countries_go_to_the_right_region() {
    let mocks = four_mocks().await;
    let mesh = four_regions(&mocks).await;
    let node = &mesh["sgp"];
    for database in [None, Some("city-nested.mmdb"), Some("city-flat.mmdb")] {
        if let Some(name) = database {
            let reloads = node.log().matches("configuration reloaded").count();
            node.reload(|config| config["geo"] = json!({"database": fixture(name)}));
            wait_until("the new configuration", LIMIT, async || {
                let log = node.log();
                (log.matches("configuration reloaded").count() > reloads)
                    .then_some(())
                    .ok_or_else(|| "not yet".to_owned())
            })
            .await;
        }
        for (v4, v6, region) in KNOWN {
            for address in [v4, v6, &format!("::ffff:{v4}")] {
                let forwarded = format!("for=\"[{address}]\"");
                let header = match address.contains(':') {
                    true => ("forwarded", forwarded.as_str()),
                    false => ("x-forwarded-for", address),
                };
                let plan = dry_run(node, &[header]).await;
                let first = &plan["choices"][0];
                assert_eq!(first["region"], region, "{database:?} {address}: {plan:#}");
                assert_eq!(first["reason"], "nearest");
                let plan = explained(node, address).await;
                assert_eq!(plan["choices"][0]["region"], region, "{address}: {plan:#}");
            }
        }
    }
    // The plan is what happens.
    for (address, _, region) in KNOWN {
        let answer = ask(node, &[("x-forwarded-for", address)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-grapevine-region"), region, "{address}");
    }
}

#[tokio::test]
async fn a_node_without_the_rules_is_no_way_around_them_and_the_refusal_is_counted() {
    let sgp = Mock::start("sgp-mock", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("older", |node| {
            node.config("trusted_proxies", json!([THIS_MACHINE]))
        })
        .node("sgp", |node| {
            let rules = json!([{"clients": ["EU"], "regions": ["eur"]}]);
            node.config("residency", rules).upstream(&sgp)
        })
        .start()
        .await;
    let answer = ask(&mesh["older"], &[("x-forwarded-for", GERMAN)]).await;
    assert_eq!(answer.status, 451, "{}", answer.text());
    let asked = sgp.stats().await["by_path"]["/v1/chat/completions"].clone();
    assert_eq!(asked, Value::Null);
    let answer = ask(&mesh["older"], &[("x-forwarded-for", AMERICAN)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // The entry node refuses once it has received the rules, the serving node until then.
    let counted = async |node: &str, kind: &str| {
        let line = format!("grapevine_residency_total{{kind=\"{kind}\"}} 1");
        let metrics = mesh[node].metrics().await;
        usize::from(metrics.lines().any(|it| it == line))
    };
    // Records are counted some time after their answers.
    wait_until("a refusal that is counted", LIMIT, async || {
        let refusals = counted("older", "refused").await + counted("sgp", "refused-to-peer").await;
        (refusals >= 1).then_some(()).ok_or("nobody did".to_owned())
    })
    .await;
}

#[tokio::test]
async fn explain_prints_every_candidate_and_why_it_stands_where_it_does() {
    let (usa, spare, eur) = (
        Mock::start("usa-mock", &[MODEL]).await,
        Mock::start("spare", &[MODEL]).await,
        Mock::start("eur-mock", &[MODEL]).await,
    );
    let mesh = Mesh::builder()
        .node("usa", |node| {
            at(node, 39.04, -77.49)
                .config(
                    "residency",
                    json!([{"clients": ["DE"], "regions": ["eur"]}]),
                )
                .upstream(&usa)
                .upstream(&spare)
        })
        .node("eur", |node| at(node, 50.11, 8.68).upstream(&eur))
        .start()
        .await;
    spare.kill();
    mesh["usa"]
        .wait_for_view("the spare's end", LIMIT, |view| {
            view.upstream("usa", "spare")
                .is_some_and(|it| it["state"] == "ejected")
        })
        .await;
    let admin = format!("http://{}", mesh["usa"].addresses().admin);
    let explain = |more: &[&str]| {
        let output = run(&[&["explain", "--admin", &admin], more].concat());
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let line = |printed: &str, name: &str| {
        let found = printed.lines().rfind(|line| line.contains(name));
        found.unwrap_or_default().to_owned()
    };

    let (is_good, printed, _) = explain(&["--client", AMERICAN, "--model", MODEL]);
    assert!(
        is_good && printed.contains("no rule concerns it"),
        "{printed}"
    );
    assert!(printed.contains(&format!("{AMERICAN}, US")), "{printed}");
    assert!(line(&printed, "usa-mock ").starts_with('1'), "{printed}");
    assert!(
        line(&printed, "usa-mock ").ends_with("nearest"),
        "{printed}"
    );
    assert!(
        line(&printed, "eur-mock").ends_with("fallback"),
        "{printed}"
    );
    // Between two checks a probe may find it healthy again.
    let spared = line(&printed, "  spare ");
    assert!(
        spared.starts_with('-') && spared.contains("left out: "),
        "{printed}"
    );

    let (is_good, printed, _) = explain(&["--client", GERMAN, "--model", MODEL]);
    assert!(
        is_good && printed.contains("residency[0] permit eur only"),
        "{printed}"
    );
    assert!(line(&printed, "eur-mock").ends_with("only"), "{printed}");
    for name in ["usa-mock", "spare"] {
        assert!(
            line(&printed, name).ends_with("left out: residency"),
            "{printed}"
        );
    }
    let question = ["--client", GERMAN, "--model", MODEL];
    let (is_good, printed, _) = explain(&[&question[..], &["--json"]].concat());
    let plan: Value = serde_json::from_str(&printed).unwrap();
    assert!(
        is_good && plan["left_out"].as_array().map(Vec::len) == Some(2),
        "{plan:#}"
    );

    let (is_good, _, complaint) = explain(&["--client", GERMAN, "--model", "gtp-4o"]);
    assert!(
        !is_good && complaint.contains("similar names: gpt-4o"),
        "{complaint}"
    );
    let (is_good, _, complaint) = explain(&[&question[..], &["--key", "app"]].concat());
    assert!(
        !is_good && complaint.contains("no key is called 'app'"),
        "{complaint}"
    );
    mesh["usa"].kill();
    let (is_good, _, complaint) = explain(&question);
    assert!(
        !is_good && complaint.contains("no node answers at"),
        "{complaint}"
    );
    assert!(complaint.contains("--admin"), "{complaint}");
}

#[tokio::test]
async fn clients_go_to_the_mapped_region_and_to_the_next_nearest_while_that_is_down() {
    let mocks = four_mocks().await;
    let map = json!([
        {"countries": ["SG", "MY", "JP", "KR"], "region": "sgp"},
        {"countries": ["US", "CA"], "region": "usa"},
        {"countries": ["DE", "FR"], "region": "eur"},
    ]);
    let mapped = |node: NodeBuilder| {
        node.config("trusted_proxies", json!([THIS_MACHINE]))
            .config("geo.map", map.clone())
    };
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            mapped(at(node, 1.35, 103.82)).upstream(&mocks[0])
        })
        .node("usa", |node| {
            mapped(at(node, 39.04, -77.49)).upstream(&mocks[2])
        })
        .node("eur", |node| {
            mapped(at(node, 50.11, 8.68)).upstream(&mocks[3])
        })
        .start()
        .await;
    let region_of = async |entry: &str, address: &str| {
        let answer = ask(&mesh[entry], &[("x-forwarded-for", address)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-grapevine-region").to_owned()
    };
    // Singapore, Malaysia, Japan, the US, Canada, Germany, France.
    let clients = [
        KNOWN[0], KNOWN[1], KNOWN[2], KNOWN[8], KNOWN[7], KNOWN[4], KNOWN[5],
    ];
    let homes = ["sgp", "sgp", "sgp", "usa", "usa", "eur", "eur"];
    for entry in ["sgp", "usa", "eur"] {
        for ((address, _, _), home) in clients.iter().zip(homes) {
            assert_eq!(
                region_of(entry, address).await,
                home,
                "{address} at {entry}"
            );
        }
        // An address of no country: the nearest node by round trip, which is the entry itself.
        assert_eq!(region_of(entry, "192.0.2.1").await, entry);
    }
    for (down, entry, next) in [
        ("eur", "sgp", "usa"),
        ("sgp", "usa", "eur"),
        ("usa", "sgp", "eur"),
    ] {
        mesh[down].kill();
        mesh[entry]
            .wait_for_view("the region's end", LIMIT, |view| !view.is_reachable(down))
            .await;
        for ((address, _, _), home) in clients.iter().zip(homes) {
            let expected = if home == down { next } else { home };
            let region = region_of(entry, address).await;
            assert_eq!(region, expected, "{address} without {down}");
        }
        mesh[down].restart().await;
        mesh.wait_until_converged().await;
    }
}
