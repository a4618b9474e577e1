//! Answers whose ends could be read in two ways, and upstreams that break HTTP's rules.

use crate::support::*;

/// No part of an answer that begins like this may reach the client; the next upstream answers.
async fn refused(script: Vec<Act>) {
    let shown = format!("{script:?}");
    let broken = Scripted::start(script).await;
    let good = Scripted::start(answer(200, "", "{\"good\":1}")).await;
    let node = Plan::with(&[&broken, &good]).start().await;
    let reply = node.chat().await;
    let got = (reply.status, reply.body.as_str());
    assert_eq!(got, (200, "{\"good\":1}"), "{shown}");
    assert_eq!(node.outcomes().await, ["reset", "answered"], "{shown}");
}

fn raw(head: &str, body: &str) -> Vec<Act> {
    vec![send(format!("{head}\r\n\r\n{body}")), Act::Close]
}

#[tokio::test]
async fn length_and_chunks_at_once_are_refused() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 0",
    ] {
        refused(raw(head, "6\r\n{\"a\":1\r\n1\r\n}\r\n0\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn switch_of_protocols_that_nobody_asked_for_is_refused() {
    refused(raw(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade",
        "hello",
    ))
    .await;
    let alone = Scripted::start(raw("HTTP/1.1 101 Switching Protocols", "")).await;
    let node = Plan::with(&[&alone]).start().await;
    let headers = "connection: upgrade\r\nupgrade: websocket\r\n";
    let reply = node.ask("POST", CHAT, headers, MODEL_BODY).await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.json()["error"]["code"], "upstream_error");
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let large = format!("HTTP/1.1 200 OK\r\nx-a: {}", "a".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK{}", "\r\nx-a: 1".repeat(200));
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 5",
        "HTTP/1.1 200 OK\r\ncontent-length: -3",
        "HTTP/1.1 200 OK\r\ncontent-length: +3",
        "HTTP/1.1 200 OK\r\ncontent-length: 0x3",
        "HTTP/1.1 200 OK\r\ncontent-length: 3 3",
        "HTTP/1.1 200 OK\r\ncontent-length:",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\r\nx-a: 1\r\n content-length: 3",
        "HTTP/1.1 200 OK\r\ncontent-length : 3",
        "HTTP/1.1 200 OK\r\nx-a: \0",
        "HTTP/1.1 200 OK\r\nx-a: a\rcontent-length: 3",
        "HTTP/1.1 200 OK\r\nx a: 1",
        "HTTP/1.1 200 OK\r\n: 1",
        "HTTP/1.1 99 Low",
        "HTTP/1.1 2000 Long",
        "HTTP/1.1 abc",
        "HTTP/2.0 200 OK",
        "HTTP/9.9 200 OK",
        "<html>hello</html>",
        large.as_str(),
        many.as_str(),
    ] {
        refused(raw(head, "{\"bad\":1}")).await;
    }
}

#[tokio::test]
async fn equal_lengths_are_one_and_a_missing_reason_is_none() {
    for head in [
        "HTTP/1.1 200\r\ncontent-length: 2\r\ncontent-length: 2",
        "HTTP/1.1 200 \r\ncontent-length: 2",
        "HTTP/1.0 200 OK\r\ncontent-length: 2",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2",
    ] {
        let upstream = Scripted::start(raw(head, "{}")).await;
        let node = Plan::with(&[&upstream]).start().await;
        let reply = node.chat().await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "{}"), "{head}");
        let lengths = reply
            .head
            .to_ascii_lowercase()
            .matches("content-length")
            .count();
        assert!(reply.is_whole && lengths == 1, "{}", reply.head);
    }
}

