//! Whose fault an answer is: what the client gets, who is asked instead, and who gets no more requests.

use grapevine_core::fact::Standing;
use grapevine_core::health::EjectionReason;
use grapevine_core::ids::{ModelName, UpstreamName};

use crate::support::*;

const JSON: &str = "content-type: application/json\r\n";

/// A node with one upstream that always answers so, and a healthy second one.
async fn two(first: Vec<Act>) -> (Scripted, Scripted, Node) {
    let first = Scripted::start(first).await;
    let second = Scripted::start(answer(200, JSON, "{\"healthy\":1}")).await;
    let node = Plan::with(&[&first, &second]).start().await;
    (first, second, node)
}

fn standing(node: &Node, upstream: &str) -> Standing {
    let name = UpstreamName::new(upstream).expect("a valid name");
    node.driver.view().own[&name].standing
}

#[tokio::test]
async fn what_the_account_the_key_or_the_address_lacks_is_answered_by_another_upstream() {
    let rows = [
        (
            402,
            JSON,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error"}}"#,
            "account",
        ),
        (
            400,
            JSON,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            "account",
        ),
        (
            429,
            JSON,
            r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota"}}"#,
            "account",
        ),
        (
            404,
            JSON,
            r#"{"error":{"code":"model_not_found"}}"#,
            "model_missing",
        ),
        (
            404,
            JSON,
            r#"{"error":"model \"gpt-4o\" not found, try pulling it first"}"#,
            "model_missing",
        ),
        (
            307,
            "location: https://elsewhere.example/v1/x\r\n",
            "",
            "redirect",
        ),
        (301, "location: /v2/chat/completions\r\n", "", "redirect"),
        (
            200,
            JSON,
            r#"{"error":{"message":"internal"}}"#,
            "hidden_error",
        ),
        (
            200,
            "content-type: text/event-stream\r\n",
            "data: {\"error\":{\"message\":\"x\"}}\n\n",
            "hidden_error",
        ),
        (200, JSON, "", "not_an_answer"),
        (
            200,
            "content-type: text/html\r\n",
            "<html>sign in</html>",
            "not_an_answer",
        ),
    ];
    for (status, headers, body, outcome) in rows {
        let (first, _second, node) = two(answer(status, headers, body)).await;
        let reply = node.chat().await;
        let case = format!("{status} {body}");
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, "{\"healthy\":1}"),
            "{case}"
        );
        assert_eq!(node.outcomes().await, [outcome, "answered"], "{case}");
        assert_eq!(first.seen().len(), 1, "{case}");
    }
}

