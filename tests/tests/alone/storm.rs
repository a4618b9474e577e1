//! A region dies, and its clients arrive at the next one all at once.
//!
//! Until the survivor notices that the dead node is silent it prefers it, so everything that arrives within that
//! half second is lost there first. No request may be refused for it while an upstream can serve: what reached nobody
//! costs no retry, however long the way was and however idle the survivor.

use std::time::Duration;

use grapevine_tests::client::{chat_body, http, try_post};
use grapevine_tests::network::Link;
use grapevine_tests::quiet::alone;
use grapevine_tests::view::MeshView;
use grapevine_tests::{Mesh, Mock};
use serde_json::json;
use tokio::task::JoinSet;

const MODEL: &str = "gpt-4o";

/// The largest step of a datagram's delay: well below the 500 ms that count as silence.
const STEP: Duration = Duration::from_millis(200);

/// Longer than anything here takes: anything that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_region_are_all_served_by_the_next_one() {
    let _room = alone().await;
    for (delay, clients) in [(50, 300), (300, 300), (1_000, 300), (50, 1_500)] {
        storm(Duration::from_millis(delay), clients).await;
    }
}

/// Kills the node of the preferred upstream, `delay` away, and sends a request of each client at once.
async fn storm(delay: Duration, clients: usize) {
    let near = Mock::start("near", &[MODEL]).await;
    let spare = Mock::start("spare", &[MODEL]).await;
    let upstream = |priority: u32| json!({"priority": priority, "max_in_flight": 4_096});
    let mesh = Mesh::builder()
        .node("jpn", |node| node.upstream_with(&near, upstream(1)))
        .node("sgp", |node| node.upstream_with(&spare, upstream(2)))
        .behind_network()
        .start()
        .await;
    move_away(&mesh, delay).await;
    let url = format!("{}/chat/completions", mesh["sgp"].base_url());
    let (client, body) = (http(), chat_body(MODEL, "hello"));
    let first = try_post(&client, &url, &body).await.expect("an answer");
    assert_eq!(first.header("x-grapevine-node"), "jpn");

    mesh["jpn"].kill();
    let mut storm = JoinSet::new();
    for _ in 0..clients {
        let (client, url, body) = (client.clone(), url.clone(), body.clone());
        storm.spawn(async move { try_post(&client, &url, &body).await });
    }
    let mut moved = 0;
    for answered in storm.join_all().await {
        let answer = answered.expect("an answer");
        let what = format!("{clients} clients, {delay:?} away: {}", answer.text());
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.header("x-grapevine-node"), "sgp", "{what}");
        moved += usize::from(answer.header("x-grapevine-attempts") != "1");
    }
    // More than an idle node has saved retries for, or nothing was shown.
    assert!(moved > 200, "only {moved} of {clients} met the dead node");
}

/// Puts `delay` between the two nodes, in steps shorter than a silence: nothing arrives during each.
async fn move_away(mesh: &Mesh, delay: Duration) {
    let mut before = Duration::ZERO;
    while before < delay {
        let next = delay.min(before + STEP);
        let link = Link {
            delay: next,
            ..Link::default()
        };
        mesh.network().set("jpn", "sgp", link);
        // One measured round trip shows that something has arrived; the last distance must be measured well.
        let known = if next < delay {
            before * 2 + STEP / 10
        } else {
            next.mul_f64(1.9)
        };
        for (node, peer) in [("sgp", "jpn"), ("jpn", "sgp")] {
            let is_away = |view: &MeshView| {
                view.rtt(peer).is_some_and(|rtt| rtt >= known) && view.is_reachable(peer)
            };
            mesh[node].wait_for_view("the delay", LIMIT, is_away).await;
        }
        before = next;
    }
}
