//! A real third-party OTLP receiver, `oteltap`, as a child process that keeps every span.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::ports::free_address;
use crate::process::{Process, Signal};
use crate::program::workspace;
use crate::scratch::Scratch;
use crate::wait::wait_until;

/// How long it may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long spans may take to arrive: nodes collect them for half a second.
const SPANS_LIMIT: Duration = Duration::from_secs(20);

/// A receiver, ended when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    process: Process,
    // Dropped after the process, which writes there.
    _scratch: Scratch,
}

/// A span as it arrived, in OTLP's JSON form.
#[derive(Clone, Debug)]
pub struct Span(pub Value);

impl Collector {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    ///
    /// When there is no `oteltap` (`tests/run` installs it), or it does not start.
    pub async fn start() -> Self {
        let scratch = Scratch::new("oteltap");
        let address = free_address();
        let arguments = ["--port".to_owned(), address.port().to_string()];
        let process = Process::new("oteltap", &program(), &arguments, scratch.path())
            .environment("PYTHONUNBUFFERED", "1");
        process.start();
        let collector = Self {
            address,
            process,
            _scratch: scratch,
        };
        wait_until("an OTLP receiver that listens", START_LIMIT, async || {
            collector.process.check_alive();
            TcpStream::connect(address).map_err(|error| error.to_string())
        })
        .await;
        collector
    }

    /// What a node's config is given as `tracing.otlp.endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything it printed: each span in one line of JSON.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let log = self.process.log();
        // The last line may be incomplete.
        let lines = log.lines().filter(|line| line.starts_with('{'));
        let spans = lines.filter_map(|line| serde_json::from_str(line).ok());
        spans.map(Span).collect()
    }

    /// Waits until the trace called `trace` has `count` spans, and returns them.
    ///
    /// # Panics
    ///
    /// When they have not come within 20 seconds.
    pub async fn wait_for_trace(&self, trace: &str, count: usize) -> Vec<Span> {
        let what = format!("{count} spans of trace {trace}");
        let wait = wait_until(&what, SPANS_LIMIT, async || {
            let spans = self.spans();
            let of_trace = spans.iter().filter(|span| span.text("traceId") == trace);
            let of_trace: Vec<Span> = of_trace.cloned().collect();
            if of_trace.len() >= count {
                Ok(of_trace)
            } else {
                Err(format!("{spans:?}"))
            }
        });
        wait.await.0
    }

    /// Ends it at once; its port refuses connections.
    pub fn kill(&self) {
        self.process.signal(Signal::Kill);
    }
}

impl Span {
    /// One of its own texts, such as `name`; empty where there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// One of its attributes as text; empty where there is none.
    #[must_use]
    pub fn attribute(&self, key: &str) -> &str {
        let attributes = self.0["attributes"].as_array();
        let mut attributes = attributes.into_iter().flatten();
        let value = attributes
            .find(|it| it["key"] == key)
            .map(|it| &it["value"]);
        // Numbers of 64 bits are texts in OTLP's JSON.
        let text = value.and_then(|it| it["stringValue"].as_str().or(it["intValue"].as_str()));
        text.unwrap_or_default()
    }
}

/// Where `tests/run` installs it, or else where the PATH has it.
fn program() -> PathBuf {
    let installed = workspace().join("tests/.env/python/bin/oteltap");
    if installed.exists() {
        return installed;
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .map(|path| path.join("oteltap"))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no oteltap here: tests/run installs it"))
}
