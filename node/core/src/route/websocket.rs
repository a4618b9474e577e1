//! Whether any upstream takes WebSockets, for clients that name a model only once one is open.

use crate::ids::{ModelName, RegionName};
use crate::view::{Candidate, Routes, View};

/// Whether a WebSocket could be opened for some model that `may_use` permits, at an upstream in a region that `may_reach` permits,
/// whatever its state. Looks at every candidate: once for each such client, not for each request.
pub fn takes_websockets(
    view: &View,
    may_use: impl Fn(&ModelName) -> bool,
    may_reach: impl Fn(&RegionName) -> bool,
) -> bool {
    let takes = |candidate: &Candidate| {
        candidate.upstream.websocket && may_reach(&candidate.upstream.region)
    };
    let any = |routes: &Routes| {
        routes.tiers.iter().any(|tier| {
            let mut all = tier
                .usable
                .iter()
                .chain(&tier.suspect)
                .chain(&tier.unusable);
            all.any(|candidate| takes(candidate))
        })
    };
    let listed = view.models.iter();
    let mut listed = listed.filter(|(model, _)| may_use(model));
    listed.any(|(_, routes)| any(routes)) || any(&view.any_model)
}
