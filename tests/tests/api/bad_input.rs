//! What no client and no stranger should send: each gets a clear error, and none stops a node.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use grapevine_tests::client::{self, Answer, chat_body, http, whole};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, within};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(15);

/// The largest body the node under test takes.
const BODY_BYTES_MAX: usize = 64 * 1024;

struct World {
    mesh: Mesh,
    _upstreams: Vec<Mock>,
}

impl World {
    async fn start() -> Self {
        let local = Mock::start("sgp-up", &["gpt-4o"]).await;
        let far = Mock::start("jpn-up", &["far"]).await;
        let limits = json!({
            "body": "64KiB", "header_count": 50, "header_size": "16KiB",
            "header_timeout": "1s", "body_timeout": "1s",
        });
        let mesh = Mesh::builder()
            .node("sgp", |node| node.upstream(&local).config("limits", limits))
            .node("jpn", |node| node.upstream(&far))
            .start()
            .await;
        Self {
            mesh,
            _upstreams: vec![local, far],
        }
    }

    fn node(&self) -> &Node {
        &self.mesh["sgp"]
    }

    // Posts raw bytes as a chat.
    async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        let url = format!("{}/chat/completions", self.node().base_url());
        let request = http()
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        whole(request)
            .await
            .unwrap_or_else(|error| panic!("no whole answer: {error:?}"))
    }

    async fn check_that_all_still_works(&self) {
        for model in ["gpt-4o", "far"] {
            let answer = client::chat(self.node(), model, "still there?").await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        }
        assert_eq!(self.mesh["jpn"].admin("/healthz").await.status, 200);
    }
}

