//! The four nodes, their upstreams, and the distance between them: start, convergence, and end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grapevine_base::page::MeshPage;
use serde_json::json;
use tokio::process::Command;
use tokio::time::Instant;

use super::DemoError;
use super::child::{Child, Reaper};
use super::port::Ports;
use super::region::{self, Region};
use super::wan::Wan;
use crate::mock::{Mock, MockConfig, MockHandle};

/// How long all nodes may take to see one another, over the emulated distance and in a slow build.
const START_LIMIT: Duration = Duration::from_secs(40);

/// How long making one certificate may take.
const CERTIFICATE_LIMIT: Duration = Duration::from_secs(20);

/// How long an admin page may take.
const PAGE_LIMIT: Duration = Duration::from_secs(2);

/// How long a node may take to finish its requests at its end; its config has a second less.
const END_LIMIT: Duration = Duration::from_secs(4);

/// The time between two checks of an awaited condition.
const LOOK: Duration = Duration::from_millis(20);

/// The name of the demo's mesh.
const MESH: &str = "demo";

/// The first of the four ports of each kind, when they are free.
const PUBLIC_PORT: u16 = 8081;
const UPSTREAM_PORT: u16 = 8091;
const ADMIN_PORT: u16 = 9091;
const MESH_PORT: u16 = 7171;

/// A running mesh. Dropping it kills its nodes.
#[derive(Debug)]
pub(super) struct Fleet {
    /// In the order of [`region::ALL`].
    members: Vec<Member>,
    program: PathBuf,
    http: reqwest::Client,
    wan: Wan,
    reaper: Reaper,
    // Dropped last: the nodes write there.
    directory: Directory,
}

/// One node with its upstream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) region: Region,
    pub(super) addresses: Addresses,
    pub(super) config: PathBuf,
    pub(super) upstream: MockHandle,
    pub(super) process: Child,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) public: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) mesh: SocketAddr,
    pub(super) upstream: SocketAddr,
}

impl Member {
    /// What an SDK is given.
    pub(super) fn base_url(&self) -> String {
        format!("http://{}/v1", self.addresses.public)
    }
}

impl Fleet {
    /// Starts everything with `program` as the node. It does not wait until anything is ready.
    ///
    /// # Errors
    /// When ports, files, certificates or processes cannot be had.
    pub(super) async fn start(program: &Path, http: reqwest::Client) -> Result<Self, DemoError> {
        let directory = Directory::create()?;
        let reaper = Reaper::start(&directory.path).map_err(DemoError::Files)?;
        let mut ports = Ports::new(std::process::id());
        let mut all_addresses = Vec::new();
        for number in 0..region::REGIONS as u16 {
            all_addresses.push(addresses(&mut ports, number).ok_or(DemoError::Ports)?);
        }
        let real: Vec<SocketAddr> = all_addresses.iter().map(|node| node.mesh).collect();
        let wan = Wan::start(&real, region::one_way).await;
        let wan = wan.map_err(DemoError::Files)?;
        make_certificates(program, &directory.path).await?;
        let mut fleet = Self {
            members: Vec::new(),
            program: program.to_owned(),
            http,
            wan,
            reaper,
            directory,
        };
        for (number, (region, addresses)) in region::ALL.iter().zip(all_addresses).enumerate() {
            fleet.add(number, *region, addresses).await?;
        }
        Ok(fleet)
    }

    async fn add(
        &mut self,
        number: usize,
        region: Region,
        addresses: Addresses,
    ) -> Result<(), DemoError> {
        let upstream = Mock::start(MockConfig {
            listen: addresses.upstream,
            knobs: region::knobs(&region),
            ..MockConfig::on_loopback(region.upstream)
        });
        let upstream = upstream.await.map_err(DemoError::Upstream)?;
        let directory = self.directory.path.as_path();
        let config = directory.join(format!("{}.yaml", region.name));
        let text = config_text(directory, &region, addresses, self.wan.advertised(), number);
        std::fs::write(&config, text).map_err(DemoError::Files)?;
        let log = directory.join(format!("{}.log", region.name));
        let arguments = ["node", "-c", &config.display().to_string()];
        let process = Child::start(&self.program, &arguments, &log, &mut self.reaper);
        self.members.push(Member {
            region,
            addresses,
            config,
            upstream,
            process: process.map_err(|source| DemoError::Program {
                program: self.program.clone(),
                source,
            })?,
        });
        Ok(())
    }