#[tokio::test]
async fn what_the_client_did_passes_through_byte_for_byte_and_is_sent_once() {
    let identity = "openai-organization: org-1\r\n";
    let rows = [
        (
            401,
            r#"{"error":{"code":"mismatched_organization","message":"x"}}"#,
            identity,
        ),
        (
            403,
            r#"{"error":{"message":"project is archived"}}"#,
            identity,
        ),
        (403, r#"{"error":{"message":"Input was flagged"}}"#, ""),
        (400, r#"{"error":{"code":"content_filter"}}"#, ""),
        (400, r#"{"error":{"code":"context_length_exceeded"}}"#, ""),
        (422, "no JSON at all", ""),
    ];
    for (status, body, headers) in rows {
        let (first, second, node) = two(answer(status, JSON, body)).await;
        let reply = node.ask("POST", CHAT, headers, MODEL_BODY).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, body));
        assert_eq!(
            (first.seen().len(), second.seen().len()),
            (1, 0),
            "{status} {body}"
        );
        assert!(standing(&node, "up1").is_ready(), "{status} {body}");
    }
}

#[tokio::test]
async fn account_without_money_gets_no_more_requests() {
    let (first, _second, node) = two(answer(402, JSON, "{}")).await;
    node.chat().await;
    let reason = EjectionReason::Account;
    until(|| standing(&node, "up1") == Standing::Ejected { reason }).await;
    for _ in 0..5 {
        assert_eq!(node.chat().await.status, 200);
    }
    assert_eq!(first.seen().len(), 1);
}

#[tokio::test]
async fn missing_model_leaves_the_other_models_of_its_upstream() {
    let missing = r#"{"error":{"code":"model_not_found"}}"#;
    let (first, _second, node) = two(answer(404, JSON, missing)).await;
    node.chat().await;
    let model = ModelName::new("gpt-4o").expect("a valid name");
    let is_out = || {
        let view = node.driver.view();
        let own = view.nodes[0].upstreams.iter();
        let mut facts = own.map(|status| &status.fact);
        facts.any(|fact| fact.models_out.contains_key(&model))
    };
    until(is_out).await;
    node.chat().await;
    assert_eq!(first.seen().len(), 1, "it is not asked for the model again");
    assert!(standing(&node, "up1").is_ready());
}

#[tokio::test]
async fn redirect_never_reaches_the_client() {
    let moved = answer(307, "location: https://elsewhere.example/v1/x\r\n", "");
    let only = Scripted::start(moved).await;
    let node = Plan::with(&[&only]).start().await;
    let reply = node.chat().await;
    assert_eq!(reply.status, 502);
    assert!(reply.body.contains("upstream_redirect"), "{}", reply.body);
    assert_eq!(reply.header("location"), None);
    let record = node.record().await;
    let detail = record.attempts[0].detail.as_ref().map(ToString::to_string);
    let detail = detail.unwrap_or_default();
    assert!(detail.contains("redirect to elsewhere.example"), "{detail}");
}

#[tokio::test]
async fn upstream_that_asked_for_a_rest_gets_it_also_where_it_is_the_only_one() {
    let limited = answer(
        429,
        "retry-after: 120\r\n",
        r#"{"error":{"code":"rate_limit_exceeded"}}"#,
    );
    let only = Scripted::start(limited).await;
    let node = Plan::with(&[&only]).start().await;
    let reply = node.chat().await;
    assert!(reply.body.contains("rate_limit_exceeded"), "{}", reply.body);
    let model = ModelName::new("gpt-4o").expect("a valid name");
    let is_resting = || {
        let view = node.driver.view();
        let tiers = view.routes(Some(&model)).map(|routes| &routes.tiers);
        tiers.is_some_and(|tiers| tiers.iter().all(|tier| tier.usable.is_empty()))
    };
    until(is_resting).await;
    for _ in 0..5 {
        let reply = node.chat().await;
        assert_eq!(reply.status, 429);
        assert!(reply.body.contains("upstreams_resting"), "{}", reply.body);
        let wait: u64 = reply
            .header("retry-after")
            .and_then(|it| it.parse().ok())
            .expect("seconds");
        assert!((60..=120).contains(&wait), "{wait}");
    }
    assert_eq!(only.seen().len(), 1);
}

#[tokio::test]
async fn hidden_error_is_given_as_it_came_where_nothing_better_comes() {
    let body = r#"{"error":{"message":"internal"}}"#;
    let only = Scripted::start(answer(200, JSON, body)).await;
    let node = Plan::with(&[&only]).start().await;
    let reply = node.chat().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, body));
}

#[tokio::test]
async fn prompt_that_fails_everywhere_in_the_same_way_ejects_nobody() {
    let poison = || answer(500, JSON, r#"{"error":{"message":"boom"}}"#);
    let (first, second) = (
        Scripted::start(poison()).await,
        Scripted::start(poison()).await,
    );
    let node = Plan::with(&[&first, &second]).start().await;
    for _ in 0..6 {
        assert_eq!(node.chat().await.status, 500);
    }
    until(|| node.history.last(7).len() == 6).await;
    for upstream in ["up1", "up2"] {
        let standing = standing(&node, upstream);
        assert!(
            !matches!(standing, Standing::Ejected { .. }),
            "{upstream}: {standing:?}"
        );
    }
}
