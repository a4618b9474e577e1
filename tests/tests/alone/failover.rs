//! What clients see when an upstream, the node that owns it, or the way there dies under load: nothing,
//! before the first byte; and a clear end after it.

use std::time::{Duration, Instant};

use grapevine_tests::client::{EventStream, Next, chat, chat_body, streamed_text};
use grapevine_tests::events::broken_off;
use grapevine_tests::load::{Load, Sample, failures};
use grapevine_tests::mesh::MeshBuilder;
use grapevine_tests::network::Link;
use grapevine_tests::quiet::alone;
use grapevine_tests::{Mesh, Mock, wait_until, within};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const CHAT: &str = "/v1/chat/completions";
const CLIENTS: usize = 32;

/// Longer than anything here takes: anything that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// A link is given up after ten seconds of silence; below this it surely is not.
const LINK_OUTLASTS: Duration = Duration::from_secs(8);

/// The time between two chunks of a stream.
const CHUNK_INTERVAL: Duration = Duration::from_millis(50);

/// Answers of the spare upstream that show that it took over.
const TAKEN_OVER: u64 = 8;

/// Streams that run while something dies.
const STREAMS: usize = 4;

/// Chunks of a stream that outlasts every test.
const ENDLESS: u32 = 2_000;

#[tokio::test]
async fn a_killed_upstreams_traffic_moves_to_another_region_and_returns_when_it_is_healthy() {
    let _room = alone().await;
    let (near, far) = pair().await;
    near.set(json!({"latency": "60ms"})).await;
    far.set(json!({"latency": "150ms"})).await;
    let upstream = json!({"health": health()});
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream_with(&near, upstream.clone()))
        .node("jpn", |node| node.upstream_with(&far, upstream.clone()))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], CLIENTS, MODEL);
    near.wait_for_count("completed", 300, LIMIT).await;

    near.kill();
    let killed = load.elapsed();
    let ejected = |state: String| state == "ejected" || state == "probing";
    let what = "the killed upstream ejected";
    let wait = mesh["sgp"].wait_for_view(what, LIMIT, |view| ejected(view.state("sgp", "near")));
    wait.await;
    let moved = load.elapsed();
    let before = far.count("completed").await;
    far.wait_for_count("completed", before + 200, LIMIT).await;

    let returning = load.elapsed();
    near.restart().await;
    near_is_probed_before_it_serves(&near).await;
    near.wait_for_count("completed", 100, LIMIT).await;
    let samples = load.finish().await;

    assert_eq!(
        failures(&samples),
        Vec::<String>::new(),
        "{} requests",
        samples.len()
    );
    let meanwhile = between(&samples, moved, returning);
    assert!(
        meanwhile.len() >= 100,
        "only {} requests while it was dead",
        meanwhile.len()
    );
    for sample in &meanwhile {
        assert_forwarded(sample, "sgp", "jpn");
    }
    let retried = samples.iter().filter(|sample| {
        let struck = sample.sent <= moved && sample.ended >= killed;
        struck && sample.header("x-grapevine-attempts") != "1"
    });
    assert!(
        retried.count() > 0,
        "the kill struck no request, so nothing was proved"
    );
}

// The upstream was started again just now: as long as it has not been probed often enough, no request
// may reach it.
async fn near_is_probed_before_it_serves(near: &Mock) {
    wait_until(
        "a request at the upstream that returned",
        LIMIT,
        async || {
            let stats = near.stats().await;
            let count = |path: &str| stats["by_path"][path].as_u64().unwrap_or_default();
            let (probes, requests) = (count("/v1/models"), count(CHAT));
            assert!(
                requests == 0 || probes >= 3,
                "{requests} requests after {probes} probes; recovery_threshold is 3"
            );
            if requests > 0 {
                Ok(())
            } else {
                Err(stats.to_string())
            }
        },
    )
    .await;
}

#[tokio::test]
async fn when_the_owner_node_is_killed_requests_move_until_it_is_back_and_streams_end_with_an_error()
 {
    let _room = alone().await;
    let stage = Stage::start(Mesh::builder(), ENDLESS).await;
    let (load, streams) = stage.run().await;

    stage.mesh["jpn"].kill();
    for stream in streams {
        let events = broken_off(stream, LIMIT).await;
        assert_only_from("near", &events);
    }
    stage.far_serves().await;

    stage.mesh["jpn"].restart().await;
    stage.near_serves().await;
    // The new incarnation's second connection, if there was one, is closed within this.
    stage.near_serves().await;
    check_moved(&load.finish().await);
}

