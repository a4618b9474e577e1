//! The clients of a whole region arrive at once at a node whose only upstream takes no more connections for a moment.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use grapevine_tests::canned::read_request;
use grapevine_tests::client::{chat_body, http, whole};
use grapevine_tests::quiet::alone;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, wait_until};
use serde_json::json;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections that wait to be accepted: the kernel drops what asks for more.
const BACKLOG: u32 = 8;

/// Clients at once: far more than wait.
const CLIENTS: usize = 200;

/// Longer than all of it takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What the log says of an upstream whose connects time out.
const TIMED_OUT: &str = "error=\"no connection within 2s\"";

const MODEL: &str = "m";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overflowing_backlog_of_the_last_upstream_refuses_no_client() {
    let _room = alone().await;
    let gate = Arc::new(Semaphore::new(0));
    let (address, _server) = late_upstream(Arc::clone(&gate));
    let upstream = json!({
        "name": "only", "base_url": format!("http://{address}/v1"), "api_key": "sk", "models": [MODEL],
        "health": {"probe": "off"},
    });
    let mesh = Mesh::builder()
        .node("survivor", |node| node.raw_upstream(upstream))
        .node("other", |node| node)
        .start()
        .await;
    let node = &mesh["survivor"];
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let url = format!("{}/chat/completions", node.base_url());
        let request = http()
            .post(url)
            .json(&chat_body(MODEL, &number.to_string()));
        clients.spawn(async move { must("an answer", whole(request).await) });
    }
    // The log says so at once; metrics count attempts when their request ends.
    wait_until("connects that time out", LIMIT, async || {
        let log = node.log();
        log.contains(TIMED_OUT).then_some(()).ok_or(log)
    })
    .await;
    gate.add_permits(Semaphore::MAX_PERMITS);
    let mut refused = Vec::new();
    while let Some(answer) = clients.join_next().await {
        let answer = must("a client", answer);
        if answer.status != 200 {
            refused.push(format!("{} {}", answer.status, answer.text()));
        }
    }
    let timeouts = connect_timeouts(&node.metrics().await);
    eprintln!(
        "{timeouts} connects timed out; {} of {CLIENTS} clients were refused",
        refused.len()
    );
    assert!(refused.is_empty(), "{refused:#?}");
    let view = node.view().await;
    assert_ne!(view.state("survivor", "only"), "ejected", "{}", node.log());
}

/// Attempts that the metrics count as connects that timed out.
fn connect_timeouts(metrics: &str) -> usize {
    let lines = metrics.lines().filter(|line| {
        line.starts_with("grapevine_attempts_total{") && line.contains("\"connect_timeout\"")
    });
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.map(|value| value as usize).sum()
}

/// An upstream that accepts its first connection when `gate` opens.
fn late_upstream(gate: Arc<Semaphore>) -> (SocketAddr, JoinSet<()>) {
    let socket = must("a socket", TcpSocket::new_v4());
    must("binding", socket.bind((Ipv4Addr::LOCALHOST, 0).into()));
    let listener = must("listening", socket.listen(BACKLOG));
    let address = must("an address", listener.local_addr());
    let mut server = JoinSet::new();
    server.spawn(async move {
        let _permit = gate.acquire().await;
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up ends its connection and nothing else.
            connections.spawn(async move { drop(answer(stream).await) });
        }
    });
    (address, server)
}

async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while read_request(&mut stream).await?.is_some() {
        let body = r#"{"choices":[]}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}
