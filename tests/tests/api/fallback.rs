//! What happens to one request when upstreams fail before the first byte: each kind of failure moves it
//! to the next candidate, the client's own mistakes do not, and when nothing is left the error names
//! what to do.

use std::time::Duration;

use grapevine_tests::client::{Answer, chat, chat_body, http, try_post};
use grapevine_tests::mesh::MeshBuilder;
use grapevine_tests::{Mesh, Mock, within};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";
const CHAT: &str = "/v1/chat/completions";
const LIMIT: Duration = Duration::from_secs(10);

/// No SDK should be made to wait longer than this by an answer of ours.
const RETRY_AFTER_MAX_SECONDS: f64 = 30.0;

#[tokio::test]
async fn a_500_moves_to_the_next_upstream() {
    moves_to_good(json!({"error_rate": 1.0, "error_status": 500})).await;
}

#[tokio::test]
async fn a_503_moves_to_the_next_upstream() {
    moves_to_good(json!({"error_rate": 1.0, "error_status": 503, "retry_after": "60s"})).await;
}

#[tokio::test]
async fn a_529_moves_to_the_next_upstream() {
    moves_to_good(json!({"error_rate": 1.0, "error_status": 529})).await;
}

#[tokio::test]
async fn a_408_moves_to_the_next_upstream() {
    moves_to_good(json!({"error_rate": 1.0, "error_status": 408})).await;
}

#[tokio::test]
async fn a_429_moves_to_the_next_upstream_however_long_it_asks_to_wait() {
    moves_to_good(json!({"rate_limit": "always", "retry_after": "100s"})).await;
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_moves_to_the_next_upstream() {
    moves_to_good(json!({"refuse": true})).await;
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_left_for_the_next_after_its_timeout() {
    let answer = moves_to_good(json!({"hang": true})).await;
    assert!(answer.elapsed >= ANSWER, "{:?}", answer.elapsed);
}

#[tokio::test]
async fn a_refused_connection_moves_to_the_next_upstream() {
    let (bad, good) = pair().await;
    let mesh = alone(&bad, &good, json!({})).start().await;
    bad.kill();
    let answer = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_moved(&answer);
}

#[tokio::test]
async fn a_refused_credential_makes_its_upstream_suspect_and_moves_to_the_next() {
    let (bad, good) = pair().await;
    let mesh = alone(&bad, &good, json!({})).start().await;
    bad.set(json!({"error_rate": 1.0, "error_status": 401}))
        .await;
    let answer = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_moved(&answer);
    // Neither a probe nor another client confirms it.
    let suspected = mesh["sgp"].wait_for_view("the suspicion", LIMIT, |view| {
        let reason = view
            .upstream("sgp", "bad")
            .map(|upstream| upstream["reason"].clone());
        view.state("sgp", "bad") == "suspect" && reason == Some(json!("credential"))
    });
    suspected.await;
}

#[tokio::test]
async fn the_clients_own_mistakes_pass_unmodified_and_count_against_nobody() {
    for status in [400, 422] {
        let (bad, good) = pair().await;
        let mesh = alone(&bad, &good, json!({})).start().await;
        bad.set(json!({"error_rate": 1.0, "error_status": status}))
            .await;
        let body = chat_body(MODEL, "hello");
        let direct = try_post(&http(), &format!("http://{}{CHAT}", bad.address()), &body)
            .await
            .unwrap();
        for _ in 0..5 {
            let answer = chat(&mesh["sgp"], MODEL, "hello").await;
            assert_eq!((answer.status, &answer.body), (status, &direct.body));
            assert_eq!(
                answer.header("content-type"),
                direct.headers["content-type"]
            );
            assert_eq!(answer.header("x-grapevine-attempts"), "1");
        }
        assert_eq!(mesh["sgp"].view().await.state("sgp", "bad"), "untested");
        assert_eq!(good.chats().await, 0);
    }
}

#[tokio::test]
async fn when_every_upstream_limits_rates_the_client_gets_a_429_with_a_short_retry_after() {
    let (bad, good) = pair().await;
    let mesh = alone(&bad, &good, json!({})).start().await;
    for mock in [&bad, &good] {
        mock.set(json!({"rate_limit": "always", "retry_after": "3s"}))
            .await;
    }
    // The first finds out; the second meets two upstreams on cooldown.
    for _ in 0..2 {
        let answer = chat(&mesh["sgp"], MODEL, "hello").await;
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert_retry_after(&answer);
        assert!(
            answer.json()["error"]["message"].is_string(),
            "{}",
            answer.text()
        );
    }
    assert!(bad.chats().await >= 1 && good.chats().await >= 1);
}

#[tokio::test]
async fn when_every_upstream_is_ejected_the_least_bad_is_tried_as_a_last_resort() {
    let (bad, good) = pair().await;
    let mesh = alone(&bad, &good, json!({})).start().await;
    // An account without money ejects, whoever asks.
    for mock in [&bad, &good] {
        mock.set(json!({"error_rate": 1.0, "error_status": 402}))
            .await;
    }
    let failed = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_eq!(failed.status, 402, "{}", failed.text());
    let ejected = mesh["sgp"].wait_for_view("both ejected", LIMIT, |view| {
        view.state("sgp", "bad") == "ejected" && view.state("sgp", "good") == "ejected"
    });
    ejected.await;

    let before = bad.chats().await + good.chats().await;
    let failed = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_eq!(failed.status, 402, "{}", failed.text());
    let tried = bad.chats().await + good.chats().await - before;
    assert_eq!(tried, 1, "a last resort is one attempt");

    for mock in [&bad, &good] {
        mock.reset().await;
    }
    let answer = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-grapevine-reason"), "last-resort");
}

#[tokio::test]
async fn a_model_that_no_node_knows_is_a_404_with_the_nearest_names() {
    let (bad, good) = pair().await;
    let mesh = alone(&bad, &good, json!({})).start().await;
    let answer = chat(&mesh["sgp"], "gpt-4p", "hello").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "model_not_found");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains(MODEL)),
        "{error}"
    );
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn nothing_outlasts_the_requests_deadline() {
    let (bad, good) = pair().await;
    // The second attempt is the one that the deadline ends.
    let patient = json!({"timeout": {"answer": "3s"}});
    let builder = alone_with(&bad, &good, patient, "5s");
    let mesh = builder.start().await;
    for mock in [&bad, &good] {
        mock.set(json!({"hang": true})).await;
    }
    let request = chat(&mesh["sgp"], MODEL, "hello");
    let answer = within("an answer at the deadline", LIMIT, request).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    // Without a deadline, the second attempt would end a second later, and for another reason.
    assert!(
        answer.elapsed >= Duration::from_millis(4_900),
        "{:?}",
        answer.elapsed
    );
    assert!(
        answer.json()["error"]["message"].is_string(),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("x-grapevine-attempts"), "2");
    good.wait_for_count("cancelled", 1, LIMIT).await;
}

