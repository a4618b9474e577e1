//! Requests for background work.

use std::net::SocketAddr;

use grapevine_base::exchange::{CallLocal, CallPeer, TaskCaller};
use grapevine_base::listener::http1::RequestBody;
use grapevine_keys::rights::ClientKey;
use http::request::Parts;

use super::{Checked, Visit, Way};
use crate::ingress::background;
use crate::ingress::client_headers::ClientOptions;
use crate::ingress::limits;
use crate::ingress::problem::Problem;
use crate::ingress::visitor::{ClientLocation, Visitor};

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// Admits a request for background work; its body is streamed.
    pub(super) async fn admit_background(
        &mut self,
        head: Parts,
        mut body: RequestBody,
        peer: SocketAddr,
    ) -> Result<Way, Problem> {
        let checked = self.let_in(&head, &mut body, peer).await?;
        let location = self.context.locate.locate(peer, &head.headers);
        self.hand_over(head, checked, location, body, peer)
    }

    /// Hands a request to background work, with a body that is still to come.
    pub(super) fn hand_over(
        &mut self,
        head: Parts,
        checked: Checked,
        location: ClientLocation,
        body: RequestBody,
        peer: SocketAddr,
    ) -> Result<Way, Problem> {
        let Checked { key, options, .. } = checked;
        let visitor = self.visitor(location, key.as_deref(), None);
        let caller = self.caller(key.as_deref(), &options, &visitor)?;
        let charge = self.account(key.as_deref(), location, peer);
        let request = background::flowing(head, body, self.settings.body_timeout, charge)?;
        Ok(Way::Background(caller, Box::new(request)))
    }

    /// The caller of background work; this node must be allowed to store its content.
    pub(super) fn caller(
        &self,
        key: Option<&ClientKey>,
        options: &ClientOptions,
        visitor: &Visitor,
    ) -> Result<Box<TaskCaller>, Problem> {
        let is_limited = visitor.fence().is_some() || !options.allow_regions.is_empty();
        let regions = visitor.allowed(&options.allow_regions);
        if is_limited && !regions.contains(&self.settings.region) {
            return Err(Problem::not_here(&self.settings.region, visitor.fence()));
        }
        Ok(Box::new(TaskCaller {
            request_id: self.track.id().clone(),
            key: visitor.caller.key.clone(),
            network: match key {
                Some(_) => None,
                None => visitor.network(),
            },
            services: key.and_then(|key| key.rights.services.clone()),
            models: key.and_then(|key| key.rights.models.clone()),
            limits: key.map(limits::carried).unwrap_or_default(),
            client: visitor.caller.client,
            regions,
        }))
    }
}
