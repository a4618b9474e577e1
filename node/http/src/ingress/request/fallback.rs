//! Another model in the place of the one that was asked for.

use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_core::ids::ModelName;
use grapevine_core::native_path::NativePath;
use grapevine_core::request::FallbackModels;
use grapevine_core::route::Plan;
use http::uri::PathAndQuery;

use super::super::IngressSettings;
use super::{Admitted, Driver};

impl Admitted {
    /// The models that may stand in for the one that is asked for: those of the configuration that its key may use.
    pub(super) fn fallbacks(&self, settings: &IngressSettings) -> FallbackModels {
        // What a tunnel carries names its own model.
        let model = self.head.model.as_ref();
        let model = model.filter(|_| self.tunnel.is_none());
        let configured = model.and_then(|model| settings.fallbacks.get(model));
        let Some(configured) = configured else {
            return FallbackModels::default();
        };
        let may_use =
            |model: &&ModelName| self.model_lists.iter().all(|list| list.contains(*model));
        FallbackModels {
            models: configured.models.iter().filter(may_use).cloned().collect(),
            on: configured.on.clone(),
        }
    }
}

impl<L: CallLocal, P: CallPeer> Driver<'_, L, P> {
    /// Makes the request one for `model`, and plans it. `None` where it cannot be one, or nobody can answer it.
    pub(super) fn plan_for(&mut self, model: &ModelName) -> Option<Plan> {
        self.ask_for(model)?;
        self.plan().ok()
    }

    /// The rules of both models apply to where it may go: those of the first by what the client is held to allow.
    fn ask_for(&mut self, model: &ModelName) -> Option<()> {
        let settings = self.track.settings();
        let view = self.context.driver.view();
        let visitor = self
            .request
            .visitor
            .asking(settings, &view.mesh_rules, model);
        let allowed = visitor.allowed(&self.allow_regions);
        // An empty list would allow everything.
        if visitor.fence().is_some() && allowed.is_empty() {
            return None;
        }
        let path = self.path();
        if NativePath::of(path.path()).is_some() {
            self.path = Some(renamed(path, model)?);
        } else if !self.request.body.ask_for(&self.request.headers, model) {
            return None;
        }
        if let Some(fence) = visitor.fence() {
            self.track.set_fence(fence);
        }
        self.request.options.allow_regions = allowed.to_vec();
        self.allow_regions = allowed;
        self.request.visitor = visitor;
        self.request.head.model = Some(model.clone());
        // The same upstream may be asked again, and a peer has not forgotten the first call yet.
        self.track.renew_id_for_peers();
        Some(())
    }

    /// The path that is asked for: the client's, but for a model in it that another one stands in for.
    pub(super) fn path(&self) -> &PathAndQuery {
        self.path.as_ref().unwrap_or_else(|| self.track.path())
    }
}

/// `path` with `model` in the place of its own.
fn renamed(path: &PathAndQuery, model: &ModelName) -> Option<PathAndQuery> {
    let mut renamed = NativePath::with_model(path.path(), model.as_str())?;
    if let Some(query) = path.query() {
        renamed.push('?');
        renamed.push_str(query);
    }
    renamed.try_into().ok()
}
