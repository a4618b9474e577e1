//! A closed-loop load from one thread: each connection sends its next request when its answer is whole.
//! `tests/bench/run` starts it before the upstream of `upstream.rs`, or a proxy before that.
//!
//! ```text
//! load --to IP:PORT --model MODEL [--connections N] [--seconds S] [--body BYTES] [--answer exact|rewritten]
//!      [--api chat|messages] [--warm REQUESTS] [--header "NAME: VALUE"]...
//! ```
//!
//! It opens its connections, sends on each what `--warm` says, prints `ready`, and waits for a line on its input; then
//! it measures, prints one line of JSON, and ends with its input. With `bench-hold` it opens a stream on each
//! connection, prints `ready`, and with the next line on its input says whether all are still open. An answer counts
//! only when it is right: its status, the bytes of its body, and how it ends. A gateway that writes answers anew is
//! measured with `--answer rewritten`: then it must be whole and hold the last text. Anything else ends the run.

mod answers;
mod framing;
mod plan;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use memchr::memmem::find;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use answers::PACE;
use framing::{Body, head};
use plan::{Options, Plan, TAIL, options};

/// No answer takes longer on purpose.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Connections that are being opened at a time.
const OPENING_MAX: usize = 256;

/// What one or more connections measured.
#[derive(Default)]
struct Samples {
    whole: Vec<Duration>,
    first_byte: Vec<Duration>,
    stall: Vec<Duration>,
    reconnects: usize,
}

struct Connection {
    plan: Arc<Plan>,
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "load: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let options = options()?;
    let opened = open(&options).await?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    // Nothing else is to be done meanwhile.
    std::io::stdin().read_line(&mut String::new())?;
    let report = match options.plan.holds {
        true => held(&opened)?,
        false => measured(&options, opened).await?,
    };
    writeln!(out, "{report}")?;
    // Whoever reads this looks at what this process has used before it ends.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn held(opened: &[Connection]) -> anyhow::Result<Value> {
    let broken = opened.iter().filter(|held| !held.is_open()).count();
    ensure!(
        broken == 0,
        "{broken} of {} held streams broke",
        opened.len()
    );
    Ok(json!({"requests": opened.len(), "errors": 0}))
}

async fn measured(options: &Options, opened: Vec<Connection>) -> anyhow::Result<Value> {
    let start = Instant::now();
    let end = start + options.period;
    let mut tasks = JoinSet::new();
    let step = PACE / opened.len() as u32;
    for (index, connection) in (0..).zip(opened) {
        // Streams that start together would be served in one wake.
        let wait = if connection.plan.is_paced {
            step * index
        } else {
            Duration::ZERO
        };
        tasks.spawn(connection.send_until(end, wait));
    }
    let mut all = Samples::default();
    while let Some(done) = tasks.join_next().await {
        let samples = done??;
        all.whole.extend(samples.whole);
        all.first_byte.extend(samples.first_byte);
        all.stall.extend(samples.stall);
        all.reconnects += samples.reconnects;
    }
    let seconds = start.elapsed().as_secs_f64();
    let [p50, p90, p99] = quantiles(&mut all.whole, [0.5, 0.9, 0.99]);
    let [first_p50, first_p99] = quantiles(&mut all.first_byte, [0.5, 0.99]);
    let [stall_p99] = quantiles(&mut all.stall, [0.99]);
    Ok(json!({
        "requests": all.whole.len(), "errors": 0, "seconds": seconds, "reconnects": all.reconnects,
        "p50_us": p50, "p90_us": p90, "p99_us": p99,
        "first_p50_us": first_p50, "first_p99_us": first_p99, "stall_p99_us": stall_p99,
    }))
}

/// Opens the connections, each with what it sends to warm up.
async fn open(options: &Options) -> anyhow::Result<Vec<Connection>> {
    let mut opened = Vec::with_capacity(options.connections);
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections {
        if tasks.len() >= OPENING_MAX {
            opened.extend(tasks.join_next().await.transpose()?.transpose()?);
        }
        tasks.spawn(Connection::open(options.plan.clone()));
    }
    while let Some(connection) = tasks.join_next().await {
        opened.push(connection??);
    }
    Ok(opened)
}

impl Connection {
    async fn open(plan: Arc<Plan>) -> anyhow::Result<Self> {
        let stream = connect(plan.to).await?;
        let mut connection = Self {
            plan,
            stream,
            buffer: Vec::new(),
        };
        if connection.plan.holds {
            timeout(ANSWER_MAX, connection.hold())
                .await
                .context("a stream did not begin")??;
            return Ok(connection);
        }
        connection.buffer.resize(65_536, 0);
        let mut ignored = Samples::default();
        for _ in 0..connection.plan.warm {
            connection.bounded(&mut ignored).await?;
        }
        Ok(connection)
    }

    async fn send_until(mut self, end: Instant, wait: Duration) -> anyhow::Result<Samples> {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let mut samples = Samples::default();
        while Instant::now() < end {
            self.bounded(&mut samples).await?;
        }
        Ok(samples)
    }

    async fn bounded(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        let sent = timeout(ANSWER_MAX, self.send(samples)).await;
        sent.context("an answer was not whole in time")?
    }

