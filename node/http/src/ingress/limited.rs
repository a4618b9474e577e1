//! The limits of a key, applied to one request of its client, or of a task that the key brought.

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::limits::{HolderLimits, LimitKind, LimitsHandle};
use grapevine_core::forwarding::PathScope;
use grapevine_core::ids::ModelName;

use super::limits::{Reserve, reserve};
use super::problem::Problem;
use super::track::Track;

/// Takes what the request of `track`, which asks for `model` with `body`, may use of each limit of its key. Where it is
/// refused, its answer says what is left all the same.
///
/// # Errors
/// Where a limit does not have that much; then nothing is taken. Where this node cannot apply limits.
pub(super) async fn apply(
    handle: &LimitsHandle,
    limits: Vec<HolderLimits>,
    track: &mut Track,
    model: Option<&ModelName>,
    body: &[u8],
    timeout: Option<Duration>,
) -> Result<(), Problem> {
    if limits.is_empty() {
        return Ok(());
    }
    let settings = Arc::clone(track.settings());
    let clock = track.clock();
    let has_budget = |(_, specs): &HolderLimits| specs[LimitKind::Money as usize].is_some();
    let has_budget = limits.iter().any(has_budget);
    let held = track.limit(handle.clone());
    for (holder, specs) in limits {
        let purses = handle.purses(clock.now(), &holder, specs).await;
        held.add(&holder, purses.map_err(Problem::limits_out_of_use)?);
    }
    let allowed = timeout.unwrap_or(settings.deadline);
    let deadline = clock.timer(track.arrived_at() + allowed);
    let reserved = match track.scope() {
        PathScope::Inference if !body.is_empty() => {
            let fallbacks = model.and_then(|model| settings.fallbacks.get(model));
            let fallbacks = fallbacks.into_iter().flat_map(|it| &it.models);
            let prices = has_budget.then_some(&settings.model_notes.prices);
            let models = model.into_iter().chain(fallbacks);
            reserve(body, settings.output_cap, models, prices)?
        }
        _ => Reserve::REQUEST,
    };
    track
        .limit(handle.clone())
        .take(clock, reserved, deadline)
        .await
}
