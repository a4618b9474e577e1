//! Keys of clients as the node holds them: the ring that requests are checked against, its statements on disk, and
//! their way to and from peers.
//!
//! A statement that a node has not received before is kept on disk, then pushed to its peers; each of them does the
//! same, so it reaches every node of a connected mesh within a few round trips. Whatever is lost on that way is found
//! by comparing digests: with each peer once it can be reached, and with one peer in turn every half minute.

mod exchange;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use grapevine_base::clock;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::CallInside;
use grapevine_config::Config;
use grapevine_config::checked::IssuedKeysConfig;
use grapevine_console::admin::{StatementsRefused, TakeStatements};
use grapevine_core::ids::NodeName;
use grapevine_http::upstream::IdentityClient;
use grapevine_keys::ring::{KeyRing, StatementRefusal};
use grapevine_keys::statement_file;
use grapevine_keys::statements::Merged;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tracing::{error, info, warn};

use super::NodeStartError;
use super::oidc::{self, IdentityDesk, KeyFetcher};

pub(super) use exchange::PREFIX as PEER_PREFIX;

/// Statements that wait to be pushed; beyond it the comparison of digests brings them later.
const PUSHES_MAX: usize = 1_024;

/// Statements of one call.
const AT_ONCE_MAX: usize = 1_024;

/// Bad statements of one call after which the rest is not read.
const BAD_MAX: usize = 16;

/// Holds the statements of a node. Cheap to clone.
#[derive(Clone)]
pub(super) struct KeyKeeper(Arc<Keeper>);

struct Keeper {
    ring: KeyRing,
    identity: IdentityDesk,
    file: std::sync::Mutex<Option<PathBuf>>,
    /// One writer at a time.
    writing: Mutex<()>,
    /// Texts for peers, with the peer that they came from.
    pushes: mpsc::Sender<Push>,
    counts: KeyCounts,
}

/// What has happened to statements since the start.
#[derive(Debug, Default)]
pub(super) struct KeyCounts {
    /// Refused, whoever passed them on.
    pub(super) refused: AtomicU64,
    /// Times that the file could not be written.
    pub(super) unsaved: AtomicU64,
}

/// New statements on their way to peers.
struct Push {
    texts: Arc<[String]>,
    from: Option<NodeName>,
}

/// What became of statements.
#[derive(Debug, Default)]
struct Taken {
    new: usize,
    known: usize,
    refused: Vec<StatementRefusal>,
    is_kept: bool,
}

/// The work that spreads statements; to be run once.
pub(super) struct Spreading(KeyKeeper, mpsc::Receiver<Push>);

impl KeyKeeper {
    /// Reads the statements on disk; an identity provider is asked for its keys over `tls`.
    ///
    /// # Errors
    /// When there are some and they cannot be read.
    pub(super) fn load(
        config: &Config,
        tls: ClientConfig,
    ) -> Result<(Self, Spreading, KeyFetcher), NodeStartError> {
        let now = clock::wall();
        let issued = config.issued_keys.as_ref();
        let ring = KeyRing::new(issued.map(|issued| issued.issuers.clone()), now);
        if let Some(issued) = issued {
            load(&ring, issued)?;
        }
        let (identity, fetcher) = oidc::prepare(config, &ring, IdentityClient::new(tls));
        let (pushes, waiting) = mpsc::channel(PUSHES_MAX);
        let keeper = Self(Arc::new(Keeper {
            ring,
            identity,
            file: std::sync::Mutex::new(issued.map(|issued| issued.file.clone())),
            writing: Mutex::default(),
            pushes,
            counts: KeyCounts::default(),
        }));
        let spreading = Spreading(keeper.clone(), waiting);
        Ok((keeper, spreading, fetcher))
    }

    /// The keys in force.
    pub(super) fn ring(&self) -> &KeyRing {
        &self.0.ring
    }

    /// What was refused and lost.
    pub(super) fn counts(&self) -> &KeyCounts {
        &self.0.counts
    }

    /// Applies a reload.
    pub(super) fn take_config(&self, config: &Config) {
        let issued = config.issued_keys.as_ref();
        let issuers = issued.map(|issued| issued.issuers.clone());
        self.0.ring.set_issuers(issuers);
        self.0.identity.take(config);
        *self.file() = issued.map(|issued| issued.file.clone());
    }

