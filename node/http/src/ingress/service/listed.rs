//! What this node answers by itself below `/v1`: the models, and the nodes that a client should use.

use std::net::SocketAddr;
use std::sync::Arc;

use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_core::forwarding::Methods;
use http::Method;
use http::request::Parts;

use super::Visit;
use crate::ingress::listing::{self, ListShape};
use crate::ingress::problem::Problem;
use crate::ingress::visitor::Visitor;
use crate::ingress::{client_headers, keys, nearest};

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// The list of models, or one of them.
    pub(super) fn models(&mut self, head: &Parts) -> Result<serde_json::Value, Problem> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Problem::method_not_allowed(Methods::GET));
        }
        let key = self.key(head)?;
        let shape = ListShape::of(&head.headers);
        let view = self.context.driver.view();
        let path = self.track.path().path();
        let notes = &self.settings.model_notes;
        listing::answer((&view, notes), key.as_deref(), path, shape)
    }

    /// The nodes that the client should use.
    pub(super) fn nearest(
        &mut self,
        head: &Parts,
        peer: SocketAddr,
    ) -> Result<serde_json::Value, Problem> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Problem::method_not_allowed(Methods::GET));
        }
        let key = self.key(head)?;
        let mut options = client_headers::options(&head.headers)?;
        keys::fence(key.as_deref(), &mut options.allow_regions)?;
        let key = key.map(|key| Arc::clone(&key.name));
        let location = self.context.locate.locate(peer, &head.headers);
        let view = self.context.driver.view();
        let visitor = Visitor::new(self.settings, &view.mesh_rules, location, key, None);
        if let Some(fence) = visitor.fence() {
            self.track.set_fence(fence);
        }
        let mapped = self.settings.homes.of(location.origin);
        let query = self.track.path().query();
        nearest::list(&view, &visitor, mapped, &options, query)
    }
}
