//! A real Prometheus that scrapes nodes, and `promtool`, which checks what it is given.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::client::{http, try_get, whole};
use crate::node::Node;
use crate::ports::free_address;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::{must, wait_until};

/// How long it may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Prometheus, ended when dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
    // Dropped after the process, which writes there.
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts one that scrapes `nodes` every second as the job `grapevine`, with the rules in a file, and
    /// waits until it is ready.
    ///
    /// # Panics
    ///
    /// When there is no `prometheus` (`tests/run` installs it), or it does not start.
    pub async fn start(nodes: &[Node], rules: &Path) -> Self {
        let scratch = Scratch::new("prometheus");
        let address = free_address();
        let path = scratch.path().join("prometheus.yml");
        must(
            "writing a config",
            std::fs::write(&path, config(nodes, rules)),
        );
        let arguments = [
            format!("--config.file={}", path.display()),
            format!(
                "--storage.tsdb.path={}",
                scratch.path().join("data").display()
            ),
            format!("--web.listen-address={address}"),
        ];
        let program = PathBuf::from("prometheus");
        let process = Process::new("prometheus", &program, &arguments, scratch.path());
        process.start();
        let url = format!("http://{address}/-/ready");
        wait_until("Prometheus to be ready", START_LIMIT, async || {
            process.check_alive();
            match try_get(&http(), &url).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Self {
            address,
            _process: process,
            _scratch: scratch,
        }
    }

    /// The values that an expression has now.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let url = format!("http://{}/api/v1/query", self.address);
        let url = reqwest::Url::parse_with_params(&url, [("query", expression)]);
        let asked = http().get(must("a query", url));
        let answer = whole(asked).await.map_err(|error| format!("{error:?}"))?;
        let answer = answer.json();
        let results = answer["data"]["result"].as_array();
        let results = results.ok_or_else(|| format!("{expression}: {answer}"))?;
        let value = |result: &Value| result["value"][1].as_str()?.parse().ok();
        Ok(results.iter().filter_map(value).collect())
    }

    /// The rules it evaluates, each with its health.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn rules(&self) -> Result<Value, String> {
        let url = format!("http://{}/api/v1/rules", self.address);
        let answer = try_get(&http(), &url).await;
        Ok(answer.map_err(|error| format!("{error:?}"))?.json())
    }
}

/// Runs `promtool` with what it reads from its standard input.
///
/// # Panics
///
/// When it finds a problem, with that.
pub fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = must("promtool, which ./tests/run installs", command.spawn());
    if let Some(mut pipe) = child.stdin.take() {
        must("what promtool reads", pipe.write_all(input.as_bytes()));
    }
    let output = must("promtool", child.wait_with_output());
    let printed = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "promtool {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&printed)
    );
}

fn config(nodes: &[Node], rules: &Path) -> String {
    let mut text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         scrape_configs:\n  - job_name: grapevine\n    static_configs:\n",
        rules.display()
    );
    for node in nodes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "      - targets: ['{}']", node.addresses().admin);
    }
    text
}
