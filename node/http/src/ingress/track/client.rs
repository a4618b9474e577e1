//! Who asks, as far as it is known.

use std::sync::Arc;

use grapevine_core::geo_point::GeoPoint;
use grapevine_core::residency::{ClientOrigin, Fence};
use grapevine_keys::token::KeyId;
use grapevine_observe::record::{ClientRecord, RequestKind};

use super::Track;

impl Track {
    /// Sets the name of its key.
    pub(in super::super) fn set_key(&mut self, name: Arc<str>) {
        self.record.key = Some(name);
    }

    /// Sets the id of its key, where that was issued.
    pub(in super::super) fn set_key_id(&mut self, id: Option<KeyId>) {
        self.record.key_id = id;
    }

    /// Marks a request of this node's own, made for a task.
    pub(in super::super) fn set_own(&mut self) {
        self.record.kind = RequestKind::Task;
    }

    /// Sets its client's mark, which tells it from others, and its assumed location.
    pub(in super::super) fn set_client(
        &mut self,
        mark: u64,
        origin: ClientOrigin,
        place: Option<GeoPoint>,
    ) {
        self.client = mark;
        self.record.client = ClientRecord { origin, place };
    }

    /// Sets the residency rules that apply to it.
    pub(in super::super) fn set_fence(&mut self, fence: &Fence) {
        self.record.residency = Some(fence.to_string().into());
    }
}
