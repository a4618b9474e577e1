//! Many streams held open over one hop, and what happens to them and to everybody else when their owner
//! dies.
//!
//! Three nodes: one without upstreams, where all clients come in; the owner of the preferred upstream; and
//! a spare. A client beside the streams sends one request after another, before them, beside them, and
//! while the owner dies.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{chat, chat_body};
use crate::events::error_of;
use crate::load::{Load, Sample};
use crate::memory::resident_bytes;
use crate::wait::{must, wait_until};
use crate::{Mesh, Mock};

const MODEL: &str = "gpt-4o";

/// Streams of one of the clients' connections.
const STREAMS_PER_CONNECTION: usize = 100;

/// Streams that are being opened at once.
const OPENING_MAX: usize = 32;

/// What is kept of a stream's end, to find its last event.
const TAIL_BYTES: usize = 2_048;

/// Longer than anything here takes but the holding itself.
const LIMIT: Duration = Duration::from_secs(300);

/// What to hold.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many streams.
    pub streams: usize,
    /// For how long, from the first event of the last one.
    pub hold: Duration,
    /// How long the client beside them is measured before.
    pub calm: Duration,
    /// The time between two events of a stream.
    pub interval: Duration,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long opening all streams took.
    pub opened_in: Duration,
    /// Streams that ended before the owner was killed.
    pub ended_early: usize,
    /// The client beside them, before there were any streams.
    pub calm: Vec<Sample>,
    /// The same while all were open.
    pub held: Vec<Sample>,
    /// The same from the owner's death on.
    pub moved: Vec<Sample>,
    /// From the owner's death to the end of each stream, the shortest first.
    pub ends: Vec<Duration>,
    /// Streams that ended with an error event and a broken connection.
    pub ended_clearly: usize,
    /// What a stream takes of the entry's and of the owner's memory, in bytes.
    pub bytes_per_stream: [u64; 2],
    /// Processor time of the entry and of the owner while all streams were held.
    pub processor: [Duration; 2],
}

/// How one stream ended.
struct Ended {
    at: Instant,
    is_clear: bool,
}

/// Holds streams, kills their owner, and returns what was seen.
///
/// # Panics
///
/// When a stream cannot be opened, one does not end at all, or the entry node does not outlive it all.
pub async fn hold(options: Options) -> Report {
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &[MODEL]).await,
    );
    let interval = format!("{}ms", options.interval.as_millis());
    // The mock makes all of an answer at once: no more than outlasts everything.
    let outlasting = (LIMIT * 2 + options.hold).div_duration_f64(options.interval);
    let chunks = (outlasting as u32).clamp(1, 10_000);
    near.set(json!({"latency": "20ms", "chunk_interval": interval, "chunks": chunks}))
        .await;
    far.set(json!({"latency": "20ms"})).await;
    let mesh = mesh(&near, &far, options.streams).await;
    let (entry, owner) = (&mesh["sgp"], &mesh["jpn"]);
    let url = format!("{}/chat/completions", entry.base_url());
    let beside = || Load::start_at(&url, 1, &chat_body(MODEL, "ping"));

    let load = beside();
    tokio::time::sleep(options.calm).await;
    let calm = load.finish().await;
    let processes = [entry, owner].map(|node| node.id().unwrap_or_default());
    let memory = processes.map(resident_bytes);
    let began = Instant::now();
    let mut streams = open(entry.addresses().public, options.streams).await;
    let opened_in = began.elapsed();
    let bytes_per_stream = [0, 1].map(|at| {
        let grown = resident_bytes(processes[at]).saturating_sub(memory[at]);
        grown / options.streams as u64
    });
    let processor = processes.map(processor_time);
    let load = beside();
    tokio::time::sleep(options.hold).await;
    let held = load.finish().await;
    let now = processes.map(processor_time);
    let processor = [0, 1].map(|at| now[at].saturating_sub(processor[at]));
    let ended_early = std::iter::from_fn(|| streams.try_join_next()).count();

    let load = beside();
    let killed = Instant::now();
    owner.kill();
    let mut ends = Vec::new();
    let mut ended_clearly = 0;
    while let Some(ended) = must_within(streams.join_next()).await {
        let ended = must("a stream", ended);
        ends.push(ended.at.saturating_duration_since(killed));
        ended_clearly += usize::from(ended.is_clear);
    }
    ends.sort();
    let served = far.count("completed").await;
    far.wait_for_count("completed", served + 10, LIMIT).await;
    let moved = load.finish().await;
    let answer = chat(entry, MODEL, "who stands?").await;
    assert_eq!(
        (answer.status, answer.header("x-grapevine-node")),
        (200, "usa")
    );
    Report {
        opened_in,
        ended_early,
        calm,
        held,
        moved,
        ends,
        ended_clearly,
        bytes_per_stream,
        processor,
    }
}

