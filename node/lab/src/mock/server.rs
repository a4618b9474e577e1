//! Sockets: accepts connections and runs HTTP/1.1 on each.
//!
//! hyper's own builder instead of `axum::serve`, because the mock must break connections: a service or a body that
//! fails makes hyper close the socket without an answer or in the middle of one, and a half-open header must not hold
//! a connection forever.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::control;
use super::script::{Broken, ScriptBody};
use super::service::{self, Shared};
use super::stats::Connection;

/// Connections open at once; beyond, new ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 16_384;

/// Time for a whole request head, and so also the time an idle connection is kept.
const HEADER_READ_MAX: Duration = Duration::from_secs(75);

/// Pause after a failed accept: it fails for want of descriptors, which only time brings back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `stop` resolves, then breaks all connections and returns when they are gone.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Serves one request: to `/mock/*`, or as the upstream that it emulates.
async fn answer(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ScriptBody>, Broken> {
    let for_control = control::is_control(request.uri().path());
    connection.set_control(for_control);
    match for_control {
        true => control::serve(&shared, request).await,
        false => service::serve(shared, connection, request).await,
    }
}

/// Serves one connection until it ends, or until `down` is turned on while it is not used for `/mock/*`.
async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without TCP_NODELAY chunks wait for the client's delayed ACK; a socket that refuses it is closed.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let connection = Arc::new(Connection::default());
    let mut settings = shared.subscribe();
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&connection), request))
    };
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = std::pin::pin!(http);
    loop {
        tokio::select! {
            // How a connection ended is in the counters already.
            _ = &mut http => return,
            changed = settings.changed() => {
                let down = settings.borrow_and_update().knobs.down;
                if changed.is_err() || (down && !connection.is_control()) {
                    connection.set_broken();
                    return;
                }
            }
        }
    }
}
