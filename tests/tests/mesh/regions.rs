//! Which region answers whom, under the `geo` strategy: the operator's map first, then distance; and with a
//! region down the next nearest, from whatever node a request enters.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node};
use serde_json::json;

const MODEL: &str = "gpt-4o";

/// How long the mesh may take to agree that something is down or back.
const NOTICE_LIMIT: Duration = Duration::from_secs(20);

/// The regions with their locations.
const REGIONS: [(&str, f64, f64); 3] = [
    ("sgp", 1.35, 103.82),
    ("usa", 39.04, -77.49),
    ("eur", 50.11, 8.68),
];

/// A client: its country, an address there, its region, why, and where it goes when that is down.
struct Client {
    country: &'static str,
    address: &'static str,
    region: &'static str,
    reason: &'static str,
    next: &'static str,
}

const fn client(
    country: &'static str,
    address: &'static str,
    region: &'static str,
    reason: &'static str,
    next: &'static str,
) -> Client {
    Client {
        country,
        address,
        region,
        reason,
        next,
    }
}

const CLIENTS: [Client; 9] = [
    client("SG", "165.21.83.88", "sgp", "mapped", "eur"),
    client("SG", "2001:d98::1", "sgp", "mapped", "eur"),
    client("MY", "202.188.0.133", "sgp", "mapped", "eur"),
    client("JP", "133.11.0.1", "sgp", "nearest", "eur"),
    client("US", "18.9.22.169", "usa", "mapped", "eur"),
    client("CA", "132.246.11.1", "usa", "mapped", "eur"),
    client("DE", "193.99.144.80", "eur", "mapped", "usa"),
    client("FR", "::ffff:212.27.48.10", "eur", "mapped", "usa"),
    client("FR", "212.27.48.10", "eur", "mapped", "usa"),
];

/// In no country: kept for documentation (RFC 5737).
const UNKNOWN: &str = "192.0.2.1";

#[tokio::test]
async fn each_client_goes_to_its_mapped_region_and_to_the_next_nearest_while_that_upstream_is_down()
{
    let (mesh, mocks) = mesh().await;
    expect_all(&mesh, None).await;
    for mock in &mocks {
        let down = mock.name();
        mock.kill();
        // At once, by falling back; and when everybody knows.
        expect_all(&mesh, Some(down)).await;
        see(
            &mesh,
            "an upstream that is down",
            |state| state != "healthy",
            down,
        )
        .await;
        expect_all(&mesh, Some(down)).await;
        mock.restart().await;
        see(
            &mesh,
            "an upstream that is back",
            |state| state == "healthy",
            down,
        )
        .await;
        expect_all(&mesh, None).await;
    }
}

#[tokio::test]
async fn each_client_goes_to_the_next_nearest_while_its_regions_node_is_dead() {
    let (mesh, _mocks) = mesh().await;
    for (down, ..) in REGIONS {
        mesh[down].kill();
        expect_all(&mesh, Some(down)).await;
        for entry in running(&mesh) {
            let what = format!("{down} unreachable");
            let wait = entry.wait_for_view(&what, NOTICE_LIMIT, |view| !view.is_reachable(down));
            wait.await;
        }
        expect_all(&mesh, Some(down)).await;
        mesh[down].restart().await;
        mesh.wait_until_converged().await;
        expect_all(&mesh, None).await;
    }
}

async fn mesh() -> (Mesh, Vec<Mock>) {
    let mut mocks = Vec::new();
    let mut builder = Mesh::builder();
    for (region, lat, lon) in REGIONS {
        let mock = Mock::start(region, &[MODEL]).await;
        builder = builder.node(region, |node| {
            node.upstream(&mock)
                .config("node.location", json!({"lat": lat, "lon": lon}))
                .config("trusted_proxies", json!(["127.0.0.0/8"]))
                .config("routing.strategy", json!("geo"))
                .config(
                    "geo.map",
                    json!([
                        {"countries": ["SG", "MY"], "region": "sgp"},
                        {"countries": ["US", "CA"], "region": "usa"},
                        {"countries": ["DE", "FR"], "region": "eur"},
                    ]),
                )
        });
        mocks.push(mock);
    }
    (builder.start().await, mocks)
}

fn running(mesh: &Mesh) -> impl Iterator<Item = &Node> {
    mesh.nodes().iter().filter(|node| node.id().is_some())
}

async fn see(mesh: &Mesh, what: &str, wanted: impl Fn(&str) -> bool, region: &str) {
    for entry in running(mesh) {
        let wait = entry.wait_for_view(what, NOTICE_LIMIT, |view| {
            wanted(&view.state(region, region))
        });
        wait.await;
    }
}

/// Sends every client's request to every running node, with the region `down` failed.
async fn expect_all(mesh: &Mesh, down: Option<&str>) {
    for entry in running(mesh) {
        for client in &CLIENTS {
            let answer = ask(entry, client.address).await;
            let is_down = down == Some(client.region);
            let expected = if is_down { client.next } else { client.region };
            let seen = (answer.status, answer.header("x-grapevine-region"));
            let Client {
                country, address, ..
            } = client;
            assert_eq!(
                seen,
                (200, expected),
                "{country} {address} at {} with {down:?} down: {answer:?}",
                entry.name()
            );
            if down.is_none() {
                assert_eq!(answer.header("x-grapevine-reason"), client.reason);
            }
        }
        let answer = ask(entry, UNKNOWN).await;
        let region = answer.header("x-grapevine-region");
        assert_eq!(answer.status, 200, "{answer:?}");
        match down == Some(entry.name()) {
            true => assert_ne!(Some(region), down),
            false => assert_eq!(region, entry.name(), "not the nearest to the node"),
        }
    }
}

async fn ask(entry: &Node, address: &str) -> Answer {
    let request = http()
        .post(format!("{}/chat/completions", entry.base_url()))
        .header("x-forwarded-for", address)
        .json(&chat_body(MODEL, "where am I?"));
    must("a chat", whole(request).await)
}
