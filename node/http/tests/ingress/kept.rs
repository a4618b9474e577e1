//! What upstreams keep: its ids leave sealed, and come back as they were made.

use grapevine_core::ids::UpstreamName;
use grapevine_core::route::Strategy;
use grapevine_http::ingress::Keys;

use crate::support::*;

const RESPONSES: &str = "/v1/responses";

const JSON: &str = "content-type: application/json\r\n";

const ANSWER: &str = "{\"id\": \"resp_1\",\"output\":[{\"id\":\"rs_1\",\"encrypted_content\":\"gAAA-_==\"}],\n\"é\":1.0}";

fn ids(body: &str) -> Vec<String> {
    let quoted = body.split('"');
    let ids = quoted.filter(|text| text.contains("_g") && text.len() > 17);
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn follow_up_reaches_the_owner_with_the_ids_it_made() {
    let first = Scripted::start(answer(200, JSON, ANSWER)).await;
    let second = Scripted::start(answer(200, JSON, ANSWER)).await;
    let mut plan = Plan::with(&[&first, &second]);
    // By weight, a request without an owner goes anywhere.
    plan.settings.strategy = Strategy::Weighted;
    let node = plan.start().await;
    let named = "x-grapevine-upstream: up2\r\naccept-encoding: gzip\r\n";
    let body = "{\"model\":\"gpt-4o\",\"input\":\"hi\"}";
    let reply = node.ask("POST", RESPONSES, named, body).await;
    assert_eq!(
        (reply.status, reply.header("x-grapevine-upstream")),
        (200, Some("up2"))
    );
    let ids = ids(&reply.body);
    assert_eq!(ids.len(), 3, "{}", reply.body);
    assert!(second.seen()[0].contains("accept-encoding: identity\r\n"));
    let [response, item, content] = &ids[..] else {
        panic!("three ids: {ids:?}");
    };
    for _ in 0..8 {
        let body = format!(
            "{{ \"model\":\"gpt-4o\", \"previous_response_id\" : \"{response}\",\n \"input\":[{{\"id\":\"{item}\",\
             \"encrypted_content\":\"{content}\",\"text\":\"of {response}\"}}] }}"
        );
        let reply = node.post(RESPONSES, &body).await;
        assert_eq!(reply.header("x-grapevine-upstream"), Some("up2"));
        assert_eq!(reply.header("x-grapevine-reason"), Some("owner"));
        assert_eq!(reply.header("x-grapevine-session"), Some("owner"));
        let seen = second.seen().pop().expect("a request");
        let expected = format!(
            "{{ \"model\":\"gpt-4o\", \"previous_response_id\" : \"resp_1\",\n \"input\":[{{\"id\":\"rs_1\",\
             \"encrypted_content\":\"gAAA-_==\",\"text\":\"of {response}\"}}] }}"
        );
        assert!(seen.ends_with(&format!("\r\n\r\n{expected}")), "{seen}");
        assert!(
            seen.contains(&format!("content-length: {}\r\n", expected.len())),
            "{seen}"
        );
    }
    for (method, path) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/input_items?after=x"),
    ] {
        let reply = node
            .ask(method, &format!("{RESPONSES}/{response}{path}"), "", "")
            .await;
        assert_eq!(
            (reply.status, reply.header("x-grapevine-upstream")),
            (200, Some("up2"))
        );
        let seen = second.seen().pop().expect("a request");
        assert!(
            seen.starts_with(&format!("{method} /v1/responses/resp_1{path} HTTP/1.1\r\n")),
            "{seen}"
        );
    }
    assert!(first.seen().is_empty());
}

