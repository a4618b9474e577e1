//! Which requests are admitted, and the errors of the others.

use std::time::Duration;

use bytes::Bytes;
use grapevine_core::dialect::DialectSet;
use grapevine_core::forwarding::{ExtraPath, Forwarding, Methods};
use grapevine_http::ingress::{Cors, Keys};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use grapevine_core::engine::Models;

use crate::support::*;

async fn node_with(tweak: impl FnOnce(&mut Plan)) -> (Node, Scripted) {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&upstream]);
    tweak(&mut plan);
    (plan.start().await, upstream)
}

#[tokio::test]
async fn listed_models_have_the_dialects_of_whoever_serves_them() {
    let mut plan = Plan::with(&[
        &Scripted::start(vec![]).await,
        &Scripted::start(vec![]).await,
    ]);
    plan.specs[0].dialects = DialectSet::MESSAGES;
    plan.specs[1].dialects = DialectSet::CHAT.with(DialectSet::RESPONSES);
    plan.specs[1].models = Models::Listed(vec![model("gpt-4o")]);
    let node = plan.start().await;
    let (messages, all) = (
        json!(["messages"]),
        json!(["chat", "responses", "messages"]),
    );
    for headers in ["", "anthropic-version: 2023-06-01\r\n"] {
        let listed = node.ask("GET", "/v1/models", headers, "").await.json();
        assert_eq!(listed["data"][0]["dialects"], messages, "{listed}");
        assert_eq!(listed["data"][1]["dialects"], all, "{listed}");
    }
    let one = node.ask("GET", "/v1/models/claude", "", "").await.json();
    assert_eq!(one["dialects"], messages);
}

