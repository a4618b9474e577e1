//! Another model when the one that was asked for cannot: through an entry node without upstreams, and by the words that
//! each API has for it.

use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{Answer, EventStream, Next, http, try_post, whole};
use grapevine_tests::scripted::{
    ScriptedReading, ScriptedRule, ScriptedStep, ScriptedUpstream, answers, chat_event, refuses,
    streams,
};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

const BIG: &str = "gpt-4o";

const LONG: &str = "claude-sonnet";

const CHAT: &str = "/v1/chat/completions";

fn root(node: &Node) -> String {
    node.base_url().trim_end_matches("/v1").to_owned()
}

async fn ask(node: &Node, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", root(node));
    must("asking", try_post(&http(), &url, body).await)
}

fn chat() -> Value {
    json!({"model": BIG, "messages": [{"role": "user", "content": "hello"}]})
}

fn too_long() -> Value {
    json!({"error": {"message": "This model's maximum context length is 8 tokens.", "type": "invalid_request_error",
        "param": "messages", "code": "context_length_exceeded"}})
}

/// An upstream called `name` that does `steps` with every request.
async fn always(name: &str, steps: Vec<ScriptedStep>) -> ScriptedUpstream {
    ScriptedUpstream::always(name, steps).await
}

/// An entry node with `fallback_models` and without upstreams, and an owner of these upstreams.
async fn mesh(fallback_models: Value, upstreams: &[Value]) -> Mesh {
    let entry = |node: grapevine_tests::mesh::NodeBuilder| {
        node.config("routing.fallback_models", fallback_models)
    };
    let owner = |node: grapevine_tests::mesh::NodeBuilder| {
        upstreams
            .iter()
            .cloned()
            .fold(node, grapevine_tests::mesh::NodeBuilder::raw_upstream)
    };
    Mesh::builder()
        .node("entry", entry)
        .node("owner", owner)
        .start()
        .await
}

/// A mock as written in a node's configuration.
fn mock_upstream(mock: &Mock, over: Value) -> Value {
    let mut upstream = json!({
        "name": mock.name(),
        "base_url": mock.base_url(),
        "models": mock.models(),
    });
    grapevine_tests::mesh::merge(&mut upstream, over);
    upstream
}

