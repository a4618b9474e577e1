//! `grapevine mock` as a child process: an upstream with faults that a test turns on and off.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{http, try_get, whole};
use crate::ports::free_address;
use crate::process::{Process, Signal};
use crate::program::grapevine;
use crate::scratch::Scratch;
use crate::wait::{must, wait_until};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A mock upstream, ended when dropped.
#[derive(Debug)]
pub struct Mock {
    name: String,
    models: Vec<String>,
    address: SocketAddr,
    process: Process,
    // Dropped after the process, which writes there.
    _scratch: Scratch,
}

impl Mock {
    /// Starts a mock that serves `models` and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not answer within ten seconds.
    pub async fn start(name: &str, models: &[&str]) -> Self {
        Self::start_with(name, models, &[]).await
    }

    /// Starts a mock with more of its command line, such as `--provider`.
    ///
    /// # Panics
    ///
    /// When it does not answer within ten seconds.
    pub async fn start_with(name: &str, models: &[&str], more: &[&str]) -> Self {
        let scratch = Scratch::new(&format!("mock-{name}"));
        let address = free_address();
        let listen = address.to_string();
        let mut arguments: Vec<String> = ["mock", "--listen", &listen, "--name", name]
            .map(str::to_string)
            .to_vec();
        for model in models {
            arguments.extend(["--model".to_string(), (*model).to_string()]);
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_string()));
        let mock = Self {
            name: name.to_string(),
            models: models.iter().map(|model| (*model).to_string()).collect(),
            address,
            process: Process::new(name, &grapevine(), &arguments, scratch.path()),
            _scratch: scratch,
        };
        mock.restart().await;
        mock
    }

    /// The name, which is also that of the upstream in a node's config.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it serves.
    #[must_use]
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an SDK is given: the URL up to and with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Turns the named knobs; all others stay. `null` turns one off.
    ///
    /// # Panics
    ///
    /// When the mock refuses a value.
    pub async fn set(&self, knobs: Value) {
        let request = http().patch(self.url("/mock/knobs")).json(&knobs);
        let answer = must("turning knobs", whole(request).await);
        assert_eq!(
            answer.status,
            200,
            "{} refused {knobs}: {}",
            self.name,
            answer.text()
        );
    }

    /// Sets every knob back to "no fault".
    ///
    /// # Panics
    ///
    /// When the mock does not answer.
    pub async fn reset(&self) {
        let request = http().put(self.url("/mock/knobs")).json(&json!({}));
        let answer = must("resetting knobs", whole(request).await);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The mock's counts: `requests_total`, `in_flight`, `completed`, `cancelled`, and more.
    ///
    /// # Panics
    ///
    /// When the mock does not answer.
    pub async fn stats(&self) -> Value {
        must(
            "reading stats",
            try_get(&http(), &self.url("/mock/stats")).await,
        )
        .json()
    }

    /// One of the counts.
    ///
    /// # Panics
    ///
    /// When there is none of that name.
    pub async fn count(&self, name: &str) -> u64 {
        let stats = self.stats().await;
        stats[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {name} in {stats}"))
    }

    /// Waits until a count is at least `least`, and returns how long that took.
    ///
    /// # Panics
    ///
    /// When it is not within `limit`.
    pub async fn wait_for_count(&self, name: &str, least: u64, limit: Duration) -> Duration {
        let what = format!("{name} of {} to reach {least}", self.name);
        let is_reached = |stats: &Value| stats[name].as_u64().is_some_and(|count| count >= least);
        self.wait_for_stats(&what, limit, is_reached).await
    }

    async fn wait_for_stats(
        &self,
        what: &str,
        limit: Duration,
        is_reached: impl Fn(&Value) -> bool,
    ) -> Duration {
        let wait = wait_until(what, limit, async || {
            let stats = self.stats().await;
            if is_reached(&stats) {
                Ok(())
            } else {
                Err(stats.to_string())
            }
        });
        wait.await.1
    }

    /// How many chat requests came. Probes are left out.
    ///
    /// # Panics
    ///
    /// When the mock does not answer.
    pub async fn chats(&self) -> u64 {
        chats(&self.stats().await)
    }

    /// Waits until at least `least` chat requests came.
    ///
    /// # Panics
    ///
    /// When they have not within `limit`.
    pub async fn wait_for_chats(&self, least: u64, limit: Duration) {
        let what = format!("chat requests at {} to reach {least}", self.name);
        self.wait_for_stats(&what, limit, |stats| chats(stats) >= least)
            .await;
    }

    /// Ends the mock at once; its port refuses connections.
    pub fn kill(&self) {
        self.process.signal(Signal::Kill);
    }

    /// Starts the mock again on the same port, with every knob at "no fault", and waits for it.
    ///
    /// # Panics
    ///
    /// When it does not answer within ten seconds.
    pub async fn restart(&self) {
        if self.process.id().is_some() {
            self.kill();
        }
        self.process.start();
        let client = http();
        wait_until(&format!("mock {}", self.name), START_LIMIT, async || {
            self.process.check_alive();
            let page = try_get(&client, &self.url("/mock/stats")).await;
            page.map(drop).map_err(|error| format!("{error:?}"))
        })
        .await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn chats(stats: &Value) -> u64 {
    stats["by_path"]["/v1/chat/completions"]
        .as_u64()
        .unwrap_or(0)
}
