//! Attacks by connections that say little or nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Tally;
use crate::world::World;

/// How long each connection is held, unless it is closed before.
const HELD: Duration = Duration::from_secs(15);

/// How long an attacker waits for a connection.
const CONNECTED: Duration = Duration::from_secs(5);

/// HTTP/2 that never goes on.
pub(crate) async fn preface_and_silence(world: &World) -> Tally {
    hold(world.public(), 500, b"PRI ").await
}

/// A byte that HTTP/1 and HTTP/2 may begin with.
pub(crate) async fn one_byte(world: &World) -> Tally {
    hold(world.public(), 2_000, b"P").await
}

/// Heads that do not end, where the operator has to get in.
pub(crate) async fn half_heads_at_admin(world: &World) -> Tally {
    hold(world.admin(), 1_132, b"GET /mesh HTTP/1.1\r\nhost: x\r\n").await
}

/// Opens connections, says `first` on each and holds them; refused are those that the node closed.
async fn hold(address: SocketAddr, connections: usize, first: &'static [u8]) -> Tally {
    let mut held = JoinSet::new();
    for _ in 0..connections {
        held.spawn(async move {
            let Ok(Ok(mut stream)) = timeout(CONNECTED, TcpStream::connect(address)).await else {
                return true;
            };
            if stream.write_all(first).await.is_err() {
                return true;
            }
            let mut answer = Vec::new();
            timeout(HELD, stream.read_to_end(&mut answer)).await.is_ok()
        });
    }
    let ended = held.join_all().await;
    Tally {
        sent: connections,
        refused: ended.into_iter().filter(|is_closed| *is_closed).count(),
    }
}