async fn mesh(near: &Mock, far: &Mock, streams: usize) -> Mesh {
    let room = streams + 100;
    let upstream = |priority: u64| {
        let health = json!({"interval": "5s", "timeout": "4s"});
        json!({"priority": priority, "max_in_flight": room, "health": health})
    };
    let limits = json!({"in_flight": room, "connections": room});
    Mesh::builder()
        .node("sgp", |node| node.config("limits", limits.clone()))
        .node("jpn", |node| {
            node.upstream_with(near, upstream(1))
                .config("limits", limits.clone())
        })
        .node("usa", |node| node.upstream_with(far, upstream(2)))
        .start()
        .await
}

/// Opens the streams, each until its first event; the tasks end with them.
async fn open(address: SocketAddr, count: usize) -> JoinSet<Ended> {
    let mut streams = JoinSet::new();
    let turns = Arc::new(Semaphore::new(OPENING_MAX));
    let opened = Arc::new(AtomicUsize::new(0));
    let mut connection = None;
    for number in 0..count {
        if number % STREAMS_PER_CONNECTION == 0 {
            connection = None;
        }
        let sender = match &mut connection {
            Some(sender) => Sender::clone(sender),
            none => none.insert(connect(address).await).clone(),
        };
        let turn = must("a turn", Arc::clone(&turns).acquire_owned().await);
        let opened = Arc::clone(&opened);
        streams.spawn(async move {
            let mut body = begin(sender, number).await;
            assert!(body.frame().await.is_some(), "a stream without an event");
            opened.fetch_add(1, Ordering::Relaxed);
            drop(turn);
            until_its_end(body).await
        });
    }
    wait_until("all streams", LIMIT, async || {
        match opened.load(Ordering::Relaxed) {
            all if all == count => Ok(()),
            some => Err(format!("{some} are open")),
        }
    })
    .await;
    streams
}

type Sender = SendRequest<Full<Bytes>>;

/// Opens a connection over which many streams go at once.
async fn connect(address: SocketAddr) -> Sender {
    let socket = must("a connection", TcpStream::connect(address).await);
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
    let (sender, connection) = must("HTTP/2", shaken);
    // Ends with the last of its streams.
    tokio::spawn(connection);
    sender
}

/// Starts a stream and returns its body.
async fn begin(mut sender: Sender, number: usize) -> Incoming {
    let mut body = chat_body(MODEL, &format!("stream {number}"));
    body["stream"] = json!(true);
    let request = Request::post("http://grapevine.test/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())));
    let request = must("a request", request);
    let response = must("a stream", sender.send_request(request).await);
    assert_eq!(response.status().as_u16(), 200, "{response:?}");
    let node = response.headers().get("x-grapevine-node");
    assert!(node.is_some_and(|node| node == "jpn"), "{response:?}");
    response.into_body()
}

/// Reads a stream to its end, and keeps only its last words.
async fn until_its_end(mut body: Incoming) -> Ended {
    let mut tail: Vec<u8> = Vec::new();
    let is_broken = loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                tail.extend_from_slice(frame.data_ref().map_or(&[][..], AsRef::as_ref));
                let surplus = tail.len().saturating_sub(TAIL_BYTES);
                tail.drain(..surplus);
            }
            None => break false,
            Some(Err(_)) => break true,
        }
    };
    let text = String::from_utf8_lossy(&tail);
    let last = text.trim_end().rsplit("data: ").next().unwrap_or_default();
    Ended {
        at: Instant::now(),
        is_clear: is_broken && error_of(last).is_some(),
    }
}

async fn must_within<T>(future: impl Future<Output = T>) -> T {
    crate::wait::within("the end of the streams", LIMIT, future).await
}

/// The processor time that a process has used so far.
fn processor_time(process: u32) -> Duration {
    /// What Linux counts in, on every architecture that grapevine runs on.
    const TICKS_PER_SECOND: u64 = 100;
    let path = format!("/proc/{process}/stat");
    let stat = must(&path, std::fs::read_to_string(&path));
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// How long the requests of a load took at this share of them, the quickest first: 0.5 is their median.
#[must_use]
pub fn quantile(samples: &[Sample], share: f64) -> Duration {
    let mut spans: Vec<Duration> = samples
        .iter()
        .map(|sample| sample.ended.saturating_sub(sample.sent))
        .collect();
    spans.sort();
    let at = (spans.len() as f64 * share) as usize;
    spans
        .get(at.min(spans.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
