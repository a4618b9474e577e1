//! Upstreams that refuse the option by which streams are asked for their token counts.
//!
//! Some self-hosted servers know no `stream_options` and answer 400 or 422. A request that was refused so is sent
//! again without it, which costs nothing: nothing was generated. Where that helps, the model at that upstream is not
//! asked again for an hour.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::{ModelName, NodeName, UpstreamName};
use grapevine_core::view::UpstreamView;

/// How long an upstream is not asked: its server may be renewed.
const KEPT: Duration = Duration::from_secs(3_600);

/// The most that are remembered, the latest. Those beyond pay a refused call for each request.
const REFUSALS_MAX: usize = 64;

/// What is known at this node, over all threads.
#[derive(Clone, Debug, Default)]
pub struct UsageRefusals {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether there are any: most nodes never see one.
    has_any: AtomicBool,
    refusals: Mutex<Vec<UsageRefusal>>,
}

/// An upstream that refused, and the model that was asked for.
#[derive(Debug)]
struct UsageRefusal {
    node: NodeName,
    upstream: UpstreamName,
    model: Option<ModelName>,
    until: Instant,
}

impl UsageRefusal {
    fn is_of(&self, upstream: &UpstreamView, model: Option<&ModelName>) -> bool {
        let is_same = self.upstream == upstream.name && self.node == upstream.node;
        is_same && self.model.as_ref() == model
    }
}

impl UsageRefusals {
    /// Whether `upstream` refuses the option for `model`. Looks through all that are known, if there are any.
    pub(super) fn has(
        &self,
        upstream: &UpstreamView,
        model: Option<&ModelName>,
        now: Instant,
    ) -> bool {
        if !self.shared.has_any.load(Ordering::Relaxed) {
            return false;
        }
        let refusals = &self.shared.refusals;
        let refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = refusals.iter();
        known.any(|known| known.until > now && known.is_of(upstream, model))
    }

    /// `upstream` refused the option for `model` and served the request without it.
    pub(super) fn add(&self, upstream: &UpstreamView, model: Option<&ModelName>, now: Instant) {
        let refusals = &self.shared.refusals;
        let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.retain(|known| known.until > now && !known.is_of(upstream, model));
        if refusals.len() == REFUSALS_MAX {
            refusals.remove(0);
        }
        tracing::info!(
            node = %upstream.node,
            upstream = %upstream.name,
            model = model.map(ModelName::as_str),
            "upstream refuses stream_options; its streams are not asked for token counts for an hour"
        );
        refusals.push(UsageRefusal {
            node: upstream.node.clone(),
            upstream: upstream.name.clone(),
            model: model.cloned(),
            until: now + KEPT,
        });
        self.shared.has_any.store(true, Ordering::Relaxed);
    }
}