/// The first bytes are with the client: the connection breaks instead of ending.
#[tokio::test]
async fn body_that_breaks_the_rules_breaks_the_clients_connection() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked";
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 90000";
    for (head, rest) in [
        (chunked, "zz\r\n"),
        (chunked, "-1\r\n"),
        (chunked, "fffffffffffffffff\r\n"),
        (chunked, "3 x\r\nabc\r\n"),
        (chunked, "3\r\nabcdef\r\n0\r\n\r\n"),
        (chunked, "3\nabc\r\n"),
        (chunked, "3\r\nab"),
        (chunked, ""),
        (sized, "and no more"),
    ] {
        let first = match (head == chunked, long_beginning()) {
            (true, first) => format!("{:x}\r\n{first}\r\n", first.len()),
            (false, first) => first,
        };
        let script = vec![
            send(format!("{head}\r\n\r\n{first}")),
            Act::Pause(std::time::Duration::from_millis(50)),
            send(rest),
            Act::Close,
        ];
        let upstream = Scripted::start(script).await;
        let node = Plan::with(&[&upstream]).start().await;
        let reply = node.chat().await;
        assert_eq!(reply.status, 200, "{rest}");
        assert!(!reply.is_whole, "{rest}: {reply:?}");
        assert_eq!(node.outcomes().await, ["broken_off"], "{rest}");
    }
}

/// Bytes after an answer are no answer: after one without a body also where they arrive late.
#[tokio::test]
async fn nothing_behind_an_answer_is_read_as_the_next_one() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsmuggled!";
    let pause = || Act::Pause(std::time::Duration::from_millis(30));
    let mut scripts = vec![vec![send(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{smuggled}"
    ))]];
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 48\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        scripts.push(vec![send(format!("{head}{smuggled}"))]);
        scripts.push(vec![send(head), pause(), send(smuggled)]);
    }
    for script in scripts {
        let shown = format!("{script:?}");
        let upstream = Scripted::start(script).await;
        let node = Plan::with(&[&upstream]).start().await;
        for _ in 0..4 {
            assert_ne!(node.chat().await.body, "smuggled!", "{shown}");
        }
    }
}

#[tokio::test]
async fn answer_before_the_request_was_taken_is_passed_on() {
    let upstream = Scripted::answering_early(answer(413, "", "{\"error\":1}")).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.settings.body_bytes_max = 8 << 20;
    let node = plan.start().await;
    let prompt = "x".repeat(4 << 20);
    let body = format!(r#"{{"model":"gpt-4o","prompt":"{prompt}"}}"#);
    let reply = node.post(CHAT, &body).await;
    assert_eq!((reply.status, reply.body.as_str()), (413, "{\"error\":1}"));
}

/// Heads that are no answers, which upstreams send while they work.
fn interim(count: usize) -> String {
    "HTTP/1.1 102 Processing\r\n\r\n".repeat(count)
}

/// Read for as long as the wait for the first byte, they would keep others of the same thread waiting.
#[tokio::test]
async fn interim_answers_without_an_end_are_refused_at_their_limit() {
    refused(vec![send(interim(5_000)), Act::Hang]).await;
    refused(vec![send(interim(2_000)); 20]).await;
}

#[tokio::test]
async fn interim_answers_within_their_limit_are_passed_over() {
    let head = interim(256) + "HTTP/1.1 200 OK\r\ncontent-length: 2";
    let upstream = Scripted::start(raw(&head, "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    let reply = node.chat().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "{}"));
}

#[tokio::test]
async fn interim_answers_do_not_lengthen_the_wait_for_the_first_byte() {
    let working = Scripted::start(vec![send(interim(256)), Act::Hang]).await;
    let good = Scripted::start(answer(200, "", "{\"good\":1}")).await;
    let mut plan = Plan::with(&[&working, &good]);
    plan.targets[0].timeouts.first_byte = std::time::Duration::from_millis(300);
    let node = plan.start().await;
    let reply = node.ask("POST", CHAT, "", STREAM_BODY).await;
    assert_eq!(reply.body, "{\"good\":1}");
    assert_eq!(node.outcomes().await, ["first_byte_timeout", "answered"]);
}
