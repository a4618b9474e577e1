//! What a peer may see of what this node keeps, for whomever it asks.
//!
//! Pure: the owner looks things up and asks here before it sends anything of them. What is not visible is answered
//! as if it were not there; what is, but not in the peer's region, is refused as such.

use std::collections::BTreeSet;

use grapevine_core::ids::{NodeName, RegionName};

use super::store::{FileRecord, StoreError, is_permitted};
use super::task::{RegionText, ServiceKeyText, Task, TaskState};

/// Who reads, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    /// What came with this key; `None` is what came without one.
    pub(super) key: Option<String>,
    /// Whatever the key, tasks of these services and nothing else.
    pub(super) services: Option<BTreeSet<ServiceKeyText>>,
    /// Whether a reader without a key sees everything, as at this node's own API.
    pub(super) is_open: bool,
    /// The peer's region; `None` while it has published none.
    pub(super) region: Option<RegionName>,
}

impl Reader {
    /// `task`, where it may be seen there.
    ///
    /// # Errors
    /// [`StoreError::Residency`] where it may be seen, but not there.
    pub(super) fn task(&self, task: Option<Task>) -> Result<Option<Task>, StoreError> {
        let is_visible = |task: &Task| match &self.services {
            Some(services) => services.contains(&task.new.service),
            None => self.has(task.new.submitter.key.as_deref()),
        };
        match task.filter(is_visible) {
            Some(task) => self.checked(&task.new.regions).map(|()| Some(task)),
            None => Ok(None),
        }
    }

    /// `file`, where it may be seen there.
    ///
    /// # Errors
    /// [`StoreError::Residency`] where it may be seen, but not there.
    pub(super) fn file(&self, file: Option<FileRecord>) -> Result<Option<FileRecord>, StoreError> {
        let is_visible =
            |file: &FileRecord| self.services.is_none() && self.has(file.key.as_deref());
        match file.filter(is_visible) {
            Some(file) => self.checked(&file.regions).map(|()| Some(file)),
            None => Ok(None),
        }
    }

    /// Whether it sees what came with `key`.
    pub(super) fn has(&self, key: Option<&str>) -> bool {
        self.key.as_deref() == key || (self.key.is_none() && self.is_open)
    }

    fn checked(&self, regions: &[RegionText]) -> Result<(), StoreError> {
        let is_permitted = match &self.region {
            Some(region) => is_permitted(regions, region),
            None => regions.is_empty(),
        };
        if is_permitted {
            return Ok(());
        }
        let region = self.region.as_ref();
        let region = region.map_or("an unknown region", RegionName::as_str);
        Err(StoreError::Residency {
            detail: format!("its data residency does not permit region '{region}'"),
        })
    }
}

/// Whether `task` runs at `peer`, or at a program beside it.
pub(super) fn is_held_by(task: &Task, peer: &NodeName) -> bool {
    let worker = task.worker.as_deref().unwrap_or_default();
    let beside = worker.split_once('/').map_or(worker, |(node, _)| node);
    task.state == TaskState::Running && beside == peer.as_str()
}

pub(super) fn refused<T>(detail: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Refused {
        detail: detail.into(),
    })
}