#[tokio::test]
async fn when_the_link_to_the_owner_drops_requests_move_and_streams_go_on_when_it_is_back() {
    let _room = alone().await;
    let stage = Stage::start(Mesh::builder().behind_network(), ENDLESS).await;
    let (load, streams) = stage.run().await;

    let cut = Instant::now();
    stage.mesh.network().cut("sgp", "jpn");
    stage.far_takes_over().await;
    assert!(
        stage.mesh.network().count("sgp", "jpn").dropped > 0,
        "the cut dropped nothing"
    );
    stage.mesh.network().heal();
    go_on(streams, cut.elapsed()).await;
    stage.near_serves().await;
    check_moved(&load.finish().await);
}

#[tokio::test]
async fn when_the_owner_node_drains_requests_move_and_streams_finish() {
    let _room = alone().await;
    // Three seconds: long enough to run while the node drains, and well within the limit of draining.
    let stage = Stage::start(Mesh::builder(), 60).await;
    let (load, streams) = stage.run().await;

    stage.mesh["jpn"].terminate();
    for stream in streams {
        let (events, end) = within("a stream of a draining node", LIMIT, stream.rest()).await;
        assert_eq!(end, Next::CleanEnd, "after {events:?}");
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        assert_only_from("near", &events);
    }
    let status = stage.mesh["jpn"].wait_for_exit(LIMIT).await;
    assert!(status.success(), "{status}");
    stage.far_serves().await;
    check_moved(&load.finish().await);
}

#[tokio::test]
async fn a_forwarded_requests_failure_at_the_owners_upstream_moves_it_to_the_next_region() {
    let _room = alone().await;
    let stage = Stage::start(Mesh::builder(), 16).await;
    stage
        .near
        .set(json!({"error_rate": 1.0, "error_status": 500}))
        .await;
    let answer = chat(&stage.mesh["sgp"], MODEL, "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-grapevine-region"), "usa");
    assert_eq!(answer.header("x-grapevine-attempts"), "2");
    assert_eq!(stage.near.stats().await["by_path"][CHAT], 1);
}

#[tokio::test]
async fn when_the_owner_node_freezes_requests_move_and_streams_go_on_when_it_wakes() {
    let _room = alone().await;
    let stage = Stage::start(Mesh::builder(), ENDLESS).await;
    let (load, streams) = stage.run().await;

    let frozen = Instant::now();
    stage.mesh["jpn"].freeze();
    stage.far_takes_over().await;

    stage.mesh["jpn"].thaw();
    go_on(streams, frozen.elapsed()).await;
    stage.near_serves().await;
    check_moved(&load.finish().await);
}

#[tokio::test]
async fn when_the_link_drops_in_one_direction_only_requests_move_all_the_same() {
    for (from, to) in [("sgp", "jpn"), ("jpn", "sgp")] {
        let _room = alone().await;
        let stage = Stage::start(Mesh::builder().behind_network(), ENDLESS).await;
        let (load, streams) = stage.run().await;

        let cut = Link {
            cut: true,
            ..Link::default()
        };
        let since = Instant::now();
        stage.mesh.network().set_one_way(from, to, cut);
        stage.far_takes_over().await;
        stage.mesh.network().heal();
        go_on(streams, since.elapsed()).await;
        stage.near_serves().await;
        check_moved(&load.finish().await);
    }
}

#[tokio::test]
async fn an_upstream_that_fails_every_third_request_costs_no_client_an_error() {
    let _room = alone().await;
    let stage = Stage::start(Mesh::builder(), 16).await;
    stage.near.set(json!({"error_rate": 0.33})).await;
    let load = Load::start(&stage.mesh["sgp"], CLIENTS, MODEL);
    stage.far.wait_for_count("completed", 300, LIMIT).await;
    let samples = load.finish().await;
    assert_eq!(
        failures(&samples),
        Vec::<String>::new(),
        "of {}",
        samples.len()
    );
    let retried = samples
        .iter()
        .filter(|sample| sample.header("x-grapevine-attempts") != "1");
    assert!(retried.count() > 20, "too few requests met the fault");
}

/// A node without upstreams, `sgp`, and two that own one: `jpn` the preferred, `usa` the spare one.
struct Stage {
    near: Mock,
    far: Mock,
    mesh: Mesh,
}

impl Stage {
    /// Starts the mesh; the preferred upstream's streams have `chunks` chunks, 50 ms apart.
    async fn start(builder: MeshBuilder, chunks: u32) -> Self {
        let (near, far) = pair().await;
        near.set(json!({"latency": "100ms", "chunk_interval": "50ms", "chunks": chunks}))
            .await;
        far.set(json!({"latency": "100ms"})).await;
        let upstream = |priority: u64| json!({"priority": priority, "health": health()});
        let mesh = builder
            .node("sgp", |node| node.config("routing.deadline", json!("10s")))
            .node("jpn", |node| node.upstream_with(&near, upstream(1)))
            .node("usa", |node| node.upstream_with(&far, upstream(2)))
            .start()
            .await;
        Self { near, far, mesh }
    }