    fn file(&self) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
        let file = &self.0.file;
        file.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes statements that somebody passes on, keeps what is new, and has it pushed to peers.
    async fn take(&self, texts: Vec<String>, from: Option<NodeName>) -> Taken {
        let ring = self.0.ring.clone();
        // A signature costs tens of microseconds: many of them would hold up everything else here.
        let merging = tokio::task::spawn_blocking(move || merge(&ring, texts));
        let Ok((mut taken, new)) = merging.await else {
            return Taken::default();
        };
        let refused = taken.refused.len() as u64;
        self.0.counts.refused.fetch_add(refused, Ordering::Relaxed);
        taken.is_kept = new.is_empty() || self.save().await;
        if !new.is_empty() {
            info!(new = new.len(), "statements about keys received");
            let texts = new.into();
            // A full queue: digests bring the rest.
            let _ = self.0.pushes.try_send(Push { texts, from });
        }
        taken
    }

    /// Writes all statements to disk; whether they are there now.
    async fn save(&self) -> bool {
        let _alone = self.0.writing.lock().await;
        let path = self.file().clone();
        let Some(path) = path else { return false };
        let statements = self.0.ring.known();
        let shown = path.display().to_string();
        let saving = tokio::task::spawn_blocking(move || statement_file::save(&path, &statements));
        let saved = saving
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Err(error) = &saved {
            self.0.counts.unsaved.fetch_add(1, Ordering::Relaxed);
            error!(%error, path = shown, "statements about keys cannot be kept: a restart would forget them");
        }
        saved.is_ok()
    }
}

fn load(ring: &KeyRing, issued: &IssuedKeysConfig) -> Result<(), NodeStartError> {
    let now = clock::wall();
    let kept = statement_file::load(&issued.file, &issued.issuers.public_keys);
    let kept = kept.map_err(|source| NodeStartError::File {
        key: "issued_keys.file",
        path: issued.file.clone(),
        source,
    })?;
    let mut left_out = kept.unreadable;
    for statement in kept.statements {
        left_out += usize::from(ring.take_signed(statement, now).is_err());
    }
    if left_out > 0 {
        let path = issued.file.display();
        warn!(%path, left_out, "lines of the statements about keys are not signed by an issuer of this mesh");
    }
    Ok(())
}

fn merge(ring: &KeyRing, texts: Vec<String>) -> (Taken, Vec<String>) {
    let now = clock::wall();
    let (mut taken, mut new) = (Taken::default(), Vec::new());
    for text in texts.into_iter().take(AT_ONCE_MAX) {
        match ring.take(&text, now) {
            Ok(Merged::New) => {
                taken.new += 1;
                new.push(text);
            }
            Ok(_) => taken.known += 1,
            Err(refusal) => taken.refused.push(refusal),
        }
        if taken.refused.len() >= BAD_MAX {
            break;
        }
    }
    (taken, new)
}

#[async_trait]
impl TakeStatements for KeyKeeper {
    async fn take(&self, texts: Vec<String>) -> Result<Value, StatementsRefused> {
        if texts.len() > AT_ONCE_MAX {
            let error = format!("at most {AT_ONCE_MAX} statements are taken at once");
            return Err(StatementsRefused(error));
        }
        let taken = self.take(texts, None).await;
        if let Some(refusal) = taken.refused.first() {
            return Err(StatementsRefused(refusal.to_string()));
        }
        Ok(json!({"new": taken.new, "known": taken.known, "kept": taken.is_kept}))
    }

    fn ring(&self) -> KeyRing {
        self.0.ring.clone()
    }
}

impl Spreading {
    /// Spreads statements until the future is dropped.
    pub(super) async fn run(self, driver: DriverHandle, inside: Option<Arc<dyn CallInside>>) {
        let Self(keeper, pushes) = self;
        match inside {
            Some(inside) => exchange::run(keeper, pushes, driver, inside).await,
            // Alone: there is nobody to push to, and nobody who could know of revocations earlier.
            None => exchange::alone(keeper, pushes).await,
        }
    }
}
