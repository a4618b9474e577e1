//! What strangers may do to a node's ports: a flood of connections where file descriptors are few, and guesses.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grapevine_tests::client;
use grapevine_tests::program::grapevine;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, wait_until, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(30);

/// More connections than the node has descriptors.
const FLOOD: usize = 600;

/// A program that runs a node with at most 256 descriptors.
fn limited(directory: &Path) -> PathBuf {
    let path = directory.join("limited");
    let script = format!(
        "#!/bin/sh\nulimit -n 256\nexec '{}' \"$@\"\n",
        grapevine().display()
    );
    must("writing a script", std::fs::write(&path, script));
    let mode = std::fs::Permissions::from_mode(0o755);
    must("making it a program", std::fs::set_permissions(&path, mode));
    path
}

/// Connections that send an incomplete head and wait.
async fn flood(address: std::net::SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(FLOOD);
    for _ in 0..FLOOD {
        let mut stream = must("connecting", TcpStream::connect(address).await);
        // The node may have closed it for a later one.
        drop(stream.write_all(b"POST /v1/chat/comp").await);
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn flood_keeps_neither_operators_nor_peers_nor_clients_out() {
    let scratch = Scratch::new("descriptors");
    let program = limited(scratch.path());
    let upstream = Mock::start("sgp-up", &["gpt-4o"]).await;
    let limits = json!({"header_timeout": "10m"});
    let mesh = Mesh::builder()
        .node("sgp", |node| {
            let node = node.program(&program).upstream(&upstream);
            node.config("limits", limits)
        })
        .node("jpn", |node| node)
        .start()
        .await;
    let (sgp, jpn) = (&mesh["sgp"], &mesh["jpn"]);
    assert!(
        sgp.log()
            .contains("limits.connections: 16384 connections need")
    );

    let held = flood(sgp.addresses().public).await;
    let admin_held = flood(sgp.addresses().admin).await;
    assert_eq!(sgp.admin("/healthz").await.status, 200);
    jpn.kill();
    jpn.start_again();
    jpn.wait_for_view("jpn sees sgp again", LIMIT, |view| view.is_reachable("sgp"))
        .await;
    for node in [sgp, jpn] {
        let answer = client::chat(node, "gpt-4o", "still there?").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let metrics = sgp.metrics().await;
    assert!(
        metrics.contains("grapevine_connections_max{listener=\"public\"} 86"),
        "{metrics}"
    );
    let lines = sgp.log();
    let logged = lines.matches("no room for more connections").count();
    assert_eq!(logged, 2, "one line for each listener:\n{lines}");
    drop((held, admin_held));
}

#[tokio::test]
async fn guesses_of_the_operators_token_are_soon_refused_unread() {
    let token = "open-sesame-open-sesame";
    let mesh = Mesh::builder().node("sgp", |node| {
        let node = node.config("admin.token", json!(token));
        node.config("limits", json!({"header_timeout": "1s"}))
    });
    let mesh = mesh.launch().await;
    let sgp = &mesh["sgp"];
    sgp.wait_until_ready().await;
    let mut guesses = 0;
    while must("a page", sgp.try_admin_as("/mesh", "open-sesame").await).status == 401 {
        guesses += 1;
        assert!(guesses <= 10, "guesses are not bounded");
    }
    let refused = must("a page", sgp.try_admin_as("/mesh", "open-sesame").await);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(sgp.admin("/readyz").await.status, 200, "needs no token");
    let metrics = wait_until("the right token", LIMIT, async || {
        let page = sgp.try_admin_as("/metrics", token).await?;
        match page.status {
            200 => Ok(page.text()),
            _ => Err(page.text()),
        }
    });
    let (metrics, _) = metrics.await;
    let wrong = "grapevine_unauthorized_total{listener=\"admin\",reason=\"wrong\"}";
    assert!(metrics.contains(wrong), "{metrics}");
    let logged = sgp.log().matches("wrong tokens at the admin port").count();
    assert_eq!(logged, 1, "{}", sgp.log());

    let mut silent = must(
        "connecting",
        TcpStream::connect(sgp.addresses().admin).await,
    );
    must(
        "an incomplete head",
        silent.write_all(b"GET /mesh HT").await,
    );
    let mut rest = Vec::new();
    let closed = within(
        "the end of an incomplete head",
        LIMIT,
        silent.read_to_end(&mut rest),
    )
    .await;
    drop(closed);
    assert!(rest.is_empty());
}
