//! The operator's connections: their deadlines, their number, and their requests.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use grapevine_core::connection::Patience;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::sleep;
use tower_service::Service;
use tracing::warn;

use grapevine_base::listener::activity::Protocol;
use grapevine_base::listener::burst::Burst;
use grapevine_base::listener::http1::RequestBody;
use grapevine_base::listener::serving::{self, HttpLimits};
use grapevine_base::listener::{ConnectionEntry, ConnectionTable, descriptors};

/// The most header lines of a request, and its largest head in bytes; browsers send a tenth of that.
const HEADER_COUNT_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 * 1_024;

/// How long an operator may stall in reading an answer.
const STALL_MAX: Duration = Duration::from_secs(60);

/// A pause after an accept that failed for want of file descriptors, while connections close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The caller's address, in the extensions of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves `router` until the future is dropped; `patience` applies to each connection.
pub(super) async fn serve(
    listener: &TcpListener,
    router: Router,
    table: &ConnectionTable,
    patience: Patience,
) -> Infallible {
    let failures = Burst::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Closed without an answer if requests in flight hold all slots.
                if let Ok(entry) = table.admit(0) {
                    let is_crowded = entry.is_crowded();
                    let served = connection(stream, peer, router.clone(), entry, patience);
                    tokio::spawn(served);
                    if is_crowded {
                        yield_now().await;
                    }
                }
            }
            Err(error) if descriptors::are_exhausted(&error) => {
                let begin = || warn!(%error, "connections to the admin port cannot be accepted");
                let end = |failures| warn!(failures, "the admin port can be reached again");
                failures.hit(begin, end);
                table.make_room();
                sleep(ACCEPT_PAUSE).await;
            }
            // The client disconnected before it was accepted.
            Err(_) => {}
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    entry: ConnectionEntry,
    patience: Patience,
) {
    // Without TCP_NODELAY answers are late, not wrong.
    let _: io::Result<()> = stream.set_nodelay(true);
    let limits = HttpLimits {
        header_count_max: HEADER_COUNT_MAX,
        header_bytes_max: HEADER_BYTES_MAX,
        patience,
        stall: STALL_MAX,
    };
    let peer = Peer(peer.ip().to_canonical());
    let respond = move |request: Request<RequestBody>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        async move {
            match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    serving::serve(stream, Protocol::Http1, limits, &entry, respond).await;
}
