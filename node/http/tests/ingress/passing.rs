//! What passes through, and what does not.

use crate::support::*;

const ODD_BODY: &str =
    "{ \"model\" :\t\"gpt-4o\", \"x\": 1.00, \"u\": \"\\u00e9\u{e9}\",\n\"n\":null }";

#[tokio::test]
async fn bodies_pass_byte_for_byte_both_ways() {
    let odd_answer = "{\"id\" : \"x\",\r\n \"choices\":[ ] , \"é\":1.0}";
    let upstream = Scripted::start(answer(200, "x-custom: kept\r\n", odd_answer)).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node.post(CHAT, ODD_BODY).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, odd_answer));
    assert_eq!(reply.header("x-custom"), Some("kept"));
    let seen = upstream.seen().remove(0);
    assert!(
        seen.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with(&format!("\r\n\r\n{ODD_BODY}")), "{seen}");
}

#[tokio::test]
async fn credentials_and_inner_headers_of_the_client_stay_behind() {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let headers = "authorization: Bearer client-key\r\nx-api-key: client-key\r\ncookie: client-key\r\n\
                   x-grapevine-internal: 1\r\nx-forwarded-for: 10.9.8.7\r\nx-kept: 1\r\n\
                   anthropic-beta: tools\r\ncdn-loop: other\r\n";
    let reply = node.ask("POST", CHAT, headers, MODEL_BODY).await;
    assert_eq!(reply.status, 200);
    let seen = upstream.seen().remove(0).to_ascii_lowercase();
    for gone in ["client-key", "x-grapevine", "10.9.8.7", "connection:"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for kept in [
        "authorization: bearer up1-secret\r\n",
        "x-kept: 1\r\n",
        "anthropic-beta: tools\r\n",
        "cdn-loop: other\r\n",
        "cdn-loop: grapevine\r\n",
    ] {
        assert!(seen.contains(kept), "{kept} not in {seen}");
    }
}

#[tokio::test]
async fn messages_carry_the_key_in_anthropics_header() {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let headers = "anthropic-version: 2023-06-01\r\n";
    node.ask("POST", "/v1/messages", headers, MODEL_BODY).await;
    let seen = upstream.seen().remove(0);
    assert!(seen.contains("x-api-key: up1-secret\r\n"), "{seen}");
    assert!(seen.contains("anthropic-version: 2023-06-01\r\n"), "{seen}");
    assert!(!seen.contains("authorization:"), "{seen}");
}

#[tokio::test]
async fn renamed_model_changes_that_value_alone() {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.targets[0].renames = [(model("gpt-4o"), model("gpt-4o-2024-08-06"))].into();
    let node = plan.start().await;
    let reply = node.post(CHAT, ODD_BODY).await;
    assert_eq!(reply.header("x-grapevine-model"), Some("gpt-4o"));
    let expected = ODD_BODY.replace("gpt-4o", "gpt-4o-2024-08-06");
    let seen = upstream.seen().remove(0);
    assert!(seen.ends_with(&format!("\r\n\r\n{expected}")), "{seen}");
    assert!(
        seen.contains(&format!("content-length: {}\r\n", expected.len())),
        "{seen}"
    );
}

#[tokio::test]
async fn every_answer_shows_its_origin() {
    let upstream = Scripted::start(answer(200, "x-request-id: theirs\r\n", "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node
        .ask("POST", CHAT, "x-request-id: mine\r\n", MODEL_BODY)
        .await;
    let expected = [
        ("x-request-id", "mine"),
        ("x-grapevine-upstream-request-id", "theirs"),
        ("x-grapevine-node", "usa-1"),
        ("x-grapevine-region", "usa"),
        ("x-grapevine-upstream", "up1"),
        ("x-grapevine-model", "gpt-4o"),
        ("x-grapevine-path", "usa"),
        ("x-grapevine-hops", "0"),
        ("x-grapevine-attempts", "1"),
        ("x-grapevine-reason", "only"),
    ];
    for (name, value) in expected {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    for name in ["x-grapevine-overhead-ms", "x-grapevine-upstream-ms"] {
        let milliseconds: f64 = reply.header(name).expect(name).parse().expect(name);
        assert!(
            (0.0..5_000.0).contains(&milliseconds),
            "{name}: {milliseconds}"
        );
    }
}

#[tokio::test]
async fn client_error_of_the_upstream_passes_as_it_is() {
    let error = r#"{"error":{"message":"bad tools","type":"invalid_request_error"}}"#;
    let upstream = Scripted::start(answer(422, "x-should-retry: false\r\n", error)).await;
    let spare = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream, &spare]).start().await;
    let reply = node.chat().await;
    assert_eq!((reply.status, reply.body.as_str()), (422, error));
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert!(spare.seen().is_empty());
    assert_eq!(node.outcomes().await, ["client_error"]);
}

#[tokio::test]
async fn headers_of_the_upstreams_own_origin_stay_behind() {
    let headers = "set-cookie: a=b\r\nalt-svc: h3=\":443\"\r\nkeep-alive: timeout=5\r\n\
                   access-control-allow-origin: https://theirs.example\r\n";
    let upstream = Scripted::start(answer(200, headers, "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node
        .ask("POST", CHAT, "origin: https://a.example\r\n", MODEL_BODY)
        .await;
    for name in ["set-cookie", "alt-svc", "keep-alive"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let exposed = reply
        .header("access-control-expose-headers")
        .expect("exposed");
    assert!(exposed.contains("x-grapevine-node"), "{exposed}");
}

#[tokio::test]
async fn stream_passes_unchanged_and_its_tokens_are_counted() {
    let pieces = [
        "data: {\"a\":1}\n\n",
        "data: {\"usage\":{\"prompt_to",
        "kens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n",
    ];
    let mut script = vec![event_stream()];
    script.extend(pieces.iter().map(|piece| chunk(piece)));
    script.push(send("0\r\n\r\n"));
    let upstream = Scripted::start(script).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node.chat().await;
    assert_eq!(reply.body, pieces.concat());
    assert!(reply.is_whole);
    let record = node.record().await;
    assert_eq!(
        (record.tokens.input, record.tokens.output),
        (Some(9), Some(12))
    );
    assert_eq!(record.status, 200);
}

#[tokio::test]
async fn connection_is_kept_and_used_again_on_both_sides() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let upstream = Scripted::start(answer(200, "", "{\"n\":1}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY).replace("connection: close\r\n", "");
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"{\"n\":1}") {
            let count = stream.read_buf(&mut bytes).await.expect("an answer");
            assert!(count > 0, "closed after {bytes:?}");
        }
    }
    assert_eq!(upstream.seen().len(), 3);
}