/// How long an upstream of these tests may take to answer.
const ANSWER: Duration = Duration::from_millis(700);

async fn pair() -> (Mock, Mock) {
    (
        Mock::start("bad", &[MODEL]).await,
        Mock::start("good", &[MODEL]).await,
    )
}

/// One node that tries `bad` first and `good` second, probes neither, and ejects at the first failure.
fn alone(bad: &Mock, good: &Mock, over: Value) -> MeshBuilder {
    alone_with(bad, good, over, "10s")
}

fn alone_with(bad: &Mock, good: &Mock, over: Value, deadline: &str) -> MeshBuilder {
    let upstream = |priority: u64| {
        let mut upstream = json!({
            "priority": priority,
            "max_retries": 1,
            "timeout": {"answer": format!("{}ms", ANSWER.as_millis())},
            "health": {"probe": "off", "failure_threshold": 1, "cooldown": "60s"},
        });
        grapevine_tests::mesh::merge(&mut upstream, over.clone());
        upstream
    };
    Mesh::builder().node("sgp", |node| {
        let retry_on = json!(["connect", "timeout", "answer_timeout", 408, 429, "5xx"]);
        node.config("routing.deadline", json!(deadline))
            .config("routing.retry_on", retry_on)
            .upstream_with(bad, upstream(1))
            .upstream_with(good, upstream(2))
    })
}

/// Checks that a request that meets `fault` first is answered by the next upstream.
async fn moves_to_good(fault: Value) -> Answer {
    let (bad, good) = pair().await;
    let mesh = alone(&bad, &good, json!({})).start().await;
    bad.set(fault).await;
    let answer = chat(&mesh["sgp"], MODEL, "hello").await;
    assert_moved(&answer);
    assert_eq!(bad.chats().await, 1, "no request met the fault");
    answer
}

fn assert_moved(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (
            answer.header("x-grapevine-upstream"),
            answer.header("x-grapevine-attempts")
        ),
        ("good", "2")
    );
    assert!(
        answer.content().starts_with("Upstream good heard"),
        "{}",
        answer.text()
    );
}

fn assert_retry_after(answer: &Answer) {
    let seconds: f64 = answer.header("retry-after").parse().unwrap_or(-1.0);
    assert!(
        (0.0..=RETRY_AFTER_MAX_SECONDS).contains(&seconds),
        "{:?}",
        answer.headers
    );
}
