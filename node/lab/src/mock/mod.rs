//! `grapevine mock`: an OpenAI- and Anthropic-compatible upstream with fault knobs.
//!
//! The demo, the tests and the benchmarks call it in place of a real API. Its answers are a function of its name
//! and the last user message ([`answer_text`]), its faults are set by flag or at run time ([`Knobs`]), and its
//! counters record the outcome of each request ([`StatsSnapshot`]).
//!
//! In reading order: `knobs` (what can be turned), `faults` (what a request meets, as a value), `text` and `api` (the
//! answer, as a value), `script` (what is sent of it, as a value, and the body that plays it), `stats`, and the shell
//! around them: `service` (one request), `control` (`/mock/*`), `server` (sockets).
//!
//! Beside the API it serves, without a key:
//! - `GET`, `PUT`, `PATCH /mock/knobs`: read, replace, merge the knobs;
//! - `GET`, `DELETE /mock/stats`: read, clear the counters;
//! - `POST /mock/reset`: clear the counters, put the knobs back as started, and start the seeded draws over;
//! - with `--provider`, `/mock/token/*`: the token endpoints of Entra, Google and AWS (`strict/issue` lists them).
//!
//! With `--provider` it is as strict as the API it stands for: [`strict`] says what is checked.
//!
//! It knows nothing of the mesh, the routing or the config of a node; durations alone are written as in the
//! config.

mod api;
mod args;
mod control;
mod duration;
mod engine;
mod faults;
mod knobs;
mod read;
mod reply;
mod script;
mod server;
mod service;
mod stats;
mod strict;
#[cfg(test)]
mod tests;
mod text;
mod usage;

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use args::{MockArgs, run};
pub use duration::{DURATION_MAX, DurationError};
pub use engine::EngineConfig;
pub use knobs::{
    BODY_BYTES_MAX, CHUNKS_MAX, Knobs, KnobsError, RateLimit, RateLimitError, TokenFault,
    TokenFaultError,
};
pub use stats::{EventKind, LastEvent, LastRequest, StatsSnapshot};
pub use strict::{AccessKey, AccessKeyError, MockProvider, StrictConfig};
pub use text::answer_text;
pub use usage::MockUsage;

use service::Shared;

/// The longest name of a mock.
const NAME_BYTES_MAX: usize = 64;

/// How a mock is started.
#[derive(Debug, Clone)]
pub struct MockConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Part of every answer and id: 1 to 64 of letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The models it serves; `*` serves any.
    pub models: Vec<String>,
    /// The key that clients must send, as bearer token or `x-api-key`. `None`: any or no key is taken.
    pub api_key: Option<String>,
    /// Seed of the draws behind jitter and the probabilities.
    pub seed: u64,
    /// The knobs at start, and after `POST /mock/reset`.
    pub knobs: Knobs,
    /// Whose API it stands for, as strictly as that. `None`: OpenAI's and Anthropic's, leniently.
    pub provider: Option<MockProvider>,
    /// What strict upstreams need beside.
    pub strict: StrictConfig,
}

impl MockConfig {
    /// A mock without faults on a free port of loopback, serving [`default_models`].
    #[must_use]
    pub fn on_loopback(name: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: name.into(),
            models: default_models(),
            api_key: None,
            seed: 0,
            knobs: Knobs::default(),
            provider: None,
            strict: StrictConfig::default(),
        }
    }

    fn check(&self) -> Result<(), MockError> {
        let mut problems = Vec::new();
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.chars().all(fits) {
            problems.push(format!(
                "name: must be 1 to {NAME_BYTES_MAX} letters, digits, dots, underscores or hyphens"
            ));
        }
        if self.models.is_empty() {
            problems.push("models: at least one is needed; * serves any".to_owned());
        }
        match self.knobs.check() {
            Err(KnobsError::Invalid(found)) => problems.extend(found),
            Err(error) => problems.push(error.to_string()),
            Ok(()) => {}
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(MockError::Config(problems))
        }
    }
}

/// The models a mock serves when none is named.
#[must_use]
pub fn default_models() -> Vec<String> {
    [
        "gpt-4o",
        "gpt-4o-mini",
        "text-embedding-3-small",
        "claude-mock",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Why a mock did not start.
#[derive(Debug, Error)]
pub enum MockError {
    /// The config has invalid values; one text for each.
    #[error("the mock cannot start: {}", .0.join("; "))]
    Config(Vec<String>),
    /// The address cannot be bound.
    #[error("the mock cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file of Google's key cannot be read.
    #[error("the mock cannot read the key {}", .path.display())]
    GoogleKey {
        /// The file.
        path: std::path::PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Standard output or the process's signals are not to be had.
    #[error("the mock cannot reach its terminal")]
    Terminal(#[source] std::io::Error),
}

/// Starts mocks.
#[derive(Debug)]
pub struct Mock;

impl Mock {
    /// Starts a mock on the current runtime. It listens when this returns.
    ///
    /// # Errors
    /// When the config has an invalid value, or the address cannot be bound.
    pub async fn start(config: MockConfig) -> Result<MockHandle, MockError> {
        config.check()?;
        let failed = |source| MockError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::new(config));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared), stopped));
        Ok(MockHandle {
            address,
            shared,
            stop,
            server,
        })
    }
}

/// A running mock. Dropping it stops it, as a killed process would: open connections are broken.
#[derive(Debug)]
pub struct MockHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl MockHandle {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for clients, with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The knobs as they are.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.shared.settings().knobs.clone()
    }

    /// Replaces the knobs for all later requests.
    ///
    /// # Errors
    /// When a value is out of its limits; nothing is changed then.
    pub fn set_knobs(&self, knobs: Knobs) -> Result<(), KnobsError> {
        self.shared.set_knobs(knobs)
    }

    /// Clears the counters, puts the knobs back as started, and starts the seeded draws over.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// The counters as they are.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        self.shared.stats()
    }

    /// Waits until the counters satisfy `condition`, and returns them; without a limit of its own.
    pub async fn stats_when(&self, condition: impl FnMut(&StatsSnapshot) -> bool) -> StatsSnapshot {
        self.shared.stats_when(condition).await
    }

    /// Stops it and waits until its port and all connections are closed.
    pub async fn stop(self) {
        drop(self.stop);
        // A join error could only mean that the server panicked: it is gone either way.
        let _ = self.server.await;
    }
}