#[tokio::test]
async fn streams_are_sealed_as_they_flow_and_other_answers_are_not_touched() {
    let script = vec![
        event_stream(),
        chunk("data: {\"response\":{\"id\":\"res"),
        chunk("p_1\"}}\n\ndata: {\"item_id\":\"msg_1\",\"delta\":\"resp_1\"}\n\n"),
        send("0\r\n\r\n"),
    ];
    let upstream = Scripted::start(script).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node
        .post(RESPONSES, "{\"model\":\"gpt-4o\",\"stream\":true}")
        .await;
    let sealed = ids(&reply.body);
    assert_eq!(sealed.len(), 1, "{}", reply.body);
    let restored = reply.body.replace(&sealed[0], "resp_1");
    assert_eq!(
        restored,
        "data: {\"response\":{\"id\":\"resp_1\"}}\n\ndata: {\"item_id\":\"msg_1\",\"delta\":\"resp_1\"}\n\n"
    );
    let plain = Scripted::start(answer(200, JSON, ANSWER)).await;
    let node = Plan::with(&[&plain]).start().await;
    for path in [CHAT, "/v1/messages"] {
        let reply = node.post(path, MODEL_BODY).await;
        assert_eq!(reply.body, ANSWER, "{path}");
        assert_eq!(
            reply.header("content-length"),
            Some(&*ANSWER.len().to_string())
        );
    }
}

#[tokio::test]
async fn forged_ids_are_not_found_and_old_ones_pass() {
    let upstream = Scripted::start(answer(200, JSON, ANSWER)).await;
    let node = Plan::with(&[&upstream]).start().await;
    let forged = format!("{RESPONSES}/resp_1_g0123456789abcde");
    let reply = node.ask("GET", &forged, "", "").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.header("x-grapevine-reason"), Some("unknown_id"));
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    assert!(upstream.seen().is_empty());
    let reply = node
        .ask("GET", &format!("{RESPONSES}/resp_1"), "", "")
        .await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn key_names_its_own_upstreams_alone() {
    let first = Scripted::start(answer(200, JSON, "{}")).await;
    let second = Scripted::start(answer(200, JSON, "{}")).await;
    let mut plan = Plan::with(&[&first, &second]);
    let mut key = static_key("app", "secret", &["gpt-4o"]);
    let up2 = UpstreamName::new("up2").expect("a name");
    std::sync::Arc::make_mut(&mut key.key).rights.upstreams = Some([up2].into());
    plan.settings.keys = Keys::new([key]);
    let node = plan.start().await;
    let ask = async |upstream: &str| {
        let headers =
            format!("authorization: Bearer secret\r\nx-grapevine-upstream: {upstream}\r\n");
        let reply = node.ask("POST", CHAT, &headers, MODEL_BODY).await;
        let upstream = reply.header("x-grapevine-upstream").map(str::to_owned);
        let reason = reply.header("x-grapevine-reason").map(str::to_owned);
        (reply.status, upstream, reason)
    };
    let (status, upstream, _) = ask("up2").await;
    assert_eq!((status, upstream.as_deref()), (200, Some("up2")));
    let (status, _, reason) = ask("up1").await;
    assert_eq!(
        (status, reason.as_deref()),
        (403, Some("upstream_not_allowed"))
    );
}

#[tokio::test]
async fn answer_names_what_the_conversation_was_recognised_by() {
    let upstream = Scripted::start(answer(200, JSON, "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let ask = async |headers: &str, more: &str| {
        let body = format!("{{\"model\":\"gpt-4o\"{more}}}");
        let reply = node.ask("POST", CHAT, headers, &body).await;
        reply.header("x-grapevine-session").map(str::to_owned)
    };
    assert_eq!(ask("", "").await, None);
    assert_eq!(ask("", ",\"user\":\"u\"").await.as_deref(), Some("user"));
    let header = "x-session-id: s\r\n";
    assert_eq!(
        ask(header, ",\"user\":\"u\"").await.as_deref(),
        Some("x-session-id")
    );
    let own = "x-session-id: s\r\nx-grapevine-session-id: o\r\n";
    assert_eq!(
        ask(own, "").await.as_deref(),
        Some("x-grapevine-session-id")
    );
    let opening = ",\"messages\":[{\"role\":\"user\",\"content\":\"Tell me of the islands to the north of Sicily.\"}]";
    assert_eq!(ask("", opening).await.as_deref(), Some("opening"));
}
