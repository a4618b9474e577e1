//! Third-party programs, from the environment that `tests/run` installs in `tests/.env`:
//! official SDKs driven by the scripts in `tests/clients/`, and third-party upstreams.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::client::{http, try_get};
use crate::ports::free_address;
use crate::process::Process;
use crate::program::workspace;
use crate::scratch::Scratch;
use crate::wait::{must, wait_until, within};

/// How long a script may run: a client that hangs is a failure. The longest makes some thousand calls.
const SCRIPT_LIMIT: Duration = Duration::from_secs(1_200);

/// How long a third-party upstream may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs a script of `tests/clients/` to its end. `.py` and `.mjs` are known.
///
/// # Panics
///
/// When it fails, with what it printed.
pub async fn run_client(script: &str, arguments: &[&str]) -> String {
    let program = interpreter(script);
    let mut command = tokio::process::Command::new(&program);
    command
        .arg(client_path(script))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // No proxy of the machine may come between a client and loopback.
    command
        .env("NO_PROXY", "*")
        .env("NODE_PATH", environment().join("node/node_modules"));
    let output = must(script, within(script, SCRIPT_LIMIT, command.output()).await);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// A third-party upstream as a child process, ended when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    _process: Process,
    _scratch: Scratch,
}

impl Upstream {
    /// Starts llama.cpp's server with the SmolLM2 model, which it serves as `model`, and waits for it.
    ///
    /// # Panics
    ///
    /// When it does not answer within a minute.
    pub async fn smollm2(model: &str) -> Self {
        let address = free_address();
        let port = address.port().to_string();
        let script = client_path("smollm2_server.py").display().to_string();
        let arguments = [script, port, model.to_string()];
        let process = |directory: &Path| {
            Process::new(
                "smollm2",
                &interpreter("smollm2_server.py"),
                &arguments,
                directory,
            )
        };
        Self::start("smollm2", address, "/health", process).await
    }

    /// Starts `dialect_upstream.py`, which serves each dialect below `/DIALECT` and is strict about what it takes.
    ///
    /// # Panics
    ///
    /// When it does not answer within a minute.
    pub async fn dialects() -> Self {
        let address = free_address();
        let script = client_path("dialect_upstream.py").display().to_string();
        let arguments = [script, address.port().to_string()];
        let process = |directory: &Path| {
            let python = interpreter("dialect_upstream.py");
            Process::new("dialects", &python, &arguments, directory)
        };
        Self::start("dialects", address, "/", process).await
    }

    /// Starts `@dwmkerr/mock-llm`, an upstream that leaves out much of what the format asks for.
    ///
    /// # Panics
    ///
    /// When it does not answer within a minute.
    pub async fn sloppy() -> Self {
        let address = free_address();
        let program = require(environment().join("node/node_modules/.bin/mock-llm"));
        let process = |directory: &Path| {
            Process::new("mock-llm", &program, &[], directory)
                .environment("HOST", "127.0.0.1")
                .environment("PORT", &address.port().to_string())
        };
        Self::start("mock-llm", address, "/health", process).await
    }

    /// What a node's config is given: the URL up to and with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.root_url())
    }

    /// The URL without a path.
    #[must_use]
    pub fn root_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A page beside the API, such as `/metrics`, as text.
    ///
    /// # Panics
    ///
    /// When the upstream does not answer.
    pub async fn page(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.address);
        must(path, try_get(&http(), &url).await).text()
    }

    async fn start(
        name: &str,
        address: SocketAddr,
        page: &str,
        describe: impl FnOnce(&Path) -> Process,
    ) -> Self {
        let scratch = Scratch::new(name);
        let process = describe(scratch.path());
        process.start();
        let (client, url) = (http(), format!("http://{address}{page}"));
        wait_until(name, START_LIMIT, async || {
            process.check_alive();
            match try_get(&client, &url).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await;
        Self {
            address,
            _process: process,
            _scratch: scratch,
        }
    }
}

pub(crate) fn interpreter(script: &str) -> PathBuf {
    if script.ends_with(".py") {
        require(environment().join("python/bin/python"))
    } else {
        require(environment().join("node/node_modules"));
        PathBuf::from("node")
    }
}

pub(crate) fn client_path(script: &str) -> PathBuf {
    require(workspace().join("tests/clients").join(script))
}

fn environment() -> PathBuf {
    workspace().join("tests/.env")
}

fn require(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: ./tests/run installs it",
        path.display()
    );
    path
}
