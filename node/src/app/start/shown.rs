//! What the operator's port shows and does.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use grapevine_config::Config;
use grapevine_console::admin::{Admin, ReloadAsk, TokenGuard};
use grapevine_http::ingress::{self, Explainer};
use grapevine_keys::rights::ClientKey;
use grapevine_observe::history::History;
use grapevine_observe::losses::Losses;
use grapevine_observe::pulse::Pulse;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::super::translate;
use super::Ground;

/// Reloads that operators wait for at once; further ones wait to be asked for.
pub(super) const RELOADS_MAX: usize = 8;

/// The current configuration, for the operator.
fn show(config: &Arc<ArcSwap<Value>>) -> Arc<dyn Fn() -> Arc<Value> + Send + Sync> {
    let config = Arc::clone(config);
    Arc::new(move || config.load_full())
}

/// The keys of the file that is in use.
fn filed_keys(
    ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
) -> Arc<dyn Fn() -> Vec<Arc<ClientKey>> + Send + Sync> {
    let ingress = Arc::clone(ingress);
    Arc::new(move || ingress.load().keys.filed())
}

impl Ground {
    /// What the operator's port shows, except losses and background work.
    pub(super) fn admin(
        &self,
        config: &Config,
        ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
        history: History,
        shown_config: &Arc<ArcSwap<Value>>,
        (drain, reload): (&watch::Sender<bool>, mpsc::Sender<ReloadAsk>),
    ) -> Admin {
        let explainer = Explainer {
            settings: Arc::clone(ingress),
            driver: self.driver.clone(),
            limits: self.limits.clone(),
        };
        Admin {
            driver: self.driver.clone(),
            history,
            pulse: Pulse::default(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            losses: Arc::new(Losses::default),
            config: show(shown_config),
            explain: self.geography.explain(explainer),
            drain: drain.clone(),
            reload,
            token: config.admin.token.clone(),
            guard: TokenGuard::default(),
            patience: translate::patience(config),
            connections_max: self.shares.admin,
            mode: config.worker_mode.clone(),
            keys: Arc::new(self.keys.clone()),
            filed_keys: filed_keys(ingress),
            usage: Arc::new(self.usage.clone()),
            limits: self.limits.clone(),
            tasks: Router::new(),
        }
    }
}
