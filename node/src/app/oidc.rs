//! Keeps the keys of the identity provider: fetches them at the start, regularly, and when a token is signed by an
//! unknown one; keeps them on disk, so that a node that restarts does not depend on the provider.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::{clock, files};
use grapevine_config::Config;
use grapevine_config::checked::OidcConfig;
use grapevine_http::upstream::{IdentityClient, IdentityFailure};
use grapevine_keys::key_set::{SigningKeySet, SigningKeySetError};
use grapevine_keys::oidc::AskForKeys;
use grapevine_keys::ring::KeyRing;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

/// How long the provider may take to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The least time between two fetches that tokens with unknown keys ask for: whoever sends such tokens must not make
/// this node a burden for the provider.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// Waits after failures double from here, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);

const RETRY_MAX: Duration = Duration::from_secs(300);

/// The identity provider as the rest of the node sees it.
pub(super) struct IdentityDesk {
    ring: KeyRing,
    ask: AskForKeys,
    config: watch::Sender<Option<OidcConfig>>,
}

/// The task that fetches keys; to be run once.
pub(super) struct KeyFetcher {
    ring: KeyRing,
    client: IdentityClient,
    asked: Arc<Notify>,
    config: watch::Receiver<Option<OidcConfig>>,
}

/// The file: whose keys they are, and the set as it was fetched.
#[derive(Serialize, Deserialize)]
struct KeptKeys {
    issuer: String,
    /// Seconds since the Unix epoch.
    fetched_at: u64,
    key_set: Box<RawValue>,
}

/// Why a wait has ended.
enum Rest {
    /// It is time, or the configuration has changed.
    Due,
    /// A token was signed by an unknown key.
    Asked,
    /// Nobody can want keys any more.
    Ended,
}

impl Rest {
    fn of(changed: Result<(), watch::error::RecvError>) -> Self {
        match changed {
            Ok(()) => Self::Due,
            Err(_) => Self::Ended,
        }
    }
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the provider did not answer in time")]
    TimedOut,
    #[error("{0}")]
    Provider(#[from] IdentityFailure),
    #[error("what the provider publishes {0}")]
    KeySet(#[from] SigningKeySetError),
}

/// The desk, and the task behind it. Keys that were kept are in use at once.
pub(super) fn prepare(
    config: &Config,
    ring: &KeyRing,
    client: IdentityClient,
) -> (IdentityDesk, KeyFetcher) {
    let asked = Arc::new(Notify::new());
    let notified = Arc::clone(&asked);
    let (sender, receiver) = watch::channel(None);
    let desk = IdentityDesk {
        ring: ring.clone(),
        ask: Arc::new(move || notified.notify_one()),
        config: sender,
    };
    desk.take(config);
    let fetcher = KeyFetcher {
        ring: ring.clone(),
        client,
        asked,
        config: receiver,
    };
    (desk, fetcher)
}

impl IdentityDesk {
    /// Applies a configuration.
    pub(super) fn take(&self, config: &Config) {
        let changed = self.config.send_if_modified(|current| {
            let differs = *current != config.oidc;
            current.clone_from(&config.oidc);
            differs
        });
        if !changed {
            return;
        }
        let rules = config.oidc.as_ref().map(|oidc| oidc.rules.clone());
        self.ring.set_provider(rules, &self.ask);
        if let Some(oidc) = &config.oidc
            && self.ring.provider_keys().is_none_or(|(keys, _)| keys == 0)
        {
            load(&self.ring, oidc);
        }
    }
}

impl KeyFetcher {
    /// Runs until the future is dropped.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        let mut may_be_asked = Instant::now();
        loop {
            let config = self.config.borrow_and_update().clone();
            let wait = match &config {
                None => None,
                Some(config) => Some(match self.renew(config).await {
                    Ok(()) => {
                        failures = 0;
                        config.refresh
                    }
                    Err(error) => {
                        let wait = RETRY_MIN * 2_u32.pow(failures);
                        failures = (failures + 1).min(9);
                        let issuer = &config.rules.issuer;
                        warn!(issuer, %error, "keys of the identity provider cannot be fetched; those that are known stay in use");
                        wait.min(RETRY_MAX)
                    }
                }),
            };
            match self.rest(wait, may_be_asked).await {
                Rest::Due => {}
                Rest::Asked => may_be_asked = Instant::now() + ASK_INTERVAL,
                Rest::Ended => return,
            }
        }
    }

    /// Waits until keys are to be fetched again.
    async fn rest(&mut self, wait: Option<Duration>, may_be_asked: Instant) -> Rest {
        let Some(wait) = wait else {
            return Rest::of(self.config.changed().await);
        };
        let asked = async {
            sleep_until(may_be_asked).await;
            self.asked.notified().await;
        };
        tokio::select! {
            () = asked => {
                debug!("a token is signed by a key of the identity provider that is not known");
                Rest::Asked
            }
            () = sleep(wait) => Rest::Due,
            changed = self.config.changed() => Rest::of(changed),
        }
    }

    async fn renew(&self, config: &OidcConfig) -> Result<(), FetchError> {
        let issuer = &config.rules.issuer;
        let keys = config.jwks_url.as_ref();
        let fetching = self.client.key_set(issuer, &config.issuer_url, keys);
        let fetched = timeout(FETCH_TIMEOUT, fetching).await;
        let fetched = fetched.map_err(|_| FetchError::TimedOut)??;
        let set = SigningKeySet::read(&fetched)?;
        let now = clock::wall();
        info!(
            issuer,
            keys = set.len(),
            "keys of the identity provider fetched"
        );
        self.ring.set_provider_keys(issuer, set, now);
        keep(config, &fetched, now).await;
        Ok(())
    }
}

/// Writes fetched keys to disk.
async fn keep(config: &OidcConfig, fetched: &Bytes, now: Duration) {
    let Ok(key_set) = serde_json::from_slice::<Box<RawValue>>(fetched) else {
        return;
    };
    let kept = KeptKeys {
        issuer: config.rules.issuer.clone(),
        fetched_at: now.as_secs(),
        key_set,
    };
    let path = config.file.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let text = serde_json::to_vec(&kept)?;
        files::replace(&path, &text)
    });
    if let Err(error) = writing.await.map_err(std::io::Error::other).flatten() {
        let path = config.file.display();
        warn!(%error, %path, "keys of the identity provider cannot be kept: a restart needs the provider");
    }
}

/// Takes the keys that were kept, where they are the provider's.
fn load(ring: &KeyRing, config: &OidcConfig) {
    match read(&config.file) {
        Ok(Some(kept)) if kept.issuer == config.rules.issuer => {
            match SigningKeySet::read(kept.key_set.get().as_bytes()) {
                Ok(set) => {
                    let fetched_at = Duration::from_secs(kept.fetched_at);
                    ring.set_provider_keys(&kept.issuer, set, fetched_at);
                }
                Err(error) => {
                    let path = config.file.display();
                    warn!(%error, %path, "kept keys of the identity provider cannot be used");
                }
            }
        }
        Ok(_) => {}
        Err(error) => {
            let path = config.file.display();
            warn!(%error, %path, "kept keys of the identity provider cannot be read");
        }
    }
}

fn read(path: &Path) -> std::io::Result<Option<KeptKeys>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
