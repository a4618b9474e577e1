//! SIGTERM: no new work, no lost work, an end in time.

use std::time::{Duration, Instant};

use grapevine_tests::client::{EventStream, Next, chat_body, http, try_post};
use grapevine_tests::load::{Load, failures};
use grapevine_tests::wait::must;
use grapevine_tests::watch::Watch;
use grapevine_tests::{Mesh, Mock, Node, within};
use serde_json::json;
use tokio::task::JoinSet;

const MODEL: &str = "gpt-4o";
/// Clients that come too late, or nearly so.
const LATE_CLIENTS: usize = 20;

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

#[tokio::test]
async fn clients_that_connect_while_a_node_begins_to_drain_are_served_or_refused() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&mock))
        .start()
        .await;
    mock.set(json!({"latency": "300ms"})).await;
    let load = Load::start(&mesh["sgp"], 8, MODEL);
    mock.wait_for_count("completed", 20, LIMIT).await;
    mesh["sgp"].terminate();
    assert_served_or_refused(&mesh["sgp"]).await;
    let status = mesh["sgp"].wait_for_exit(LIMIT).await;
    assert_eq!(status.code(), Some(0), "{status}");
    let cut = load.finish().await.into_iter().filter(|sample| {
        // A refused connection is no lost request.
        sample.status != 200 && !sample.node.contains("ConnectionRefused")
    });
    assert_eq!(
        cut.map(|sample| format!("{sample:?}")).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    assert_eq!(
        mock.count("cancelled").await,
        0,
        "a call was dropped while draining"
    );
}

/// Clients that come while the node begins to drain are answered or find its listener closed; none is let in
/// and dropped.
async fn assert_served_or_refused(node: &Node) {
    let url = format!("{}/chat/completions", node.base_url());
    let mut late = JoinSet::new();
    for _ in 0..LATE_CLIENTS {
        let url = url.clone();
        late.spawn(async move { try_post(&http(), &url, &chat_body(MODEL, "late")).await });
    }
    while let Some(sent) = within("a late client's answer", LIMIT, late.join_next()).await {
        match must("a late client", sent) {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
            }
            Err(error) => assert!(error.is_connect(), "{error:?}"),
        }
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
    let mut stream = EventStream::chat(&mesh["sgp"], MODEL, "forever").await;
    within("the first event", LIMIT, stream.next()).await;
    let start = Instant::now();
    mesh["sgp"].terminate();
    let (_, end) = within("the end of the stream", LIMIT, stream.rest()).await;
    assert!(
        matches!(end, Next::Broken(_)),
        "an unfinished answer ended cleanly"
    );
    mesh["sgp"].wait_for_exit(LIMIT).await;
    // The stream would outlast the wait for the exit by far.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
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
    let status = mesh["jpn"].wait_for_exit(LIMIT).await;
    let drained = load.elapsed();
    assert_eq!(status.code(), Some(0), "{status}");
    far.wait_for_count("completed", 100, LIMIT).await;
    let samples = load.finish().await;
    assert_eq!(
        failures(&samples),
        Vec::<String>::new(),
        "of {}",
        samples.len()
    );
    let late = samples.iter().filter(|sample| sample.sent > drained);
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