#[tokio::test]
async fn bad_bodies_are_refused_in_the_apis_shape() {
    let (node, upstream) = node_with(|_| {}).await;
    for (body, says) in [
        ("", "empty"),
        ("{\"model\":", "not valid JSON"),
        ("[]", "model"),
        ("{\"messages\":[]}", "names no model"),
        ("{\"model\":7}", "must be a string"),
    ] {
        let reply = node.post(CHAT, body).await;
        assert_eq!(reply.status, 400, "{body}");
        let error = &reply.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(says), "{message}");
        assert_eq!(reply.header("x-should-retry"), Some("false"));
        assert!(reply.header("x-request-id").is_some());
        assert_eq!(reply.header("x-grapevine-node"), Some("usa-1"));
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn error_of_an_unknown_model_lists_the_nearest_names() {
    let (node, _) = node_with(|_| {}).await;
    let reply = node.post(CHAT, "{\"model\":\"gpt-4\"}").await;
    assert_eq!(reply.status, 404);
    let error = &reply.json()["error"];
    assert_eq!(
        (&error["code"], &error["param"]),
        (&"model_not_found".into(), &"model".into())
    );
    assert!(reply.body.contains("gpt-4o"), "{}", reply.body);
}

#[tokio::test]
async fn model_of_any_name_is_served_and_shown() {
    let name = "two wörter";
    let (node, upstream) = node_with(|plan| {
        plan.specs[0].models = Models::Listed(vec![model(name), model("gpt-4o")]);
    })
    .await;
    let body = format!(r#"{{"model":"{name}"}}"#);
    let reply = node.post(CHAT, &body).await;
    let header = Some("two%20w%C3%B6rter");
    assert_eq!(
        (reply.status, reply.header("x-grapevine-model")),
        (200, header)
    );
    assert!(upstream.seen().remove(0).ends_with(&body));
    let reply = node.post(CHAT, r#"{"model":"two worter"}"#).await;
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains(name), "{}", reply.body);
    for bad in [
        r#" gpt-4o"#,
        r#"gpt-4o\n"#,
        r#"gpt-4o\u00a0"#,
        r#"\ud800"#,
        "",
    ] {
        let reply = node.post(CHAT, &format!(r#"{{"model":"{bad}"}}"#)).await;
        assert_eq!(reply.status, 400, "{bad}");
        assert_eq!(reply.json()["error"]["param"], "model", "{bad}");
    }
    let path = "/v1/models/two%20w%C3%B6rter";
    let reply = node.ask("GET", path, "", "").await;
    assert_eq!(reply.json()["id"], name);
}

#[tokio::test]
async fn oversize_body_is_refused_with_the_limit() {
    let (node, upstream) = node_with(|plan| plan.settings.body_bytes_max = 1_000).await;
    let large = format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "x".repeat(300_000));
    let reply = node.post(CHAT, &large).await;
    assert_eq!(reply.status, 413);
    assert!(reply.body.contains("1000 bytes"), "{}", reply.body);
    let mut stream = node.connect().await;
    let chunked = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    stream.write_all(chunked.as_bytes()).await.expect("sent");
    assert_eq!(read_reply(&mut stream).await.status, 413);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn chunked_body_in_pieces_arrives_as_one() {
    let (node, upstream) = node_with(|_| {}).await;
    let mut stream = node.connect().await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    for piece in ["{\"model\":", "\"gpt-4o\"", "}"] {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        stream.write_all(chunk.as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    assert_eq!(read_reply(&mut stream).await.status, 200);
    let seen = upstream.seen().remove(0);
    assert!(seen.ends_with("\r\n\r\n{\"model\":\"gpt-4o\"}"), "{seen}");
    assert!(!seen.contains("transfer-encoding"), "{seen}");
}

#[tokio::test]
async fn body_that_stalls_is_a_request_timeout() {
    let (node, _) = node_with(|plan| plan.settings.body_timeout = Duration::from_millis(100)).await;
    let mut stream = node.connect().await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.expect("sent");
    assert_eq!(read_reply(&mut stream).await.status, 408);
}

#[tokio::test]
async fn slow_head_is_cut_off() {
    let (node, _) = node_with(|plan| plan.listen.header_timeout = Duration::from_millis(200)).await;
    for start in ["", "P", "POST /v1/chat"] {
        let mut stream = node.connect().await;
        stream.write_all(start.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        let cut = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        assert!(cut.is_ok(), "{start:?} kept its connection");
    }
}

#[tokio::test]
async fn idle_connection_is_kept_and_a_slow_second_head_is_cut_off() {
    let (node, _) = node_with(|plan| plan.listen.header_timeout = Duration::from_millis(100)).await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY).replace("connection: close\r\n", "");
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n{}") {
            assert!(stream.read_buf(&mut bytes).await.expect("an answer") > 0);
        }
        let idle = tokio::time::timeout(Duration::from_millis(400), stream.read_u8()).await;
        assert!(idle.is_err(), "the idle connection was closed");
    }
    stream.write_all(b"POST /v1").await.expect("sent");
    let cut = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
    assert!(cut.expect("the connection is closed").is_err());
}

#[tokio::test]
async fn upload_may_take_longer_than_a_head() {
    let (node, _) = node_with(|plan| plan.listen.header_timeout = Duration::from_millis(100)).await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    let (start, end) = request.split_at(request.len() - 10);
    stream.write_all(start.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(300)).await;
    stream.write_all(end.as_bytes()).await.expect("sent");
    assert_eq!(read_reply(&mut stream).await.status, 200);
}

#[tokio::test]
async fn too_many_and_too_large_headers_are_refused() {
    let (node, upstream) = node_with(|_| {}).await;
    let many: String = (0..200).map(|index| format!("x-{index}: 1\r\n")).collect();
    assert_eq!(node.ask("POST", CHAT, &many, MODEL_BODY).await.status, 431);
    let large = format!("x-large: {}\r\n", "x".repeat(20_000));
    assert_eq!(node.ask("POST", CHAT, &large, MODEL_BODY).await.status, 431);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn bad_option_header_is_refused_by_name() {
    let (node, _) = node_with(|_| {}).await;
    let headers = "x-grapevine-timeout-ms: soon\r\n";
    let reply = node.ask("POST", CHAT, headers, MODEL_BODY).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["param"], "x-grapevine-timeout-ms");
}

#[tokio::test]
async fn region_fence_without_a_way_through_is_451() {
    let (node, upstream) = node_with(|_| {}).await;
    let headers = "x-grapevine-allow-regions: eur\r\n";
    let reply = node.ask("POST", CHAT, headers, MODEL_BODY).await;
    assert_eq!(reply.status, 451);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn request_that_came_back_is_refused() {
    let (node, upstream) = node_with(|_| {}).await;
    let headers = "cdn-loop: cdn.example, grapevine\r\n";
    let reply = node.ask("POST", CHAT, headers, MODEL_BODY).await;
    assert_eq!(reply.status, 508);
    assert!(reply.body.contains("base_url"), "{}", reply.body);
    assert!(upstream.seen().is_empty());
}

fn keys() -> Keys {
    Keys::new([static_key("app", "right", &["gpt-4o"])])
}

#[tokio::test]
async fn only_known_keys_are_admitted_and_only_for_their_models() {
    let (node, upstream) = node_with(|plan| plan.settings.keys = keys()).await;
    let reply = node.chat().await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    let wrong = node
        .ask("POST", CHAT, "authorization: Bearer wrong\r\n", MODEL_BODY)
        .await;
    assert_eq!(wrong.json()["error"]["code"], "invalid_api_key");
    assert!(!wrong.body.contains("wrong"), "{}", wrong.body);
    let right = "authorization: Bearer right\r\n";
    let other = MODEL_BODY.replace("gpt-4o", "claude");
    assert_eq!(node.ask("POST", CHAT, right, &other).await.status, 403);
    assert!(upstream.seen().is_empty());
    assert_eq!(node.ask("POST", CHAT, right, MODEL_BODY).await.status, 200);
    let listed = node
        .ask("GET", "/v1/models", "x-api-key: right\r\n", "")
        .await
        .json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn models_are_listed_in_both_shapes() {
    let (node, _) = node_with(|plan| plan.known_peers = vec![("sgp", 1)]).await;
    let listed = node.ask("GET", "/v1/models", "", "").await.json();
    assert_eq!(listed["object"], "list");
    assert_eq!(listed["data"][0]["id"], "claude");
    assert_eq!(listed["data"][1]["owned_by"], "sgp,usa");
    let headers = "anthropic-version: 2023-06-01\r\n";
    let listed = node.ask("GET", "/v1/models", headers, "").await.json();
    assert_eq!(
        (&listed["has_more"], &listed["last_id"]),
        (&false.into(), &"gpt-4o".into())
    );
    let one = node.ask("GET", "/v1/models/gpt-4o", "", "").await;
    assert_eq!((one.status, &one.json()["object"]), (200, &"model".into()));
    // The peer was met a moment ago, and another might be.
    let early = node.ask("GET", "/v1/models/none", "", "").await;
    assert_eq!(early.status, 503);
    assert_eq!(early.json()["error"]["code"], "node_joining");
    node.until_settled().await;
    assert_eq!(node.ask("GET", "/v1/models/none", "", "").await.status, 404);
    let reply = node.ask("DELETE", "/v1/models/gpt-4o", "", "").await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn unknown_paths_and_climbing_paths_are_refused() {
    let (node, upstream) = node_with(|_| {}).await;
    assert_eq!(node.ask("GET", "/", "", "").await.status, 404);
    assert_eq!(node.post("/v2/chat", MODEL_BODY).await.status, 404);
    assert_eq!(node.post("/v1/../admin", MODEL_BODY).await.status, 400);
    assert_eq!(node.ask("GET", "/v1/embeddings", "", "").await.status, 405);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn management_paths_are_not_forwarded_unless_the_operator_names_them() {
    let (node, upstream) = node_with(|_| {}).await;
    let asked = [
        ("GET", "/v1/organization/users"),
        ("DELETE", "/v1/vector_stores/x"),
    ];
    for (method, path) in asked {
        let reply = node.ask(method, path, "", "").await;
        let error = &reply.json()["error"];
        assert_eq!(
            (reply.status, &error["code"]),
            (404, &"unknown_path".into())
        );
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains("'forward'"), "{message}");
    }
    assert!(upstream.seen().is_empty());
    let named = |plan: &mut Plan| {
        let methods = Methods::of(["DELETE"]).expect("a method");
        let extra = ExtraPath::new("/v1/vector_stores/*", methods).expect("a path");
        plan.settings.forwarding = Forwarding::new(vec![extra]);
    };
    let (node, upstream) = node_with(named).await;
    let statuses = [("DELETE", 200), ("GET", 405)];
    for (method, status) in statuses {
        let reply = node.ask(method, "/v1/vector_stores/x", "", "").await;
        assert_eq!(reply.status, status, "{method}");
    }
    let reply = node.ask("GET", "/v1/organization/users", "", "").await;
    assert_eq!(reply.status, 404);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn answers_of_paths_that_the_operator_added_leave_health_alone() {
    let broken = Scripted::start(answer(500, "", "{}")).await;
    let mut plan = Plan::with(&[&broken]);
    let extra = ExtraPath::new("/v1/vector_stores", Methods::ALL).expect("a path");
    plan.settings.forwarding = Forwarding::new(vec![extra]);
    let node = plan.start().await;
    for _ in 0..10 {
        assert_eq!(
            node.ask("GET", "/v1/vector_stores", "", "").await.status,
            500
        );
    }
    until(|| node.history.last(11).len() == 10).await;
    let is_ready = || {
        let view = node.driver.view();
        let mut own = view.own.values();
        own.all(|it| it.standing.is_ready())
    };
    assert!(is_ready());
    for _ in 0..10 {
        node.chat().await;
    }
    until(|| !is_ready()).await;
}

#[tokio::test]
async fn request_that_servers_may_read_in_two_ways_is_refused() {
    let (node, upstream) = node_with(|_| {}).await;
    for path in [
        "/v1/chat/completions?model=other",
        "/v1/chat//completions",
        "/v1/%63hat/completions",
    ] {
        assert_eq!(node.post(path, MODEL_BODY).await.status, 400, "{path}");
    }
    let uncoded = node
        .ask("POST", CHAT, "content-encoding: identity\r\n", MODEL_BODY)
        .await;
    assert_eq!(uncoded.status, 200);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn health_is_answered_without_a_key() {
    let (node, _) = node_with(|plan| plan.settings.keys = keys()).await;
    for path in [
        "/healthz",
        "/health/liveliness",
        "/readyz",
        "/health/readiness",
    ] {
        assert_eq!(node.ask("GET", path, "", "").await.status, 200, "{path}");
    }
    assert_eq!(
        node.ask("GET", "/readyz", "", "").await.json()["ready"],
        true
    );
}

#[tokio::test]
async fn preflight_is_answered_for_allowed_origins_only() {
    let origin = http::HeaderValue::from_static("https://a.example");
    let tweak = |plan: &mut Plan| plan.settings.cors = Cors::Listed(vec![origin]);
    let (node, upstream) = node_with(tweak).await;
    let asks = "access-control-request-method: POST\r\naccess-control-request-headers: x-a, authorization\r\n";
    let allowed = format!("origin: https://a.example\r\n{asks}");
    let reply = node.ask("OPTIONS", CHAT, &allowed, "").await;
    assert_eq!(reply.status, 204);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(
        reply.header("access-control-allow-headers"),
        Some("x-a, authorization")
    );
    let other = format!("origin: https://b.example\r\n{asks}");
    let reply = node.ask("OPTIONS", CHAT, &other, "").await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn http2_without_tls_is_served() {
    let (node, _) = node_with(|_| {}).await;
    let io = TokioIo::new(node.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://h{CHAT}"))
        .body(Full::new(Bytes::from_static(MODEL_BODY.as_bytes())))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-grapevine-upstream"], "up1");
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert_eq!(&body[..], b"{}");
}

#[tokio::test]
async fn node_at_its_limit_refuses_with_an_error() {
    let (node, upstream) = node_with(|plan| plan.settings.in_flight_max = 1).await;
    let _one = node.driver.budget().request();
    let reply = node.chat().await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn stopping_lets_requests_in_flight_finish() {
    let script = stream_with_a_pause(Duration::from_millis(300));
    let upstream = Scripted::start(script).await;
    let node = Plan::with(&[&upstream]).start().await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    stream.write_all(request.as_bytes()).await.expect("sent");
    upstream.first_request_came().await;
    let address = node.address;
    let (reply, ()) = tokio::join!(read_reply(&mut stream), node.workers.stop(PATIENCE));
    assert_eq!(reply.body, "data: 1\n\ndata: 2\n\n");
    assert!(reply.is_whole);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
