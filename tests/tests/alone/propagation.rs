//! That a failure reaches every node, and that healthy nodes are not considered dead. How fast is printed
//! here, and measured in `sim/report`, where no other process takes time.

use std::time::{Duration, Instant};

use grapevine_tests::client::{chat, chat_body, http, try_get, try_post};
use grapevine_tests::load::{Load, failures};
use grapevine_tests::quiet::{alone, beside_others};
use grapevine_tests::view::MeshView;
use grapevine_tests::wait::must;
use grapevine_tests::watch::Watch;
use grapevine_tests::{Mesh, Mock, wait_until};
use serde_json::json;

const MODEL: &str = "gpt-4o";
const CHAT: &str = "/v1/chat/completions";
const NODES: [&str; 5] = ["sgp", "jpn", "usa", "eur", "bra"];
const LIMIT: Duration = Duration::from_secs(20);

/// Ejections, one after the other.
const ROUNDS: usize = 3;

/// The pause between two checks of an idle mesh.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[tokio::test]
async fn an_ejection_is_in_every_nodes_view() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let health =
        json!({"failure_threshold": 1, "cooldown": "1s", "cooldown_max": "1s", "probe": "models"});
    let mut builder = Mesh::builder().node("sgp", |node| {
        node.upstream_with(&mock, json!({"max_retries": 1, "health": health}))
    });
    for name in &NODES[1..] {
        builder = builder.node(name, |node| node);
    }
    let mesh = builder.start().await;
    let (client, url) = (
        http(),
        format!("{}/chat/completions", mesh["sgp"].base_url()),
    );
    let mut slowest = Vec::new();
    for _ in 0..ROUNDS {
        for node in mesh.nodes() {
            let healthy = "the upstream healthy";
            node.wait_for_view(healthy, LIMIT, |view| {
                view.state("sgp", "near") == "healthy"
            })
            .await;
        }
        // The request makes it suspect, and the probe that follows at once confirms it.
        mock.set(json!({"error_rate": 1.0, "fail_models_probe": true}))
            .await;
        let watch = Watch::start(mesh.nodes(), |view| view.state("sgp", "near") == "ejected");
        // The time of several checks, so that opening connections is not measured.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let start = Instant::now();
        let answer = try_post(&client, &url, &chat_body(MODEL, "hello")).await;
        assert_eq!(answer.unwrap().status, 500);
        slowest.push(watch.finish(start, LIMIT).await);
        mock.set(json!({"error_rate": 0.0, "fail_models_probe": false}))
            .await;
    }
    eprintln!("ejection seen after {slowest:?}");
    assert!(slowest.iter().all(|seen| seen.len() == NODES.len()));
}

#[tokio::test]
async fn a_killed_node_is_gone_from_every_view_and_gets_no_request_from_then_on() {
    let _room = alone().await;
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    for mock in [&near, &far] {
        mock.set(json!({"latency": "50ms"})).await;
    }
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| {
            node.upstream_with(&near, json!({"priority": 1}))
        })
        .node("usa", |node| {
            node.upstream_with(&far, json!({"priority": 2}))
        })
        .node("eur", |node| node)
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], 8, MODEL);
    near.wait_for_count("completed", 50, LIMIT).await;
    let survivors = mesh.nodes().iter().filter(|node| node.name() != "jpn");
    let watch = Watch::start(survivors, |view| !view.is_live("jpn"));

    let start = Instant::now();
    mesh["jpn"].kill();
    let seen = watch.finish(start, LIMIT).await;
    let gone = load.elapsed();
    let before = far.count("completed").await;
    far.wait_for_count("completed", before + 50, LIMIT).await;
    let samples = load.finish().await;
    eprintln!("death seen after {seen:?}");

    assert_eq!(failures(&samples), Vec::<String>::new());
    let late = samples.iter().filter(|sample| sample.sent >= gone);
    let (mut sent, mut astray) = (0, Vec::new());
    for sample in late {
        sent += 1;
        let route = (
            sample.header("x-grapevine-node"),
            sample.header("x-grapevine-attempts"),
        );
        if route != ("usa", "1") {
            astray.push(format!("{sample:?}"));
        }
    }
    assert!(sent >= 20, "only {sent} requests after it was gone");
    assert_eq!(
        astray,
        Vec::<String>::new(),
        "of {sent} requests after it was gone"
    );
}

#[tokio::test]
async fn in_an_idle_mesh_nobody_is_taken_for_dead_within_20_seconds() {
    let _room = beside_others().await;
    nobody_dies(Duration::from_secs(20)).await;
}

#[tokio::test]
#[ignore = "takes ten minutes; CONTRIBUTING.md has its command"]
async fn in_an_idle_mesh_nobody_is_taken_for_dead_within_10_minutes() {
    nobody_dies(Duration::from_secs(600)).await;
}

async fn nobody_dies(span: Duration) {
    let mut builder = Mesh::builder();
    for name in NODES {
        builder = builder.node(name, |node| node);
    }
    let mesh = builder.start().await;
    let (start, client) = (Instant::now(), http());
    let (mut looks, mut last_look, mut longest_pause) = (0, start, Duration::ZERO);
    while start.elapsed() < span {
        // A machine that stops for longer than the detectors wait kills nodes truly.
        longest_pause = longest_pause.max(last_look.elapsed());
        last_look = Instant::now();
        for node in mesh.nodes() {
            let url = format!("http://{}/mesh", node.addresses().admin);
            let view = MeshView(must(&url, try_get(&client, &url).await).json());
            for name in NODES {
                let (live, phase) = (view.is_live(name), view.phase(name));
                assert!(
                    live && phase == "ready",
                    "after {:?}, the longest pause of the test itself being {longest_pause:?}, {} saw {name} as {:#}",
                    start.elapsed(),
                    node.name(),
                    view.0
                );
            }
            looks += 1;
        }
        tokio::time::sleep(IDLE_LOOK_INTERVAL).await;
    }
    assert!(looks >= span.as_secs(), "only {looks} looks");
}

#[tokio::test]
async fn a_node_that_restarts_under_the_same_name_rejoins_and_serves() {
    let _room = alone().await;
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| node.upstream(&mock))
        .start()
        .await;
    assert_eq!(chat(&mesh["sgp"], MODEL, "before").await.status, 200);

    for round in 0..2 {
        mesh["jpn"].restart().await;
        let before = mock.stats().await["by_path"][CHAT].as_u64();
        let served = wait_until("the first answer after a restart", LIMIT, async || {
            let answer = chat(&mesh["sgp"], MODEL, "after").await;
            match answer.status {
                200 => Ok(answer),
                status => Err(format!("{status} {}", answer.text())),
            }
        });
        let (answer, after) = served.await;
        eprintln!("served {after:?} after restart {round}");
        assert_eq!(answer.header("x-grapevine-node"), "jpn");
        mesh.wait_until_converged().await;
        for _ in 0..20 {
            let answer = chat(&mesh["sgp"], MODEL, "after").await;
            assert_eq!(
                (answer.status, answer.header("x-grapevine-attempts")),
                (200, "1"),
                "{}; {:#}",
                answer.text(),
                mesh["sgp"].requests().await["requests"][0]
            );
        }
        assert!(mock.stats().await["by_path"][CHAT].as_u64() >= before.map(|count| count + 21));
    }
}
