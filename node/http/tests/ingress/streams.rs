//! Streams that break after their first byte, and streams that fall silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use crate::support::*;

async fn broken_stream(path: &str, script: Vec<Act>) -> (Reply, Vec<&'static str>) {
    let upstream = Scripted::start(script).await;
    let spare = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream, &spare]).start().await;
    let reply = node
        .post(path, &MODEL_BODY.replace("gpt-4o", "claude"))
        .await;
    assert!(
        spare.seen().is_empty(),
        "a second upstream was asked after the first byte"
    );
    (reply, node.outcomes().await)
}

#[tokio::test]
async fn broken_stream_ends_with_openais_error_and_no_clean_end() {
    for (sent, ended) in [
        ("data: {\"a\":1}\n\n", ""),
        ("data: {\"a\":1}\r\r", ""),
        ("data: {\"a\":1}\r\n\r\n", ""),
        ("data: {\"a\":1}\n\ndata: {\"ha", "\nevent: incomplete\n\n"),
        ("data: {\"ha\r", "event: incomplete\n\n"),
        ("data: {\"ha\r\n", "event: incomplete\n\n"),
        ("data: {}\n\n: pi", "\nevent: incomplete\n\n"),
    ] {
        let script = vec![event_stream(), chunk(sent), Act::Close];
        let (reply, outcomes) = broken_stream(CHAT, script).await;
        assert_eq!(reply.status, 200);
        let error = reply
            .body
            .strip_prefix(&format!("{sent}{ended}data: "))
            .expect(&reply.body);
        let error: serde_json::Value = serde_json::from_str(error.trim_end()).expect(error);
        assert_eq!(error["error"]["code"], "upstream_broken_off");
        assert!(reply.body.ends_with("\n\n"));
        assert!(!reply.is_whole, "the answer ended cleanly");
        assert_eq!(outcomes, ["broken_off"]);
    }
}

#[tokio::test]
async fn broken_stream_ends_with_anthropics_error_event() {
    let event = "event: message_start\ndata: {}\n\n";
    let script = vec![event_stream(), chunk(event), Act::Close];
    let (reply, _) = broken_stream("/v1/messages", script).await;
    let error = reply.body.strip_prefix(event).expect(&reply.body);
    let error = error.strip_prefix("event: error\ndata: ").expect(error);
    let error: serde_json::Value = serde_json::from_str(error.trim_end()).expect(error);
    assert_eq!(
        (&error["type"], &error["error"]["type"]),
        (&"error".into(), &"api_error".into())
    );
    assert!(!reply.is_whole, "the answer ended cleanly");
}

#[tokio::test]
async fn broken_body_of_another_kind_is_just_broken_off() {
    let script = vec![
        send("HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n{\"a\":"),
        Act::Close,
    ];
    let (reply, outcomes) = broken_stream(CHAT, script).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"a\":"));
    assert!(!reply.is_whole);
    assert_eq!(outcomes, ["broken_off"]);
}

#[tokio::test]
async fn silent_stream_gets_comments_between_events_only() {
    let interval = Duration::from_millis(50);
    let go = Arc::new(Semaphore::new(0));
    let script = vec![
        event_stream(),
        chunk("data: 1\r\r"),
        Act::Until(Arc::clone(&go)),
        chunk("data: 2"),
        Act::Pause(3 * interval),
        chunk("\n\n"),
        send("0\r\n\r\n"),
    ];
    let upstream = Scripted::start(script).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.settings.ping_interval = interval;
    let node = plan.start().await;
    let mut stream = node.connect().await;
    let request = request("POST", CHAT, "", MODEL_BODY);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = read_until(&mut stream, ": ping").await;
    go.add_permits(1);
    text += &read_until(&mut stream, "0\r\n\r\n").await;
    let reply = parse(text.as_bytes(), true);
    assert!(
        reply.body.starts_with("data: 1\r\r: ping\n\n"),
        "{:?}",
        reply.body
    );
    assert!(
        reply.body.ends_with(": ping\n\ndata: 2\n\n"),
        "{:?}",
        reply.body
    );
    assert!(reply.is_whole);
}

#[tokio::test]
async fn every_piece_is_passed_on_as_it_comes() {
    let pieces = [
        "data: x\n\n",
        "data: part",
        "ial\n",
        "data: more\r",
        ": comment",
        "\r\n",
        "event: e\r\r",
        "[no field",
    ];
    let go = Arc::new(Semaphore::new(0));
    let mut script = vec![event_stream()];
    for piece in pieces {
        script.extend([chunk(piece), Act::Until(Arc::clone(&go))]);
    }
    script.push(send("0\r\n\r\n"));
    let upstream = Scripted::start(script).await;
    for asks_usage in [false, true] {
        let mut plan = Plan::with(&[&upstream]);
        plan.settings.asks_usage = asks_usage;
        let node = plan.start().await;
        let mut stream = node.connect().await;
        let body = r#"{"model":"gpt-4o","stream":true}"#;
        let request = request("POST", CHAT, "", body);
        stream.write_all(request.as_bytes()).await.expect("sent");
        for piece in pieces {
            // The upstream sends the next one only after this one has arrived.
            read_until(&mut stream, &format!("{piece}\r\n")).await;
            go.add_permits(1);
        }
        read_until(&mut stream, "0\r\n\r\n").await;
    }
}
