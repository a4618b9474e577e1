//! What a task may ask for. One check, made in three places: before the API accepts a task, before the store's
//! owner takes one from a peer, and before a worker runs one, which may come out of a peer's store or out of an
//! engine that others write to.

use super::id::Kind;
use super::refused::TaskRefused;
use super::services::ServiceRegistry;
use super::store::{Store, StoreError};
use super::task::{NewTask, PAYLOAD_BYTES_MAX, RegionText};

/// The most attempts that a task may have.
pub(super) const ATTEMPTS_MAX: u32 = 100;

/// Regions that a task may be limited to at most, as for a request.
const REGIONS_MAX: usize = 64;

/// Whether `task` may be accepted into `store`, and run out of it.
///
/// # Errors
/// Why not.
pub(super) async fn check(
    services: &ServiceRegistry,
    task: &NewTask,
    store: &dyn Store,
) -> Result<(), TaskRefused> {
    check_limits(task)?;
    match services.get(&task.service.0) {
        Some(service) => service.check(task, store).await,
        None => Ok(()),
    }
}

fn check_limits(task: &NewTask) -> Result<(), TaskRefused> {
    // Writing a value to a string cannot fail.
    let length = serde_json::to_string(&task.payload).map_or(0, |text| text.len());
    if length > PAYLOAD_BYTES_MAX {
        let (what, max) = ("the payload".to_owned(), PAYLOAD_BYTES_MAX as u64);
        return Err(StoreError::TooLong { what, max }.into());
    }
    if !(1..=ATTEMPTS_MAX).contains(&task.attempts_max) {
        let message = format!("attempts must be from 1 to {ATTEMPTS_MAX}");
        return Err(TaskRefused::new("invalid_attempts", message));
    }
    if task.regions.len() > REGIONS_MAX {
        let message = format!("a task is limited to at most {REGIONS_MAX} regions");
        return Err(TaskRefused::new("invalid_regions", message));
    }
    Ok(())
}

/// Whether a task's id is of the kind that its service's API makes for such work.
///
/// # Errors
/// When it is not: somebody else wrote the task.
pub(super) fn check_kind(task: &NewTask, kind: Kind) -> Result<(), TaskRefused> {
    match task.id.kind() == kind {
        true => Ok(()),
        false => Err(TaskRefused::new(
            "invalid_payload",
            "this kind of work is accepted through its own API alone",
        )),
    }
}

/// Whether everything that `inner` permits `outer` permits too; empty permits every region.
pub(super) fn is_within(inner: &[RegionText], outer: &[RegionText]) -> bool {
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(|region| outer.contains(region)))
}

/// The regions that both permit; `None` where there are none.
pub(super) fn both(one: &[RegionText], other: &[RegionText]) -> Option<Vec<RegionText>> {
    if one.is_empty() || other.is_empty() {
        return Some([one, other].concat());
    }
    let both = one.iter().filter(|region| other.contains(region));
    let both: Vec<RegionText> = both.cloned().collect();
    (!both.is_empty()).then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::CheckedText;

    fn regions(names: &[&str]) -> Vec<RegionText> {
        let name = |name: &&str| CheckedText(name.parse().expect("a name"));
        names.iter().map(name).collect()
    }

    #[test]
    fn fences_only_narrow() {
        for (inner, outer, wanted) in [
            (&["sgp"][..], &[][..], true),
            (&[], &[], true),
            (&[], &["sgp"], false),
            (&["sgp"], &["sgp", "eur"], true),
            (&["sgp", "usa"], &["sgp", "eur"], false),
        ] {
            let is = is_within(&regions(inner), &regions(outer));
            assert_eq!(is, wanted, "{inner:?} {outer:?}");
        }
        let of = |one: &[&str], other: &[&str]| both(&regions(one), &regions(other));
        assert_eq!(of(&[], &[]), Some(regions(&[])));
        assert_eq!(of(&["sgp"], &[]), Some(regions(&["sgp"])));
        assert_eq!(of(&[], &["sgp"]), Some(regions(&["sgp"])));
        assert_eq!(of(&["sgp", "eur"], &["eur"]), Some(regions(&["eur"])));
        assert_eq!(of(&["sgp"], &["eur"]), None);
    }
}