fn fallback(answer: &Answer) -> (&str, &str, &str) {
    let header = |name| answer.header(name);
    (
        header("x-grapevine-model"),
        header("x-grapevine-fallback"),
        header("x-grapevine-reason"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn context_that_is_too_long_is_answered_by_the_other_model_in_its_own_dialect() {
    let small = always("small", refuses(400, "", &too_long())).await;
    let long = Mock::start("long", &[LONG]).await;
    let upstreams = [
        small.upstream(&[BIG]),
        mock_upstream(&long, json!({"dialects": ["messages"]})),
    ];
    let mesh = mesh(json!({BIG: [LONG]}), &upstreams).await;
    let entry = &mesh["entry"];
    let answer = ask(entry, CHAT, &chat()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.content().starts_with("Upstream long heard"),
        "{}",
        answer.text()
    );
    let expected = (
        LONG,
        "gpt-4o>claude-sonnet (context_too_long)",
        "fallback-model",
    );
    assert_eq!(fallback(&answer), expected);
    assert_eq!(answer.header("x-grapevine-attempts"), "2");
    assert_eq!(answer.header("x-grapevine-hops"), "1");
    assert_eq!(answer.header("x-grapevine-dialect"), "chat>messages");
    // What the operator sees of it.
    let id = answer.header("x-request-id");
    let record = wait_until("the request's record", LIMIT, async || {
        let list = entry.requests().await;
        let all = list["requests"].as_array().cloned().unwrap_or_default();
        let mut mine = all.into_iter().filter(|record| record["id"] == id);
        mine.next().ok_or_else(|| list.to_string())
    });
    let seen = &record.await.0;
    let steps = json!([{"model": LONG, "cause": "context_too_long"}]);
    assert_eq!(
        (&seen["model"], &seen["fallbacks"]),
        (&json!(BIG), &steps),
        "{seen}"
    );
    let attempts = seen["attempts"].as_array().expect("attempts");
    let models: Vec<_> = attempts.iter().map(|it| &it["model"]).collect();
    assert_eq!(models, [BIG, LONG]);
    assert_eq!(attempts[0]["outcome"], "context_too_long");
    let counted = "grapevine_fallbacks_total{cause=\"context_too_long\"} 1";
    assert!(entry.metrics().await.contains(counted), "not counted");
    let explained = entry
        .admin(&format!("/explain?client=192.0.2.1&model={BIG}"))
        .await
        .json();
    assert_eq!(explained["fallbacks"][0]["model"], LONG, "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_every_api_fall_back_whose_upstream_speaks_another() {
    let small = always("small", refuses(400, "", &too_long())).await;
    let mut spoken = small.upstream(&[BIG]);
    spoken["dialects"] = json!(["chat"]);
    let long = Mock::start("long", &[LONG]).await;
    let upstreams = [spoken, mock_upstream(&long, json!({"dialects": ["chat"]}))];
    let mesh = mesh(json!({BIG: [LONG]}), &upstreams).await;
    let turn = json!([{"role": "user", "content": "hello"}]);
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    for (path, body) in [
        (
            "/v1/messages",
            json!({"model": BIG, "max_tokens": 64, "messages": turn}),
        ),
        ("/v1/responses", json!({"model": BIG, "input": "hello"})),
        ("/v1beta/models/gpt-4o:generateContent", gemini),
        ("/model/gpt-4o/converse", converse),
    ] {
        let answer = ask(&mesh["entry"], path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(
            answer.text().contains("Upstream long heard"),
            "{path}: {}",
            answer.text()
        );
        let expected = (
            LONG,
            "gpt-4o>claude-sonnet (context_too_long)",
            "fallback-model",
        );
        assert_eq!(fallback(&answer), expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_each_provider_lead_to_the_other_model_and_other_mistakes_do_not() {
    let anthropic = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "prompt is too long: 210000 tokens > 200000 maximum"}});
    let google = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT",
        "message": "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."}});
    let amazon = json!({"message": "Input is too long for requested model."});
    let azure = json!({"error": {"code": "content_filter", "status": 400, "message": "The response was filtered",
        "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
    let mistake = json!({"error": {"message": "unknown field 'x'", "type": "invalid_request_error", "code": null}});
    let long = Mock::start("long", &[LONG]).await;
    for (error, cause) in [
        (anthropic, "context_too_long"),
        (google, "context_too_long"),
        (amazon, "context_too_long"),
        (azure, "content_policy"),
        (mistake, ""),
    ] {
        let small = always("small", refuses(400, "", &error)).await;
        let upstreams = [small.upstream(&[BIG]), mock_upstream(&long, json!({}))];
        let mesh = mesh(json!({BIG: [LONG]}), &upstreams).await;
        let answer = ask(&mesh["entry"], CHAT, &chat()).await;
        let shown = format!("{error}: {}", answer.text());
        if cause.is_empty() {
            assert_eq!((answer.status, answer.json()), (400, error), "{shown}");
            assert_eq!(answer.header("x-grapevine-model"), BIG, "{shown}");
            assert_eq!(answer.header("x-grapevine-fallback"), "", "{shown}");
        } else {
            assert_eq!(answer.status, 200, "{shown}");
            let expected = format!("gpt-4o>claude-sonnet ({cause})");
            assert_eq!(answer.header("x-grapevine-fallback"), expected, "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn model_whose_upstreams_fail_is_stood_in_for_and_the_last_resort_is_its_own_error() {
    let down = always("down", answers(503, "", "{}")).await;
    let long = Mock::start("long", &[LONG]).await;
    let upstreams = [down.upstream(&[BIG]), mock_upstream(&long, json!({}))];
    let fallbacks = json!({
        BIG: {"models": ["nobody", LONG], "on": ["unavailable"]},
        "retired": [LONG],
    });
    let mesh = mesh(fallbacks, &upstreams).await;
    let entry = &mesh["entry"];
    let answer = ask(entry, CHAT, &chat()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let led = "gpt-4o>nobody (unavailable)>claude-sonnet (unavailable)";
    assert_eq!(fallback(&answer), (LONG, led, "fallback-model"));
    let mut retired = chat();
    retired["model"] = json!("retired");
    let answer = ask(entry, CHAT, &retired).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("x-grapevine-fallback"),
        "retired>claude-sonnet (unavailable)"
    );
    // Now neither can: the client learns what the upstream of its own model said.
    long.set(json!({"error_rate": 1.0, "error_status": 529}))
        .await;
    mesh["owner"].restart().await;
    mesh.wait_until_converged().await;
    let answer = ask(entry, CHAT, &chat()).await;
    assert!(answer.status >= 500, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_may_not_use_the_other_model_gets_the_answer_as_it_came() {
    let small = always("small", refuses(400, "", &too_long())).await;
    let long = Mock::start("long", &[LONG]).await;
    let key = |name: &str, models: Value| {
        let hash = KeyHash::of(name).to_string();
        json!({"name": name, "hash": hash, "models": models})
    };
    let keys = json!([key("narrow", json!([BIG])), key("wide", json!([BIG, LONG]))]);
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            node.config("routing.fallback_models", json!({BIG: [LONG]}))
                .config("keys", keys)
                .raw_upstream(small.upstream(&[BIG]))
                .raw_upstream(mock_upstream(&long, json!({})))
        })
        .start()
        .await;
    let url = format!("{}{CHAT}", root(&mesh["sgp"]));
    for (key, status) in [("narrow", 400), ("wide", 200)] {
        let request = http().post(&url).bearer_auth(key).json(&chat());
        let answer = must("asking", whole(request).await);
        assert_eq!(answer.status, status, "{key}: {}", answer.text());
        if status == 400 {
            assert_eq!(answer.json(), too_long());
        }
    }
    assert_eq!(long.chats().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn residency_rules_of_both_models_apply() {
    let small = always("small", refuses(400, "", &too_long())).await;
    let long = Mock::start("long", &[LONG]).await;
    let rules = [
        // The first model may be answered in `near` alone, where the other one is not.
        (json!([{"models": [BIG], "regions": ["near"]}]), 400),
        // The other model may be answered elsewhere alone.
        (json!([{"models": [LONG], "regions": ["elsewhere"]}]), 400),
        (json!([{"models": [LONG], "regions": ["far"]}]), 200),
    ];
    for (rules, status) in rules {
        let shown = rules.to_string();
        let mesh = Mesh::builder()
            .node("near", |node| {
                node.config("routing.fallback_models", json!({BIG: [LONG]}))
                    .config("residency", rules)
                    .raw_upstream(small.upstream(&[BIG]))
            })
            .node("far", |node| {
                node.raw_upstream(mock_upstream(&long, json!({})))
            })
            .start()
            .await;
        let answer = ask(&mesh["near"], CHAT, &chat()).await;
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
    }
    assert_eq!(long.chats().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_has_begun_goes_to_no_other_model() {
    let piece = chat_event(&json!(BIG), &json!({"content": "some words"}), None);
    let breaks = [streams(&piece), vec![ScriptedStep::Close]].concat();
    let rule = ScriptedRule {
        text: "",
        steps: breaks,
    };
    let small = ScriptedUpstream::start("small", ScriptedReading::Whole, vec![rule]).await;
    let long = Mock::start("long", &[LONG]).await;
    let upstreams = [small.upstream(&[BIG]), mock_upstream(&long, json!({}))];
    let mesh = mesh(json!({BIG: [LONG]}), &upstreams).await;
    let mut body = chat();
    body["stream"] = json!(true);
    let url = format!("{}{CHAT}", root(&mesh["entry"]));
    let stream = EventStream::post(&url, &body).await;
    assert_eq!(stream.header("x-grapevine-model"), BIG);
    let (events, end) = stream.rest().await;
    assert!(events.concat().contains("some words"), "{events:?}");
    assert!(matches!(end, Next::Broken(_)), "{end:?}");
    assert_eq!(long.chats().await, 0);
}
