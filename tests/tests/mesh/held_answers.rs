//! Answers that break in their middle: where they are no streams and short, no client sees it.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat, chat_body, http, try_post};
use grapevine_tests::scripted::{
    ScriptedReading, ScriptedStep, ScriptedUpstream, ends, goes_on, streams,
};
use grapevine_tests::{Mesh, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

/// When a test gives up.
const GIVES_UP: Duration = Duration::from_secs(60);

/// A good answer of another upstream has its name as the text.
const WHOLE: &str = "whole";

/// The longest answer that is held.
const HELD_MAX: usize = 64 * 1_024;

fn upstream(scripted: &ScriptedUpstream, priority: u64) -> Value {
    let mut upstream = scripted.upstream(&[MODEL]);
    upstream["priority"] = json!(priority);
    upstream
}

/// The head of an answer of `length` bytes, and its first bytes.
fn begins(length: usize) -> ScriptedStep {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let text = format!("{head}content-length: {length}\r\n\r\n{{\"id\": ");
    ScriptedStep::Send(text.into_bytes())
}

fn begins_in_chunks() -> ScriptedStep {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    ScriptedStep::Send(format!("{head}7\r\n{{\"id\": \r\n").into_bytes())
}

async fn whole_upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(WHOLE, ScriptedReading::Whole, Vec::new()).await
}

/// One node whose first upstream does `steps`.
async fn alone(steps: Vec<ScriptedStep>) -> (Mesh, [ScriptedUpstream; 2]) {
    let first = ScriptedUpstream::always("first", steps).await;
    let second = whole_upstream().await;
    let upstreams = [upstream(&first, 1), upstream(&second, 2)];
    let node = |node: grapevine_tests::mesh::NodeBuilder| {
        upstreams
            .into_iter()
            .fold(node, grapevine_tests::mesh::NodeBuilder::raw_upstream)
    };
    let mesh = Mesh::builder().node("sgp", node).start().await;
    (mesh, [first, second])
}

/// The outcomes of the attempts of the last request at `node`.
async fn outcomes(node: &Node) -> Vec<String> {
    let (found, _) = wait_until("the record of the request", GIVES_UP, async || {
        let requests = node.requests().await;
        let last = &requests["requests"][0]["attempts"];
        let attempts = last.as_array().into_iter().flatten();
        let word = |attempt: &Value| attempt["outcome"].as_str().unwrap_or_default().to_owned();
        let words: Vec<String> = attempts.map(word).collect();
        match words.is_empty() {
            true => Err(requests.to_string()),
            false => Ok(words),
        }
    })
    .await;
    found
}

/// How many answers `node` holds.
async fn held(node: &Node) -> f64 {
    let metrics = node.metrics().await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("grapevine_answers_held "));
    line.and_then(|value| value.parse().ok())
        .expect("the metric")
}

fn assert_whole(answer: &Answer) {
    assert_eq!((answer.status, answer.content().as_str()), (200, WHOLE));
}

#[tokio::test]
async fn owner_that_is_killed_within_an_answer_is_invisible() {
    let first = ScriptedUpstream::always("first", vec![begins(400), ScriptedStep::Hang]).await;
    let second = whole_upstream().await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.raw_upstream(upstream(&second, 2)))
        .node("jpn", |node| node.raw_upstream(upstream(&first, 1)))
        .start()
        .await;
    let entry = &mesh["sgp"];
    let asking = chat(entry, MODEL, "which?");
    let killing = async {
        wait_until("a part of the answer", GIVES_UP, async || {
            match held(entry).await {
                0.0 => Err("none is held".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        mesh["jpn"].kill();
    };
    let (answer, ()) = tokio::join!(asking, killing);
    assert_whole(&answer);
    assert_eq!(answer.header("x-grapevine-attempts"), "2");
    assert_eq!(answer.header("x-grapevine-path"), "sgp");
    assert_eq!(outcomes(entry).await, ["broken_off", "answered"]);
    assert_eq!((first.posts(), second.posts()), (1, 1), "each once");
    assert_eq!(held(entry).await, 0.0);
}

#[tokio::test]
async fn own_upstream_that_breaks_within_an_answer_is_invisible() {
    for beginning in [begins(400), begins_in_chunks()] {
        let (mesh, upstreams) = alone(vec![beginning, ScriptedStep::Close]).await;
        let answer = chat(&mesh["sgp"], MODEL, "which?").await;
        assert_whole(&answer);
        assert_eq!(outcomes(&mesh["sgp"]).await, ["broken_off", "answered"]);
        assert_eq!(upstreams.map(|it| it.posts()), [1, 1]);
    }
}

#[tokio::test]
async fn answer_in_pieces_is_given_in_one() {
    let pieces = [
        begins_in_chunks(),
        goes_on("7"),
        ScriptedStep::Pause(Duration::from_millis(50)),
        goes_on("}"),
        ends(),
    ];
    let (mesh, _upstreams) = alone(pieces.into()).await;
    let answer = chat(&mesh["sgp"], MODEL, "which?").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "{\"id\": 7}")
    );
    assert_eq!(answer.header("content-length"), "9");
}

#[tokio::test]
async fn answer_that_turns_out_long_passes_whole() {
    let piece = "x".repeat(HELD_MAX / 4);
    let steps = (0..6).map(|_| goes_on(&piece));
    let steps = [begins_in_chunks()]
        .into_iter()
        .chain(steps)
        .chain([ends()]);
    let (mesh, _upstreams) = alone(steps.collect()).await;
    let answer = chat(&mesh["sgp"], MODEL, "which?").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), format!("{{\"id\": {}", piece.repeat(6)));
}

#[tokio::test]
async fn long_answer_and_stream_pass_as_they_come_and_break() {
    let hangs = ScriptedStep::Close;
    for (steps, stream) in [
        (vec![begins(HELD_MAX + 1), hangs.clone()], false),
        ([streams("data: {}\n\n"), vec![hangs]].concat(), true),
    ] {
        let (mesh, upstreams) = alone(steps).await;
        let mut body = chat_body(MODEL, "which?");
        body["stream"] = json!(stream);
        let url = format!("{}/chat/completions", mesh["sgp"].base_url());
        let broken = try_post(&http(), &url, &body).await;
        assert!(broken.is_err(), "{broken:?}");
        assert_eq!(outcomes(&mesh["sgp"]).await, ["broken_off"]);
        assert_eq!(upstreams.map(|it| it.posts()), [1, 0]);
    }
}
