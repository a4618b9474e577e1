//! A real Postgres server on loopback, in a directory of its own; it ends with the test, even when the
//! test is killed.
//!
//! The server refuses to run as root: then it runs as the user `postgres`, which its package makes. Its
//! pages and its log are synced to disk as in production, so that a killed server shows what was durable.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::ports::free_address;
use crate::process::{Process, Signal};
use crate::scratch::Scratch;
use crate::wait::{must, wait_until};

/// What its superuser's password is: part of the URL, and never to be seen elsewhere.
pub const PASSWORD: &str = "p0stgres-s3cret";

/// How long a server may take to accept connections; after a kill it first repairs itself.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    address: SocketAddr,
    server: Process,
    programs: PathBuf,
    // Dropped last: the server writes there.
    scratch: Scratch,
}

impl Postgres {
    /// Makes an empty database and starts a server for it.
    ///
    /// # Panics
    ///
    /// When there is no Postgres (`apt-get install postgresql`), or it does not start.
    pub async fn start(label: &str) -> Self {
        let scratch = Scratch::new(label);
        let programs = programs();
        let data = scratch.path().join("data");
        let password = scratch.path().join("password");
        must("writing a password", std::fs::write(&password, PASSWORD));
        give_away(scratch.path());
        let arguments = [
            "--pgdata".to_owned(),
            data.display().to_string(),
            "--username=postgres".to_owned(),
            "--auth=scram-sha-256".to_owned(),
            format!("--pwfile={}", password.display()),
            "--no-sync".to_owned(),
            "--encoding=UTF8".to_owned(),
            "--locale=C".to_owned(),
        ];
        let (program, arguments) = unprivileged(&programs.join("initdb"), &arguments);
        let made = Command::new(&program).args(&arguments).output();
        let made = must("running initdb", made);
        assert!(made.status.success(), "initdb failed: {made:?}");
        let address = free_address();
        let arguments = [
            "-D".to_owned(),
            data.display().to_string(),
            "-p".to_owned(),
            address.port().to_string(),
            "-c".to_owned(),
            format!("listen_addresses={}", address.ip()),
            "-c".to_owned(),
            format!("unix_socket_directories={}", scratch.path().display()),
        ];
        let (program, arguments) = unprivileged(&programs.join("postgres"), &arguments);
        let server = Process::new("postgres", &program, &arguments, scratch.path());
        let postgres = Self {
            address,
            server,
            programs,
            scratch,
        };
        postgres.start_again().await;
        postgres
    }

    /// Where a store finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@{}/postgres", self.address)
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

    /// Ends the server at once, without a chance to write anything more.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&self) {
        self.server.signal(Signal::Kill);
    }

    /// Ends the server in its orderly way: it ends every client's connection first.
    ///
    /// # Panics
    ///
    /// When it does not run, or does not end.
    pub async fn stop(&self) {
        self.server.signal(Signal::Interrupt);
        self.server.wait_for_exit(STOP_LIMIT).await;
    }

    /// Sends the server's first process a signal: a frozen one takes no new connections.
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
        let ready = self.programs.join("pg_isready");
        wait_until("a Postgres that answers", START_LIMIT, async || {
            // Children of a killed server hold its memory for a moment; a new one ends at once then.
            if self.server.exit_status().is_some() {
                self.server.start();
            }
            let port = self.address.port().to_string();
            let asked = Command::new(&ready)
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status();
            match must("running pg_isready", asked).success() {
                true => Ok(()),
                false => Err("no answer".to_owned()),
            }
        })
        .await;
    }

    /// Gives the server a certificate of its own making, for its address, and starts it again with it; the
    /// certificate's file.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn serve_tls(&self) -> PathBuf {
        let signed = rcgen::generate_simple_self_signed(vec![self.address.ip().to_string()]);
        let signed = must("making a certificate", signed);
        let data = self.scratch.path().join("data");
        let (certificate, key) = (data.join("server.crt"), data.join("server.key"));
        must(
            "writing a certificate",
            std::fs::write(&certificate, signed.cert.pem()),
        );
        must(
            "writing a key",
            std::fs::write(&key, signed.signing_key.serialize_pem()),
        );
        let private = std::fs::Permissions::from_mode(0o600);
        must("closing a key", std::fs::set_permissions(&key, private));
        give_away(&data);
        assert_eq!(self.sql("ALTER SYSTEM SET ssl TO on"), "");
        self.stop().await;
        self.start_again().await;
        certificate
    }

    /// Runs SQL as the superuser and returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[must_use]
    pub fn sql(&self, text: &str) -> String {
        let ran = Command::new(self.programs.join("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", text])
            .arg(self.url())
            .output();
        let ran = must("running psql", ran);
        assert!(ran.status.success(), "{text}: {ran:?}");
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }
}

/// Where Debian keeps the newest server's programs, or else where the PATH has them.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .filter_map(|version| Some(version.ok()?.path()))
        .filter(|version| version.join("bin/postgres").exists())
        .max_by_key(number);
    if let Some(version) = newest {
        return version.join("bin");
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .find(|path| path.join("initdb").exists() && path.join("postgres").exists())
        .unwrap_or_else(|| panic!("there is no Postgres here: apt-get install postgresql"))
}

/// The command that runs `program` as a user that the server accepts, and that ends with this thread.
fn unprivileged(program: &Path, arguments: &[String]) -> (PathBuf, Vec<String>) {
    let mut all = vec!["--pdeathsig=KILL".to_owned()];
    if is_root() {
        let identity = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
        all.extend(identity.map(str::to_owned));
    }
    all.push("--".to_owned());
    all.push(program.display().to_string());
    all.extend_from_slice(arguments);
    (PathBuf::from("setpriv"), all)
}

fn is_root() -> bool {
    let user = must("running id", Command::new("id").arg("-u").output());
    user.stdout.trim_ascii() == b"0"
}

fn give_away(directory: &Path) {
    if is_root() {
        let mut chown = Command::new("chown");
        let given = chown.args(["-R", "postgres"]).arg(directory).status();
        let status = must("running chown", given);
        assert!(status.success(), "chown: {status}");
    }
    let private = std::fs::Permissions::from_mode(0o700);
    must(
        "closing a directory",
        std::fs::set_permissions(directory, private),
    );
}
