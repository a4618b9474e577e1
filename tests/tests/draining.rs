//! SIGTERM: no new work, no lost work, an end in time.

use std::time::{Duration, Instant};

use grapevine_tests::client::{EventStream, Next, chat_body, http, try_post};
use grapevine_tests::load::{Load, failures};
use grapevine_tests::watch::Watch;
use grapevine_tests::{Mesh, Mock, Node, within};
use serde_json::json;

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_draining_node_is_not_ready_finishes_its_requests_and_ends_with_success() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&mock))
        .node("jpn", |node| node)
        .start()
        .await;
    mock.set(json!({"chunk_interval": "100ms", "chunks": 20}))
        .await;
    let mut stream = EventStream::chat(&mesh["sgp"], MODEL, "stream").await;
    within("the first event", LIMIT, stream.next()).await;
    mock.set(json!({"latency": "1500ms"})).await;
    let answers = ["sgp", "jpn"].map(|node| {
        let url = format!("{}/chat/completions", mesh[node].base_url());
        tokio::spawn(async move { try_post(&http(), &url, &chat_body(MODEL, "late")).await })
    });
    mock.wait_for_count("in_flight", 3, LIMIT).await;

    let watch = Watch::start([&mesh["jpn"]], |view| view.phase("sgp") == "draining");
    let start = Instant::now();
    mesh["sgp"].terminate();
    let seen = watch.finish(start, LIMIT).await;
    eprintln!("draining seen after {seen:?}");
    let ready = mesh["sgp"].admin("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("drain"), "{}", ready.text());
    assert_turned_away(&mesh["sgp"]).await;

    let (events, end) = within("a stream", LIMIT, stream.rest()).await;
    assert_eq!(
        (end, events.last().map(String::as_str)),
        (Next::CleanEnd, Some("[DONE]"))
    );
    for answer in answers {
        let answer = within("an answer", LIMIT, answer).await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let status = mesh["sgp"].wait_for_exit(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{status}");
}

/// A new client is turned away at once, in a way that every SDK and load balancer takes for "elsewhere".
async fn assert_turned_away(node: &Node) {
    let url = format!("{}/chat/completions", node.base_url());
    let (client, body) = (http(), chat_body(MODEL, "late"));
    let sent = try_post(&client, &url, &body);
    match within("a new client's answer", Duration::from_secs(1), sent).await {
        Ok(answer) => {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        }
        Err(error) => assert!(error.is_connect(), "{error:?}"),
    }
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_timeout_does_not_hold_the_node() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.upstream(&mock).config("drain.timeout", json!("1s"))
        })
        .start()
        .await;
    mock.set(json!({"chunk_interval": "1s", "chunks": 1000}))
        .await;
    let mut stream = EventStream::chat(&mesh["sgp"], MODEL, "for ever").await;
    within("the first event", LIMIT, stream.next()).await;
    let start = Instant::now();
    mesh["sgp"].terminate();
    let (_, end) = within("the end of the stream", LIMIT, stream.rest()).await;
    assert!(
        matches!(end, Next::Broken(_)),
        "an unfinished answer ended cleanly"
    );
    mesh["sgp"].wait_for_exit(LIMIT).await;
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_relay_moves_its_traffic_off_a_draining_node_without_an_error() {
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    for mock in [&near, &far] {
        mock.set(json!({"latency": "100ms"})).await;
    }
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| {
            node.upstream_with(&near, json!({"priority": 1}))
        })
        .node("usa", |node| {
            node.upstream_with(&far, json!({"priority": 2}))
        })
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], 16, MODEL);
    near.wait_for_count("completed", 100, LIMIT).await;
    mesh["jpn"].terminate();
    let drained = load.elapsed();
    let status = mesh["jpn"].wait_for_exit(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{status}");
    far.wait_for_count("completed", 100, LIMIT).await;
    let samples = load.finish().await;
    assert_eq!(
        failures(&samples),
        Vec::<String>::new(),
        "of {}",
        samples.len()
    );
    // The rumor takes one way; a second is an age.
    let late = samples
        .iter()
        .filter(|sample| sample.sent > drained + Duration::from_secs(1));
    for sample in late {
        assert_eq!(
            (sample.node.as_str(), sample.header("x-grapevine-attempts")),
            ("usa", "1")
        );
    }
    assert_eq!(
        near.count("cancelled").await,
        0,
        "a call was dropped while draining"
    );
}

#[tokio::test]
async fn a_rolling_restart_of_all_owners_costs_no_client_an_error() {
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    for mock in [&near, &far] {
        mock.set(json!({"latency": "100ms"})).await;
    }
    let mesh = Mesh::builder()
        // Both serve all the time, whichever measures a little faster.
        .node("sgp", |node| {
            node.config("routing.strategy", json!("weighted"))
        })
        .node("jpn", |node| node.upstream(&near))
        .node("usa", |node| node.upstream(&far))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], 16, MODEL);
    for (name, mock) in [("jpn", &near), ("usa", &far)] {
        mock.wait_for_count("completed", 50, LIMIT).await;
        mesh[name].terminate();
        let status = mesh[name].wait_for_exit(LIMIT).await;
        assert_eq!(status.code(), Some(0), "{status}");
        mesh[name].restart().await;
        mesh.wait_until_converged().await;
    }
    let samples = load.finish().await;
    assert_eq!(
        failures(&samples),
        Vec::<String>::new(),
        "of {}",
        samples.len()
    );
}
