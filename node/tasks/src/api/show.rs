//! Tasks as clients see them, and what of them a caller may see.

use grapevine_base::exchange::TaskCaller;
use grapevine_core::ids::RegionName;
use serde_json::{Value, json};

use super::ApiError;
use crate::behalf::Behalf;
use crate::hub::Hub;
use crate::id::{Id, Kind};
use crate::store::{FileRecord, Store, is_permitted};
use crate::task::{RegionText, Task, Timestamp};

/// How much of a task is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything.
    Whole,
    /// All but its payload and its output.
    State,
}

/// A task as JSON; times are seconds since the Unix epoch.
pub(super) fn task(task: &Task, extent: Extent) -> Value {
    let new = &task.new;
    let regions: Vec<&str> = new.regions.iter().map(|it| it.0.as_str()).collect();
    let mut shown = json!({
        "id": new.id.as_str(),
        "object": "task",
        "service": new.service.0.as_str(),
        "state": task.state.as_str(),
        "priority": new.priority.0,
        "attempts": task.attempts,
        "max_attempts": new.attempts_max,
        "created_at": seconds(task.created_at),
        "started_at": task.started_at.map(seconds),
        "ended_at": task.ended_at.map(seconds),
        "not_before": seconds(task.not_before),
        "worker": task.worker,
        "lease_until": task.lease_until.map(seconds),
        "cancel_requested": task.cancel_requested,
        "progress": task.progress,
        "error": task.fault,
        "history": task.history,
        "regions": regions,
    });
    if extent == Extent::Whole {
        shown["payload"] = new.payload.clone();
        shown["output"] = task.output.clone().unwrap_or_default();
    }
    shown
}

fn seconds(time: Timestamp) -> f64 {
    time.0 as f64 / 1_000.0
}

/// The task named `name`, which errors call `what`, where `caller` may see it, and the store that keeps it.
pub(super) async fn find(
    hub: &Hub,
    caller: &TaskCaller,
    what: &str,
    name: &str,
) -> Result<(Task, std::sync::Arc<dyn Store>), ApiError> {
    let missing = || ApiError::not_found(what, name);
    let parsed: Id = name.parse().map_err(|_| missing())?;
    let store = hub.store_of(&parsed, Behalf::of(caller))?;
    let task = store.get(&parsed).await?.ok_or_else(missing)?;
    if !is_visible(caller, &task) {
        return Err(missing());
    }
    check_regions(&task.new.regions, hub.region())?;
    Ok((task, store))
}

/// The file named `name` of this `kind`, which errors call `what`, where `caller` may see it, and the store that
/// keeps it.
pub(super) async fn find_file(
    hub: &Hub,
    caller: &TaskCaller,
    kind: Kind,
    what: &str,
    name: &str,
) -> Result<(FileRecord, std::sync::Arc<dyn Store>), ApiError> {
    let missing = || ApiError::not_found(what, name);
    let id: Id = name.parse().map_err(|_| missing())?;
    if id.kind() != kind {
        return Err(missing());
    }
    let store = hub.store_of(&id, Behalf::of(caller))?;
    let record = store.file(&id).await?.ok_or_else(missing)?;
    if caller.key.is_some() && caller.key.as_deref() != record.key.as_deref() {
        return Err(missing());
    }
    check_regions(&record.regions, hub.region())?;
    Ok((record, store))
}

/// A holder of a key sees what came with this key, a worker what is of its services.
fn is_visible(caller: &TaskCaller, task: &Task) -> bool {
    if let Some(services) = &caller.services {
        return services.contains(&task.new.service.0);
    }
    caller.key.is_none() || caller.key == task.new.submitter.key
}

/// The content of a task or file is not shown where its regions do not permit it.
pub(super) fn check_regions(regions: &[RegionText], region: &RegionName) -> Result<(), ApiError> {
    if is_permitted(regions, region) {
        return Ok(());
    }
    Err(ApiError::residency(format!(
        "its data residency does not permit region '{region}'"
    )))
}