    /// What a node is started with.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The nodes, in the order of [`region::ALL`].
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The mesh as a node sees it; `None` when its admin port does not answer.
    pub(super) async fn page(&self, number: usize) -> Option<MeshPage> {
        let member = self.members.get(number)?;
        let url = format!("http://{}/mesh", member.addresses.admin);
        let answer = self.http.get(url).timeout(PAGE_LIMIT).send().await.ok()?;
        answer.json().await.ok()
    }

    /// Waits until each node sees itself and all others ready, with their upstreams, and returns how long that took.
    ///
    /// # Errors
    /// When a node ends, or not all do within [`START_LIMIT`]; the error shows the end of a log.
    pub(super) async fn wait_until_ready(&mut self) -> Result<Duration, DemoError> {
        let all: Vec<usize> = (0..self.members.len()).collect();
        let waited = self.wait_for_views(&all, START_LIMIT, |page| {
            region::ALL
                .iter()
                .all(|region| page.sees(region.name, region.upstream))
        });
        waited
            .await
            .map_err(|late| self.not_seen("all nodes ready", &late))
    }

    /// Waits until the views of the nodes in `of` all satisfy `wanted`, and returns how long that took.
    ///
    /// # Errors
    /// The numbers of the nodes whose views do not satisfy it within `limit`; at once when a node ended.
    pub(super) async fn wait_for_views(
        &mut self,
        of: &[usize],
        limit: Duration,
        wanted: impl Fn(&MeshPage) -> bool,
    ) -> Result<Duration, Vec<usize>> {
        let start = Instant::now();
        let mut late: Vec<usize> = of.to_vec();
        loop {
            let mut still = Vec::new();
            for number in late {
                if !self.page(number).await.as_ref().is_some_and(&wanted) {
                    still.push(number);
                }
            }
            late = still;
            if late.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() >= limit || late.iter().any(|number| self.has_ended(*number)) {
                return Err(late);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether a node's process is gone.
    pub(super) fn has_ended(&mut self, number: usize) -> bool {
        let member = self.members.get_mut(number);
        member.is_none_or(|member| member.process.ended().is_some())
    }

    /// The error that `what` was not seen by the nodes in `late`, with the end of the first one's log. Keeps all logs.
    pub(super) fn not_seen(&mut self, what: &str, late: &[usize]) -> DemoError {
        self.directory.keep = true;
        let names = late.iter().filter_map(|number| self.members.get(*number));
        let names: Vec<&str> = names.map(|member| member.region.name).collect();
        let first = late.first().copied().unwrap_or_default();
        let ended = self.has_ended(first);
        let log = self.members.get(first).map(|m| m.process.log_tail());
        DemoError::NotSeen {
            what: what.to_owned(),
            by: names.join(", "),
            ended,
            log: log.unwrap_or_default(),
            directory: self.directory.path.clone(),
        }
    }

    /// Kills a node (SIGKILL) and waits for its end.
    pub(super) async fn kill(&mut self, number: usize) {
        if let Some(member) = self.members.get_mut(number) {
            member.process.kill(&mut self.reaper).await;
        }
    }

    /// Ends all nodes in order: SIGTERM to all, then SIGKILL to those that do not end.
    pub(super) async fn end(mut self) {
        let deadline = Instant::now() + END_LIMIT;
        for member in &mut self.members {
            member.process.ask_to_end().await;
        }
        for member in &mut self.members {
            let left = deadline.saturating_duration_since(Instant::now());
            member.process.wait_or_kill(left, &mut self.reaper).await;
        }
        for member in self.members.drain(..) {
            member.upstream.stop().await;
        }
    }
}

fn addresses(ports: &mut Ports, number: u16) -> Option<Addresses> {
    Some(Addresses {
        public: ports.take(PUBLIC_PORT + number)?,
        admin: ports.take(ADMIN_PORT + number)?,
        mesh: ports.take(MESH_PORT + number)?,
        upstream: ports.take(UPSTREAM_PORT + number)?,
    })
}

/// A node's config. Texts are JSON strings, which YAML reads alike, so that any path is valid there.
fn config_text(
    directory: &Path,
    region: &Region,
    addresses: Addresses,
    advertised: &[SocketAddr],
    number: usize,
) -> String {
    let file = |name: String| json!(directory.join(name)).to_string();
    let own = advertised.get(number).copied();
    let others = advertised.iter().filter(|address| Some(**address) != own);
    let seeds: Vec<String> = others.map(SocketAddr::to_string).collect();
    let name = region.name;
    let mut text = format!(
        "node:\n  name: {name}\n  region: {name}\n  location: {{lat: {}, lon: {}}}\n",
        region.latitude, region.longitude
    );
    let rest = format!(
        "listen: {}\nadmin: {{listen: \"{}\"}}\nmesh:\n  name: {MESH}\n  listen: {}\n  advertise: {}\n  seeds: {}\n  \
         tls:\n    ca: {}\n    cert: {}\n    key: {}\nupstreams:\n  - name: {}\n    base_url: http://{}/v1\n    \
         models: {}\n    health: {{interval: 1s, timeout: 500ms, cooldown_max: 2s}}\ndrain: {{timeout: {}s}}\nworkers: 1\n",
        addresses.public,
        addresses.admin,
        addresses.mesh,
        own.unwrap_or(addresses.mesh),
        json!(seeds),
        file("mesh-ca.pem".to_owned()),
        file(format!("{name}.pem")),
        file(format!("{name}.key")),
        region.upstream,
        addresses.upstream,
        json!(crate::mock::default_models()),
        END_LIMIT.as_secs() - 1,
    );
    // Writing to a String cannot fail.
    let _ = write!(text, "{rest}");
    text
}

/// Makes the mesh's CA and a certificate per node, as an operator would: with `grapevine ca`.
async fn make_certificates(program: &Path, directory: &Path) -> Result<(), DemoError> {
    let folder = directory.display().to_string();
    run(program, &["ca", "init", "--out", &folder, "--mesh", MESH]).await?;
    for region in &region::ALL {
        let issue = ["ca", "issue", "--ca", &folder, "--name", region.name];
        run(program, &[&issue[..], &["--out", &folder]].concat()).await?;
    }
    Ok(())
}

async fn run(program: &Path, arguments: &[&str]) -> Result<(), DemoError> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(CERTIFICATE_LIMIT, command.output()).await;
    let failed = |text: String| DemoError::Certificates {
        command: arguments.join(" "),
        text,
    };
    match output {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(failed(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        ))),
        Ok(Err(source)) => Err(DemoError::Program {
            program: program.to_owned(),
            source,
        }),
        Err(_) => Err(failed(format!("no end after {CERTIFICATE_LIMIT:?}"))),
    }
}

/// A directory for configs, certificates and logs, readable by its owner alone; removed when dropped, unless kept.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    fn create() -> Result<Self, DemoError> {
        let name = format!("grapevine-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // An existing one is somebody else's and may not be private, so it is not used.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(DemoError::Files)?;
        Ok(Self { path, keep: false })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            // The system cleans up what cannot be removed from its temporary directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_config_seeds_all_others_and_advertises_its_relay() {
        let addresses = Addresses {
            public: at(1),
            admin: at(2),
            mesh: at(3),
            upstream: at(4),
        };
        let advertised = [at(11), at(12), at(13)];
        let directory = Path::new("/tmp/a \"b\": c");
        let text = config_text(directory, &region::ALL[1], addresses, &advertised, 1);
        assert!(text.contains("advertise: 127.0.0.1:12\n"), "{text}");
        let seeds = "seeds: [\"127.0.0.1:11\",\"127.0.0.1:13\"]\n";
        assert!(text.contains(seeds), "{text}");
        let key = "key: \"/tmp/a \\\"b\\\": c/jpn.key\"\n";
        assert!(text.contains(key), "{text}");
        assert!(text.contains("base_url: http://127.0.0.1:4/v1\n"), "{text}");
    }
}
