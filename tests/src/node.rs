//! One `grapevine node` process and everything a test asks of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::client::{Answer, http, try_get};
use crate::process::{Process, Signal};
use crate::program::grapevine;
use crate::view::MeshView;
use crate::wait::{must, wait_until};

/// How long a node may take to be ready.
pub const READY_LIMIT: Duration = Duration::from_secs(15);

/// The addresses a node listens on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The API.
    pub public: SocketAddr,
    /// QUIC between nodes.
    pub mesh: SocketAddr,
    /// The admin pages.
    pub admin: SocketAddr,
}

/// A node, ended when dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    addresses: Addresses,
    config_path: PathBuf,
    config: Mutex<Value>,
    process: Process,
}

impl Node {
    /// Writes a node's config and log to `directory` and starts it. Does not wait until it is ready.
    ///
    /// # Panics
    ///
    /// When the files cannot be written or the program cannot be started.
    #[must_use]
    pub fn start_in(directory: &Path, name: &str, addresses: Addresses, config: Value) -> Self {
        Self::start_as(&grapevine(), directory, name, addresses, config)
    }

    /// As [`Node::start_in`], with another program that understands the same command line.
    ///
    /// # Panics
    ///
    /// When the files cannot be written or the program cannot be started.
    #[must_use]
    pub fn start_as(
        program: &Path,
        directory: &Path,
        name: &str,
        addresses: Addresses,
        config: Value,
    ) -> Self {
        let config_path = directory.join(format!("{name}.yaml"));
        let arguments = [
            "node".to_string(),
            "-c".to_string(),
            config_path.display().to_string(),
        ];
        let process = Process::new(name, program, &arguments, directory)
            .environment("RUST_LOG", "info,grapevine=debug")
            .environment("NO_COLOR", "1");
        let node = Self {
            name: name.to_string(),
            addresses,
            config_path,
            config: Mutex::new(config),
            process,
        };
        node.write_config();
        node.process.start();
        node
    }

    /// The name in the mesh.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What an SDK is given: the URL up to and with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.public_url())
    }

    /// The public URL without a path.
    #[must_use]
    pub fn public_url(&self) -> String {
        format!("http://{}", self.addresses.public)
    }

    /// The process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Everything the node has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends the node at once (SIGKILL).
    pub fn kill(&self) {
        self.process.signal(Signal::Kill);
    }

    /// Asks the node to drain and end (SIGTERM).
    pub fn terminate(&self) {
        self.process.signal(Signal::Terminate);
    }

    /// Freezes the node (SIGSTOP).
    pub fn freeze(&self) {
        self.process.signal(Signal::Stop);
    }

    /// Resumes a frozen node (SIGCONT).
    pub fn thaw(&self) {
        self.process.signal(Signal::Continue);
    }

    /// Waits for the node's own end.
    ///
    /// # Panics
    ///
    /// When it still runs after `limit`.
    pub async fn wait_for_exit(&self, limit: Duration) -> ExitStatus {
        self.process.wait_for_exit(limit).await
    }

    /// Kills the node if it runs, starts it again under the same name and ports, and waits until it is
    /// ready.
    ///
    /// # Panics
    ///
    /// When it is not ready in time.
    pub async fn restart(&self) {
        if self.process.id().is_some() {
            self.kill();
        }
        self.start_again();
        self.wait_until_ready().await;
    }

    /// Starts the node again under the same name and ports, without waiting for anything.
    ///
    /// # Panics
    ///
    /// When it runs or cannot be started.
    pub fn start_again(&self) {
        self.process.start();
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Panics
    ///
    /// When it does not within [`READY_LIMIT`], or the node ends.
    pub async fn wait_until_ready(&self) {
        wait_until(
            &format!("node {} to be ready", self.name),
            READY_LIMIT,
            async || {
                self.process.check_alive();
                let page = self.try_admin("/readyz").await?;
                if page.status == 200 {
                    Ok(())
                } else {
                    Err(format!("{} {}", page.status, page.text()))
                }
            },
        )
        .await;
    }

    /// Changes the config file and notifies the node to read it again (SIGHUP).
    ///
    /// # Panics
    ///
    /// When the file cannot be written or the node does not run.
    pub fn reload(&self, change: impl FnOnce(&mut Value)) {
        self.rewrite(change);
        self.process.signal(Signal::Hangup);
    }

    /// Changes the config file without a signal.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn rewrite(&self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config.lock().unwrap_or_else(PoisonError::into_inner));
        self.write_config();
    }

    /// The path of the config file.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// Gets an admin page.
    ///
    /// # Panics
    ///
    /// When the admin port does not answer.
    pub async fn admin(&self, path: &str) -> Answer {
        must(
            &format!("{path} of {}", self.name),
            self.try_admin(path).await,
        )
    }

    /// Gets an admin page, or returns why not.
    ///
    /// # Errors
    ///
    /// When the admin port does not answer.
    pub async fn try_admin(&self, path: &str) -> Result<Answer, String> {
        let url = format!("http://{}{path}", self.addresses.admin);
        try_get(&http(), &url)
            .await
            .map_err(|error| format!("{error:?}"))
    }

    /// The mesh as this node sees it.
    ///
    /// # Panics
    ///
    /// When the admin port does not answer.
    pub async fn view(&self) -> MeshView {
        MeshView(self.admin("/mesh").await.json())
    }

    /// The last requests, each with its attempts.
    ///
    /// # Panics
    ///
    /// When the admin port does not answer.
    pub async fn requests(&self) -> Value {
        self.admin("/requests").await.json()
    }

    /// The metrics in Prometheus' text form.
    ///
    /// # Panics
    ///
    /// When the admin port does not answer.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.text()
    }

    /// Waits until this node's view satisfies `wanted`, and returns how long that took.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`; the failure shows the last view.
    pub async fn wait_for_view(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&MeshView) -> bool,
    ) -> Duration {
        let what = format!("{what} at {}", self.name);
        let wait = wait_until(&what, limit, async || {
            self.process.check_alive();
            let page = self.try_admin("/mesh").await?;
            let view = MeshView(serde_json::from_slice(&page.body).map_err(|_| page.text())?);
            if wanted(&view) {
                Ok(())
            } else {
                Err(format!("{:#}", view.0))
            }
        });
        wait.await.1
    }

    // JSON is YAML too, and needs no quoting rules of ours.
    fn write_config(&self) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!("{:#}\n", *config);
        must("writing a config", std::fs::write(&self.config_path, text));
    }
}
