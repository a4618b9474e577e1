//! Real NATS servers with JetStream on loopback, each in a directory of its own; they end with the test,
//! even when the test is killed.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ports::free_address;
use crate::process::{Process, Signal};
use crate::program::workspace;
use crate::scratch::Scratch;
use crate::wait::{must, wait_until};

/// What its user's password is: part of the URL, and never to be seen elsewhere.
pub const PASSWORD: &str = "n4ts-s3cret";

/// How long a server may take to accept connections; after a kill it first reads its files again.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct Nats {
    address: SocketAddr,
    leaves: SocketAddr,
    server: Process,
    has_password: bool,
    // Dropped last: the server writes there.
    _scratch: Scratch,
}

impl Nats {
    /// Starts a server alone, with a user and a password.
    ///
    /// # Panics
    ///
    /// When there is no `nats-server` (`tests/run` installs it), or it does not start.
    pub async fn start(label: &str) -> Self {
        let user = format!("authorization {{ user: grapevine, password: \"{PASSWORD}\" }}\n");
        Self::started(label, None, &user).await
    }

    /// The same, with room for `bytes` of messages only.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    pub async fn start_small(label: &str, bytes: u64) -> Self {
        Self::started(label, Some(&format!("max_file_store: {bytes}")), "").await
    }

    /// The same, with each message on disk before it is acknowledged.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    pub async fn start_synced(label: &str) -> Self {
        Self::started(label, Some("sync_interval: always"), "").await
    }

    /// Starts a hub with the JetStream domain `domain`, which leaf nodes may join.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    pub async fn start_hub(domain: &str) -> Self {
        Self::started(domain, Some(&format!("domain: {domain}")), "").await
    }

    /// Starts a leaf node of `hub`, with a JetStream domain of its own.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    pub async fn start_leaf(domain: &str, hub: &Self) -> Self {
        let remote = format!(
            "reconnect: 1, remotes: [{{ url: \"nats-leaf://{}\" }}]",
            hub.leaves
        );
        Self::started(domain, Some(&format!("domain: {domain}")), &remote).await
    }

    async fn started(label: &str, jetstream: Option<&str>, more: &str) -> Self {
        let scratch = Scratch::new(label);
        let (address, leaves) = (free_address(), free_address());
        let is_user = more.starts_with("authorization");
        let leaf = match is_user {
            true => String::new(),
            false => format!("leafnodes {{ listen: \"{leaves}\"\n {more} }}\n"),
        };
        let config = format!(
            "listen: \"{address}\"\nserver_name: \"{label}\"\njetstream {{ store_dir: \"{}\"\n {} }}\n{leaf}{}",
            scratch.path().join("data").display(),
            jetstream.unwrap_or_default(),
            if is_user { more } else { "" },
        );
        let path = scratch.path().join("nats.conf");
        must("writing a config", std::fs::write(&path, config));
        let arguments = [
            "--pdeathsig=KILL".to_owned(),
            "--".to_owned(),
            program().display().to_string(),
            "-c".to_owned(),
            path.display().to_string(),
        ];
        let server = Process::new("nats", Path::new("setpriv"), &arguments, scratch.path());
        let nats = Self {
            address,
            leaves,
            server,
            has_password: is_user,
            _scratch: scratch,
        };
        nats.start_again().await;
        nats
    }

    /// Where a store finds it.
    #[must_use]
    pub fn url(&self) -> String {
        match self.has_password {
            true => format!("nats://grapevine:{PASSWORD}@{}", self.address),
            false => format!("nats://{}", self.address),
        }
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Sends the server a signal; after [`Signal::Kill`] it is gone.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Starts the server again, on the same data.
    ///
    /// # Panics
    ///
    /// When it runs, or does not come up.
    pub async fn start_again(&self) {
        self.server.start();
        wait_until("a NATS server that answers", START_LIMIT, async || {
            self.server.check_alive();
            TcpStream::connect(self.address).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Where `tests/run` installs the server, or else where the PATH has it.
fn program() -> PathBuf {
    let installed = workspace().join("tests/.env/python/bin/nats-server");
    if installed.exists() {
        return installed;
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .map(|path| path.join("nats-server"))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no nats-server here: tests/run installs it"))
}