// The status, and that the error has OpenAI's shape and our headers.
fn assert_error(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = &answer.json()["error"];
    assert!(error["type"].is_string(), "{error}");
    assert!(
        error.get("param").is_some() && error.get("code").is_some(),
        "{error}"
    );
    let message = error["message"].as_str().unwrap_or_default().to_lowercase();
    assert!(message.contains(word), "no {word:?} in {message:?}");
    assert!(
        !answer.header("x-request-id").is_empty(),
        "{:?}",
        answer.headers
    );
    assert_eq!(answer.header("x-grapevine-node"), "sgp");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_bad_requests() {
    let world = World::start().await;
    let deep = format!("{{\"messages\": {}", "[".repeat(20_000));
    let bad = [
        "",
        "{",
        "nonsense",
        "[]",
        "null",
        "42",
        "\"text\"",
        "{\"model\"}",
        "{\"model\": \"gpt-4o\"",
        &deep,
        "{\"model\": {\"name\": \"gpt-4o\"}, \"messages\": []}",
        "{\"model\": 7, \"messages\": []}",
    ];
    for body in bad {
        let answer = world.post(body.to_string()).await;
        assert_error(&answer, 400, "");
    }
    let mut latin = b"{\"model\": \"gpt-4o\xff\", \"messages\": []}".to_vec();
    assert!(matches!(world.post(latin.clone()).await.status, 400 | 404));
    latin.truncate(12);
    assert_error(&world.post(latin).await, 400, "");
    world.check_that_all_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_is_named_and_an_unknown_one_is_not_found() {
    let world = World::start().await;
    let answer = world.post(json!({"messages": []}).to_string()).await;
    assert_error(&answer, 400, "model");

    let answer = world.post(chat_body("gpt-4oo", "who?").to_string()).await;
    assert_error(&answer, 404, "gpt-4o");
    assert_eq!(answer.json()["error"]["code"], "model_not_found");

    let url = format!("{}/messages", world.node().base_url());
    let answer = whole(http().post(url).json(&chat_body("no-such", "who?"))).await;
    let answer = answer.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (404, &json!("error")),
        "{}",
        answer.text()
    );
    world.check_that_all_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_body_is_refused_and_the_largest_allowed_one_passes() {
    let world = World::start().await;
    let frame = chat_body("gpt-4o", "").to_string().len();
    let fits = chat_body("gpt-4o", &"x".repeat(BODY_BYTES_MAX - frame)).to_string();
    assert_eq!(fits.len(), BODY_BYTES_MAX);
    assert_eq!(world.post(fits).await.status, 200);

    let over = chat_body("gpt-4o", &"x".repeat(BODY_BYTES_MAX - frame + 1)).to_string();
    assert_error(&world.post(over.clone()).await, 413, "");

    // The same without a length known beforehand.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let chunked = format!("{head}{:x}\r\n{over}\r\n0\r\n\r\n", over.len());
    let answer = raw(world.node().addresses().public, chunked.into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    world.check_that_all_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_heads_are_refused() {
    let world = World::start().await;
    let public = world.node().addresses().public;
    let many: String = (0..80).map(|number| format!("x-{number}: y\r\n")).collect();
    let wide = format!("x-wide: {}\r\n", "y".repeat(40_000));
    let cases = [
        ("GET / HTTP/9.9\r\n\r\n".to_string(), "HTTP/1.1 505"),
        ("\u{1}\u{2}\u{3}\u{4}\r\n\r\n".to_string(), "HTTP/1.1 400"),
        (
            "GET /v1/models HTTP/1.1\r\nhost x\r\n\r\n".to_string(),
            "HTTP/1.1 400",
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
            "HTTP/1.1 431",
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{wide}\r\n"),
            "HTTP/1.1 431",
        ),
        (
            "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_string(),
            "HTTP/1.1 404",
        ),
        (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\
                content-length: 6\r\nconnection: close\r\n\r\n{}{}{}"
                .to_string(),
            "HTTP/1.1 400",
        ),
    ];
    for (sent, expected) in cases {
        let answer = raw(public, sent.clone().into_bytes()).await;
        let shown: String = sent.chars().take(60).collect();
        assert!(
            answer.starts_with(expected),
            "{shown:?}: {expected} wanted, not {answer:?}"
        );
    }
    world.check_that_all_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_our_own_headers_is_a_bad_request() {
    let world = World::start().await;
    let url = format!("{}/chat/completions", world.node().base_url());
    for (name, value) in [
        ("x-grapevine-timeout-ms", "soon"),
        ("x-grapevine-timeout-ms", "-5"),
    ] {
        let request = http()
            .post(&url)
            .header(name, value)
            .json(&chat_body("gpt-4o", "hello"));
        let answer = whole(request)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_error(&answer, 400, name);
    }
    world.check_that_all_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stalls_in_the_head_or_the_body_is_cut_off() {
    let world = World::start().await;
    let public = world.node().addresses().public;
    // Within the limits of a second each, and what the node needs beside it.
    let half_head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n".to_vec();
    within(
        "the end of a stalled head",
        Duration::from_secs(5),
        raw(public, half_head),
    )
    .await;
    let half_body =
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{".to_vec();
    let answer = within(
        "the end of a stalled body",
        Duration::from_secs(5),
        raw(public, half_body),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    world.check_that_all_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_datagrams_at_the_mesh_port_disturb_nobody() {
    let world = World::start().await;
    let target = world.node().addresses().mesh;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for length in (0..2_000).map(|number| number % 1_500) {
        let datagram: Vec<u8> = (0..length)
            .map(|index| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Half of them look like QUIC's first packet.
                if index == 0 && length % 2 == 0 {
                    0xC3
                } else {
                    (state >> 32) as u8
                }
            })
            .collect();
        // A full socket buffer may refuse one; enough of them arrive.
        drop(socket.send_to(&datagram, target));
    }
    world.check_that_all_still_works().await;
    let view = world.mesh["jpn"].view().await;
    assert!(view.is_live("sgp") && view.is_live("jpn"), "{:#}", view.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_given_up_wherever_it_goes() {
    let world = World::start().await;
    let public = world.node().addresses().public;
    let form = "multipart/form-data; boundary=b";
    let part = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let asked = [
        ("/v1/chat/completions", "application/json", "{"),
        ("/v1/tasks", "application/json", "{"),
        ("/v1/tasks/lease", "application/json", "{"),
        ("/v1/files", form, part),
        ("/v1/batches", "application/json", "{"),
        ("/v1/workflows", "application/json", "{"),
        ("/v1/workflows/runs", "application/json", "{"),
        ("/v1/responses", "application/json", "{"),
    ];
    let trickles = asked.map(|(path, kind, begin)| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 60000\r\n\r\n\
             {begin}"
        );
        tokio::task::spawn_blocking(move || (path, trickle(public, &head)))
    });
    for trickle in trickles {
        let (path, answer) = must(
            "trickling",
            within("an answer to a trickle", LIMIT, trickle).await,
        );
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        assert!(answer.contains("body_timeout"), "{path}: {answer}");
    }
    world.check_that_all_still_works().await;
}

// Sends `head`, then a blank every tenth of a second, until there is an answer.
fn trickle(address: SocketAddr, head: &str) -> String {
    let mut stream = must("connecting", TcpStream::connect(address));
    must(
        "limiting reads",
        stream.set_read_timeout(Some(Duration::from_millis(100))),
    );
    must("sending a head", stream.write_all(head.as_bytes()));
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    while !answer.ends_with(b"}") {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) if is_pause(&error) => drop(stream.write_all(b" ")),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_pause(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

// Sends bytes on a connection of their own and reads until the node ends it.
async fn raw(address: SocketAddr, bytes: Vec<u8>) -> String {
    let exchange = tokio::task::spawn_blocking(move || {
        let mut stream = must("connecting", TcpStream::connect(address));
        must("limiting reads", stream.set_read_timeout(Some(LIMIT)));
        // A node may answer and close before it has read everything.
        drop(stream.write_all(&bytes));
        let mut answer = Vec::new();
        let mut part = [0; 4_096];
        loop {
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
            }
            // A node that keeps a good connection open has answered when it has sent a whole answer.
            if answer.ends_with(b"}") || answer.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    });
    must(
        "reading",
        within("an answer to raw bytes", LIMIT, exchange).await,
    )
}
