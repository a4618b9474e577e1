//! Sockets and threads: one listener and one runtime for each, sharing nothing but the port.
//!
//! A runtime for each core with a listener of its own (`SO_REUSEPORT`) costs a third less than one
//! runtime that moves work between cores, since a request meets its connection, its upstream's
//! connection and its timers on one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::listener::burst::Burst;
use grapevine_base::listener::metrics::Listener;
use grapevine_base::listener::{ConnectionTable, descriptors};
use grapevine_base::vital::Vital;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::Context;
use super::connection::{ConnectionService, greet};
use super::listen_settings::ListenSettings;
use super::refuse::Refusals;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A pause after an accept that failed for want of file descriptors, while connections close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A client that connected just before the stop sends its first request within about this time: the stop would
/// close the waiting connection without an answer.
const FIRST_REQUEST: Duration = Duration::from_millis(200);

/// A connection accepted this long after the stop may have been made after it.
const LATE: Duration = Duration::from_millis(5);

/// A listener that accepted nothing for this long has no connection left from before the stop.
const LINGER: Duration = Duration::from_millis(5);

/// The threads that serve the public address.
#[derive(Debug)]
pub struct Workers {
    address: SocketAddr,
    stop: watch::Sender<Option<Stop>>,
    without_proxy_header: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Listens and starts the threads. `make` is called on each of them, inside its runtime; the end of a thread is
    /// reported to `vital`.
    ///
    /// # Errors
    /// When the address cannot be listened on or a thread cannot be started.
    pub fn start<L: CallLocal, P: CallPeer>(
        settings: ListenSettings,
        vital: &Vital,
        make: impl Fn(usize) -> Context<L, P> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        check_free(settings.address)?;
        let first = listen(settings.address)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..settings.workers.get() {
            listeners.push(listen(address)?);
        }
        let (stop, stopped) = watch::channel(None);
        let make = Arc::new(make);
        let max = settings.connections_max;
        let table = ConnectionTable::new(max, settings.metrics.of(Listener::Public, max));
        let failures = Burst::default();
        let without_proxy_header = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (settings, stopped) = (settings.clone(), stopped.clone());
            let (make, table) = (Arc::clone(&make), table.clone());
            let (without_proxy_header, failures) =
                (Arc::clone(&without_proxy_header), failures.clone());
            let guard = vital.guard("request thread");
            let work = move || {
                let _guard = guard;
                runtime.block_on(async {
                    let context = make(index);
                    let recorder = context.recorder.clone();
                    let worker = Worker {
                        index,
                        context: Arc::new(context),
                        refusals: Refusals::new(settings.tls.is_none()),
                        settings: Arc::new(settings),
                        table,
                        failures,
                        without_proxy_header,
                        present: watch::Sender::new(()),
                    };
                    worker.run(listener, stopped).await;
                    recorder.flush();
                });
            };
            let name = format!("ingress-{index}");
            threads.push(std::thread::Builder::new().name(name).spawn(work)?);
        }
        Ok(Self {
            address,
            stop,
            without_proxy_header,
            threads,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections closed so far for the lack of a trusted PROXY header, over all threads.
    pub fn without_proxy_header(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.without_proxy_header)
    }

    /// Stops accepting, lets requests in flight finish for at most `limit`, and ends the threads.
    pub async fn stop(self, limit: Duration) {
        let at = Instant::now();
        self.stop.send_replace(Some(Stop { limit, at }));
        let threads = self.threads;
        let join = move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a request thread panicked");
                }
            }
        };
        // The only error is a runtime that shuts down itself, where there is no caller left.
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

/// Fails when another process listens at `address` already: with `SO_REUSEPORT` alone the two would silently
/// share the clients between them.
///
/// # Errors
/// When `address` is taken or is none of this machine's.
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for `address` that ignores the last connections of one closed before.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// One thread's part.
struct Worker<L, P> {
    index: usize,
    context: Arc<Context<L, P>>,
    settings: Arc<ListenSettings>,
    table: ConnectionTable,
    refusals: Refusals,
    /// Connections that could not be accepted.
    failures: Burst,
    without_proxy_header: Arc<AtomicU64>,
    /// Has a receiver for each connection of this thread.
    present: watch::Sender<()>,
}

impl<L: CallLocal, P: CallPeer> Worker<L, P> {
    async fn run(
        self,
        listener: std::net::TcpListener,
        mut stopped: watch::Receiver<Option<Stop>>,
    ) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the public listener cannot be used");
                return;
            }
        };
        loop {
            tokio::select! {
                // The stop first: later connections must see it.
                biased;
                // A dropped sender means that there will be no graceful stop: stop at once.
                _ = stopped.changed() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if self.welcome(stream, peer, false) {
                            yield_now().await;
                        }
                    }
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        let stop = stopped.borrow().unwrap_or_else(Stop::now);
        self.take_the_last(&listener, stop).await;
        drop(listener);
        let limit = stop.limit;
        sleep(FIRST_REQUEST.min(limit)).await;
        self.table.drain(self.index);
        if timeout(limit, self.present.closed()).await.is_err() {
            tracing::warn!(?limit, "requests in flight did not finish in time");
        }
    }

    /// Accepts clients that had connected before the stop: closing the listener would reset them, some with their
    /// request sent. Clients that may have connected after it are asked to use another node.
    async fn take_the_last(&self, listener: &TcpListener, stop: Stop) {
        for _ in 0..BACKLOG {
            match timeout(LINGER, listener.accept()).await {
                Ok(Ok((stream, peer))) => {
                    self.welcome(stream, peer, stop.at.elapsed() > LATE);
                }
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Serves a client. Returns whether others are shed for it.
    fn welcome(&self, stream: TcpStream, peer: SocketAddr, is_late: bool) -> bool {
        let Ok(entry) = self.table.admit(self.index) else {
            self.refusals.refuse(stream);
            return true;
        };
        let is_crowded = entry.is_crowded();
        let settings = Arc::clone(&self.settings);
        let client = ConnectionService {
            context: Arc::clone(&self.context),
            peer,
            entry,
            without_proxy_header: Arc::clone(&self.without_proxy_header),
            is_late,
        };
        let present = self.present.subscribe();
        tokio::spawn(async move {
            let _present = present;
            // Errors here are the client's end of the connection: nothing to do about them.
            let _ = greet(stream, settings, client).await;
        });
        is_crowded
    }

    /// Sheds connections where descriptors have run out. A client that went away before it was accepted needs
    /// nothing.
    async fn accept_failed(&self, error: &io::Error) {
        if !descriptors::are_exhausted(error) {
            return;
        }
        let begin = || {
            tracing::error!(
                %error,
                "connections cannot be accepted; raise the limit of descriptors (ulimit -n, LimitNOFILE)"
            );
        };
        let end = |failures| tracing::warn!(failures, "connections can be accepted again");
        self.failures.hit(begin, end);
        self.table.make_room();
        sleep(ACCEPT_PAUSE).await;
    }
}

/// When the stop began, and how long requests in flight may take.
#[derive(Clone, Copy, Debug)]
struct Stop {
    limit: Duration,
    at: Instant,
}

impl Stop {
    fn now() -> Self {
        Self {
            limit: Duration::ZERO,
            at: Instant::now(),
        }
    }
}