    /// Starts a load and streams at `sgp`, and returns when all of them flow through `jpn`.
    async fn run(&self) -> (Load, Vec<EventStream>) {
        // Answers of one packet: one that is cut in the middle has no way back.
        let mut body = chat_body(MODEL, "ping");
        body["max_tokens"] = json!(16);
        let url = format!("{}/chat/completions", self.mesh["sgp"].base_url());
        let load = Load::start_at(&url, CLIENTS, &body);
        self.near.wait_for_count("completed", 100, LIMIT).await;
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let text = format!("stream {number}");
            let mut stream = EventStream::chat(&self.mesh["sgp"], MODEL, &text).await;
            assert_eq!(
                (stream.status, stream.header("x-grapevine-node")),
                (200, "jpn")
            );
            let first = within("the first event", LIMIT, stream.next()).await;
            assert!(matches!(first, Next::Event { .. }), "{first:?}");
            streams.push(stream);
        }
        (load, streams)
    }

    async fn far_serves(&self) {
        let before = self.far.count("completed").await;
        self.far
            .wait_for_count("completed", before + 100, LIMIT)
            .await;
    }

    /// Waits until requests that the preferred upstream would have got are answered by the spare one, no
    /// longer than is needed to see it: what runs is to outlive that.
    async fn far_takes_over(&self) {
        let before = self.far.count("completed").await;
        self.far
            .wait_for_count("completed", before + TAKEN_OVER, LIMIT)
            .await;
    }

    async fn near_serves(&self) {
        let before = self.near.count("completed").await;
        self.near
            .wait_for_count("completed", before + 50, LIMIT)
            .await;
    }
}

fn health() -> Value {
    json!({
        "interval": "1s", "timeout": "500ms", "failure_threshold": 3, "recovery_threshold": 3,
        "cooldown": "300ms", "cooldown_max": "1s",
    })
}

async fn pair() -> (Mock, Mock) {
    (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    )
}

/// Streams that ran when the way to their owner was lost, for the span `lost`, run on: each brings more
/// than can have been on its way before.
///
/// A machine so busy that the way was lost for as long as a link outlasts shows nothing.
async fn go_on(streams: Vec<EventStream>, lost: Duration) {
    if lost >= LINK_OUTLASTS {
        return;
    }
    for mut stream in streams {
        for number in 0..lost.as_millis() / CHUNK_INTERVAL.as_millis() + 20 {
            let next = within("an event of a stream that goes on", LIMIT, stream.next()).await;
            assert!(
                matches!(next, Next::Event { .. }),
                "{next:?} at event {number}, after {lost:?} without the owner"
            );
        }
    }
}

fn between(samples: &[Sample], from: Duration, to: Duration) -> Vec<&Sample> {
    let inside = |sample: &&Sample| sample.sent >= from && sample.ended <= to;
    samples.iter().filter(inside).collect()
}

/// No client saw an error or waited too long, and some requests were answered by each region.
fn check_moved(samples: &[Sample]) {
    assert_eq!(
        failures(samples),
        Vec::<String>::new(),
        "of {} requests",
        samples.len()
    );
    for (region, least) in [("jpn", 50), ("usa", TAKEN_OVER)] {
        let answered = samples
            .iter()
            .filter(|sample| sample.header("x-grapevine-region") == region);
        let count = answered.count() as u64;
        assert!(count >= least, "{region} answered {count} requests");
    }
    // None hangs. How long a client waits while a node or a way dies is measured in `sim/report`.
    let slowest = samples
        .iter()
        .max_by_key(|sample| sample.ended - sample.sent);
    assert!(
        slowest.is_some_and(|sample| sample.ended - sample.sent < LIMIT),
        "{slowest:?}"
    );
}

/// The answer's headers show one hop from one region to another.
fn assert_forwarded(sample: &Sample, from: &str, to: &str) {
    let header = |name: &str| sample.header(name).to_string();
    assert_eq!(
        (header("x-grapevine-region"), header("x-grapevine-hops")),
        (to.to_string(), "1".to_string()),
        "{sample:?}"
    );
    let path = header("x-grapevine-path");
    let (first, second) = (path.find(from), path.find(to));
    assert!(
        first.is_some() && first < second,
        "a path from {from} to {to}: {path:?}"
    );
}

/// The text so far, however little, is the beginning of the upstream's text, and of nothing else.
fn assert_only_from(upstream: &str, events: &[String]) {
    let text = streamed_text(events);
    let beginning = format!("Upstream {upstream} heard ");
    let is_beginning = beginning.starts_with(&text) || text.starts_with(&beginning);
    assert!(
        is_beginning && text.matches("Upstream").count() <= 1,
        "{text}"
    );
}
