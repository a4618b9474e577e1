//! What changes while a node runs: upstreams, keys, limits, routing, certificates.
//!
//! All or nothing: a new configuration is checked and prepared as a whole before the first part of it
//! is swapped in. If it has problems, they are logged, and the old one stays.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::own_files::FailedReload;
use grapevine_base::{causes, clock};
use grapevine_config::checked::TlsConfig;
use grapevine_config::watch::{ConfigWatch, LOOK_INTERVAL, reload};
use grapevine_config::{Config, MeshConfig, Sources};
use grapevine_core::engine::Event;
use grapevine_http::ingress;
use grapevine_mesh::Credentials;
use grapevine_observe::log;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::{App, NodeStartError, accounts, own_files, translate};

/// How often a configuration that was refused is tried again. The reason may lie in a file that only the refused one
/// names, such as a new certificate, which is not watched.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Signals when to read the configuration again.
pub(super) struct Reloads {
    /// `None` where files and signals cannot be watched.
    watch: Option<ConfigWatch>,
    retry: Retry,
}

/// Whether the last reload is to be tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// It succeeded, or there was none.
    No,
    /// At this moment.
    At(Instant),
    /// Now: nothing that is watched has changed since it was refused.
    Due,
}

/// Why a configuration was not taken up, or not as a whole.
struct Refusal {
    file_hash: Option<String>,
    error: String,
}

impl Reloads {
    pub(super) fn of(sources: &Sources, config: &Config) -> Self {
        let watch = ConfigWatch::new(grapevine_config::files(sources, config), LOOK_INTERVAL);
        Self {
            watch: watch
                .inspect_err(|error| warn!(%error, "configuration is not watched"))
                .ok(),
            retry: Retry::No,
        }
    }

    /// Waits for the next reason. Dropping the future loses none.
    pub(super) async fn next(&mut self) {
        let retry = self.retry;
        let retried = async {
            match retry {
                Retry::No => std::future::pending().await,
                Retry::At(at) => sleep_until(at).await,
                Retry::Due => {}
            }
        };
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changed => self.retry = Retry::No,
            () = retried => self.retry = Retry::Due,
        }
    }
}

impl App {
    /// Applies a new configuration, or logs why not and keeps the old one. A refusal that is the same again is no news.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn reload(&mut self, reloads: &mut Reloads) -> Result<(), String> {
        let is_retry = reloads.retry == Retry::Due;
        reloads.retry = Retry::No;
        let Err(refusal) = self.try_reload(is_retry) else {
            if let Some(watch) = &mut reloads.watch {
                watch.set_files(grapevine_config::files(&self.sources, &self.config));
            }
            info!(
                upstreams = self.config.upstreams.len(),
                "configuration reloaded"
            );
            return Ok(());
        };
        reloads.retry = Retry::At(Instant::now() + RETRY_INTERVAL);
        let files = self.readiness.files();
        let known = files.config();
        files.refused(refusal.file_hash, &refusal.error, clock::wall());
        let reason = |failed: FailedReload| (failed.error, failed.file_hash);
        let now = files.config().failed.clone().map(reason);
        if !is_retry || known.failed.clone().map(reason) != now {
            error!(
                error = refusal.error,
                "the new configuration is refused, the old one stays in use"
            );
        }
        Err(refusal.error)
    }

    fn try_reload(&mut self, is_retry: bool) -> Result<(), Refusal> {
        let loaded = reload(&self.config, &self.sources).map_err(|problems| Refusal {
            file_hash: problems.file_hash().map(str::to_owned),
            error: problems.to_string(),
        })?;
        if !is_retry {
            for warning in &loaded.warnings {
                warn!(%warning, "configuration");
            }
        }
        let file_hash = loaded.config.file_hash.clone();
        let has_taken_all = match self.take(loaded.config) {
            Ok(has_taken_all) => has_taken_all,
            Err(error) => {
                let error = causes::joined(&error);
                return Err(Refusal { file_hash, error });
            }
        };
        let files = self.readiness.files();
        own_files::taken(&self.config, loaded.pending_restart, files);
        match has_taken_all {
            true => Ok(()),
            false => Err(Refusal {
                file_hash,
                error: ENGINE_BUSY.to_owned(),
            }),
        }
    }

    /// Whether all of it was taken; else the engine still has the old rules or upstreams.
    fn take(&mut self, config: Config) -> Result<bool, NodeStartError> {
        let public_tls = config.tls.as_ref().map(public_tls).transpose()?;
        let credentials = config.mesh.as_ref().map(credentials).transpose()?;
        // The mesh and the location database can refuse a configuration, so they come first.
        if let (Some(mesh), Some(credentials)) = (&self.mesh, credentials) {
            mesh.handle.reload(&credentials)?;
        }
        self.geography.take(&config)?;
        if let Some(mesh) = &self.mesh {
            mesh.handle.set_rules(translate::serving_rules(&config));
        }
        self.targets.replace(translate::upstreams(&config))?;
        self.accounts.replace(accounts::of_upstreams(&config));
        if let (Some(handle), Some(tls)) = (&self.public_tls, public_tls) {
            handle.store(tls);
        }
        self.probe_targets
            .store(Arc::new(translate::probes(&config)));
        self.bodies.set_limit(config.limits.body_memory.get());
        self.keys.take_config(&config);
        let ingress = translate::ingress_settings(&config, self.keys.ring());
        self.ingress.store(Arc::new(ingress));
        self.names.take(&config);
        if let Some(background) = &self.background {
            background.take(&config);
        }
        self.readiness
            .set_open_to_all(translate::is_open_to_all(&config));
        self.shown_config.store(Arc::new(config.dump()));
        let rules = Event::RulesChanged(config.residency.clone());
        let upstreams = Event::Configured(translate::specs(&config));
        let has_taken_all = self.driver.try_send(rules) && self.driver.try_send(upstreams);
        // A level set at the admin port holds until the file's own changes.
        if self.config.log.level != config.log.level {
            // It was checked with the rest of the configuration.
            let _ = log::set_level(&config.log.level);
        }
        self.config = config;
        Ok(has_taken_all)
    }
}

/// What is said when a full queue kept the engine from a part of a new configuration.
const ENGINE_BUSY: &str =
    "the engine is too busy to take the new rules or upstreams; they are tried again within 30 s";

/// The public certificate and key.
pub(super) fn public_tls(tls: &TlsConfig) -> Result<Arc<rustls::ServerConfig>, NodeStartError> {
    let chain = read("tls.cert", &tls.cert)?;
    let key = read("tls.key", &tls.key)?;
    Ok(ingress::tls_config(&chain, &key)?)
}

/// The certificates of the mesh.
pub(super) fn credentials(mesh: &MeshConfig) -> Result<Credentials, NodeStartError> {
    let ca = read("mesh.tls.ca", &mesh.tls.ca)?;
    let certificate = read("mesh.tls.cert", &mesh.tls.cert)?;
    let key = read("mesh.tls.key", &mesh.tls.key)?;
    Ok(Credentials::from_pem(
        mesh.name.clone(),
        &ca,
        &certificate,
        &key,
    )?)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, NodeStartError> {
    std::fs::read(path).map_err(|source| NodeStartError::File {
        key,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
