//! The limits of a client's key, applied to its request.

use bytes::Bytes;
use grapevine_base::asked::Asked;
use grapevine_base::exchange::{CallLocal, CallPeer};
use grapevine_base::limits::HolderLimits;

use super::Visit;
use crate::ingress::client_headers::ClientOptions;
use crate::ingress::limited;
use crate::ingress::problem::Problem;

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// Takes what the request may use. A dry run takes nothing.
    pub(super) async fn apply_limits(
        &mut self,
        limited: Vec<HolderLimits>,
        asked: &Asked,
        body: &Bytes,
        options: &ClientOptions,
    ) -> Result<(), Problem> {
        if options.dry_run {
            return Ok(());
        }
        let (handle, model) = (&self.context.limits, asked.model.as_ref());
        let track = &mut self.track;
        limited::apply(handle, limited, track, model, body, options.timeout).await
    }
}
