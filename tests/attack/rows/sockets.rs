//! Attacks by connections that send little or nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Tally;
use crate::world::World;

/// How long each connection is held, unless it is closed before: longer than `limits.header_timeout`.
const HELD: Duration = Duration::from_secs(20);

/// How long an attacker waits for a connection.
const CONNECTED: Duration = Duration::from_secs(5);

/// Connections of each beginning.
const OF_EACH: usize = 100;

/// A byte that HTTP/1 and HTTP/2 may begin with.
pub(crate) async fn one_byte(world: &World) -> Tally {
    hold(world.public(), 2_000, &[b"P"]).await
}

/// HTTP/1 and HTTP/2 that stall after their first bytes.
pub(crate) async fn unfinished_http(world: &World) -> Tally {
    let beginnings: &[&[u8]] = &[
        b"",
        b"PRI ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // A preface, and the head of a SETTINGS frame.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0",
        // A preface with settings, and a HEADERS frame without the end of its headers.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82",
        b"POST /v1/chat/comp",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-slow: ",
    ];
    hold(world.public(), OF_EACH * beginnings.len(), beginnings).await
}

/// TLS that stalls after its first bytes, at the node with TLS for clients.
pub(crate) async fn unfinished_tls(world: &World) -> Tally {
    let beginnings: &[&[u8]] = &[
        b"",
        b"\x16",
        // A record of 16,384 bytes, and a ClientHello that is longer than its record.
        b"\x16\x03\x01\x40\x00",
        b"\x16\x03\x01\x02\x00\x01\xff\xff\xff\x03\x03",
    ];
    let address = world.node("n3").addresses().public;
    hold(address, OF_EACH * beginnings.len(), beginnings).await
}

/// PROXY headers that never end, at the node that asks for them.
pub(crate) async fn unfinished_proxy_headers(world: &World) -> Tally {
    let beginnings: &[&[u8]] = &[
        b"",
        b"PROXY TCP4 192.0.2.1 ",
        b"PROXY UNKNOWN",
        b"\r\n\r\n\0\r\nQUIT",
        // The longest possible length, of which nothing is sent.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c",
        // No header at all, and one that the node does not trust.
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PROXY TCP4 999.0.2.1 192.0.2.2 1 2\r\n",
    ];
    let address = world.node("n2").addresses().public;
    hold(address, OF_EACH * beginnings.len(), beginnings).await
}

/// Heads that do not end, where the operator has to get in.
pub(crate) async fn half_heads_at_admin(world: &World) -> Tally {
    hold(
        world.admin(),
        1_132,
        &[b"GET /mesh HTTP/1.1\r\nhost: x\r\n"],
    )
    .await
}

/// Opens connections, sends one of `beginnings` on each in turn, and holds them until the node closes them.
async fn hold(
    address: SocketAddr,
    connections: usize,
    beginnings: &'static [&'static [u8]],
) -> Tally {
    let mut held = JoinSet::new();
    for index in 0..connections {
        let beginning = beginnings[index % beginnings.len()];
        held.spawn(async move {
            let connected = timeout(CONNECTED, TcpStream::connect(address)).await;
            let Ok(Ok(mut stream)) = connected else {
                return "not connected".to_owned();
            };
            if stream.write_all(beginning).await.is_err() {
                return "closed".to_owned();
            }
            let mut answer = Vec::new();
            match timeout(HELD, stream.read_to_end(&mut answer)).await {
                Ok(_) => status(&answer),
                Err(_) => format!("held behind {:?}", String::from_utf8_lossy(beginning)),
            }
        });
    }
    Tally::of(held.join_all().await)
}

/// The status of an answer in HTTP/1.1, if the node sent one before it closed.
fn status(answer: &[u8]) -> String {
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.map_or("closed".to_owned(), |status| {
        String::from_utf8_lossy(status).into_owned()
    })
}