    /// Sends a request and reads its answer.
    async fn send(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        let plan = self.plan.clone();
        let start = Instant::now();
        self.stream.write_all(&plan.request).await?;
        let (mut filled, head) = self.head().await?;
        let mut answer = Answer::new(&plan, Body::new(head.framing));
        let mut from = head.length;
        let (mut first, mut last, mut stall) = (None, start, Duration::ZERO);
        loop {
            if from < filled {
                answer.read(&self.buffer[from..filled])?;
                let now = Instant::now();
                if first.replace(first.unwrap_or(now)).is_some() {
                    stall = stall.max((now - last).saturating_sub(PACE));
                }
                last = now;
            }
            if answer.body.is_whole() {
                break;
            }
            from = 0;
            filled = self.stream.read(&mut self.buffer).await?;
            ensure!(
                filled > 0,
                "the connection ended after {} bytes of an answer",
                answer.length
            );
        }
        answer.check()?;
        samples.whole.push(last - start);
        samples.first_byte.push(first.unwrap_or(last) - start);
        if plan.is_paced {
            samples.stall.push(stall);
        }
        if head.closes {
            self.stream = connect(plan.to).await?;
            samples.reconnects += 1;
        }
        Ok(())
    }

    /// Reads an answer's head: how much of the buffer is filled, and the head.
    async fn head(&mut self) -> anyhow::Result<(usize, framing::Head)> {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the connection ended before an answer");
            filled += read;
            let bytes = &self.buffer[..filled];
            if let Some(head) = head(bytes)? {
                let is_right = bytes.get(9..12) == Some(b"200");
                ensure!(is_right, "an answer is {}", String::from_utf8_lossy(bytes));
                return Ok((filled, head));
            }
            ensure!(filled < self.buffer.len(), "a head is too long");
        }
    }

    /// Opens a stream and reads its first event.
    async fn hold(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.plan.request.clone()).await?;
        self.buffer.resize(4_096, 0);
        let mut filled = 0;
        while find(&self.buffer[..filled], b"data: ").is_none() {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            let text = || String::from_utf8_lossy(&self.buffer[..filled]);
            ensure!(read > 0, "a stream ended: {}", text());
            filled += read;
            let is_right = self.buffer.get(9..12) == Some(b"200");
            ensure!(
                is_right || filled < 12,
                "an answer is {}",
                String::from_utf8_lossy(&self.buffer[..filled])
            );
        }
        self.buffer = Vec::new();
        Ok(())
    }

    /// Whether a held stream has not ended. What came after its first event, such as a comment, is left out.
    fn is_open(&self) -> bool {
        let mut bytes = [0; 4_096];
        loop {
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// An answer's body as far as it has come.
struct Answer<'a> {
    plan: &'a Plan,
    body: Body,
    length: usize,
    tail: Vec<u8>,
    /// All of it, where a gateway writes it anew.
    text: Vec<u8>,
}

impl<'a> Answer<'a> {
    fn new(plan: &'a Plan, body: Body) -> Self {
        let tail = Vec::with_capacity(2 * TAIL);
        Self {
            plan,
            body,
            length: 0,
            tail,
            text: Vec::new(),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let (length, tail, text) = (&mut self.length, &mut self.tail, &mut self.text);
        let is_exact = self.plan.is_exact;
        let used = self.body.read(bytes, |piece| {
            *length += piece.len();
            // Only the end is compared, and all but the last piece are often longer than that.
            match piece.len().checked_sub(TAIL) {
                Some(skipped) => {
                    tail.clear();
                    tail.extend_from_slice(&piece[skipped..]);
                }
                None => {
                    let kept = tail.len().min(TAIL - piece.len());
                    tail.drain(..tail.len() - kept);
                    tail.extend_from_slice(piece);
                }
            }
            if !is_exact {
                text.extend_from_slice(piece);
            }
        })?;
        ensure!(
            used == bytes.len(),
            "{} bytes follow an answer",
            bytes.len() - used
        );
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.plan.is_exact {
            let is_right = self.length == self.plan.length && self.tail == self.plan.tail;
            let (length, expected) = (self.length, self.plan.length);
            let tail = String::from_utf8_lossy(&self.tail);
            ensure!(
                is_right,
                "an answer of {length} bytes, not {expected}, ends with {tail:?}"
            );
            return Ok(());
        }
        let has = |part: &str| find(&self.text, part.as_bytes()).is_some();
        let is_right = has(answers::MARK) && self.plan.end.is_none_or(has);
        let text = String::from_utf8_lossy(&self.text);
        ensure!(is_right, "an answer is not whole: {text}");
        let events = memchr::memmem::find_iter(&self.text, b"data: ").count();
        ensure!(
            self.plan.end.is_none() || events > answers::EVENTS,
            "a stream has {events} events: {text}"
        );
        Ok(())
    }
}

async fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = timeout(ANSWER_MAX, TcpStream::connect(to)).await;
    let stream = stream
        .context("a connection timed out")?
        .with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn quantiles<const N: usize>(samples: &mut [Duration], shares: [f64; N]) -> [Option<f64>; N] {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1) as f64;
    shares.map(|share| {
        let sample = samples.get((last * share).round() as usize)?;
        Some((sample.as_nanos() / 100) as f64 / 10.0)
    })
}
