//! For whom a node asks a peer about what that peer keeps. It travels with each question.
//!
//! The peer's certificate proves its name; its signed values publish its region and its services. Only the peer
//! knows for whom it asks: it authenticated the client. So a hostile node may claim any key, and the node that
//! answers bounds what it gets: what came with that key and may be seen in the asking node's region.

use std::collections::BTreeSet;

use grapevine_base::exchange::TaskCaller;
use grapevine_core::ids::{NodeName, RegionName};
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::store::{StoreError, is_permitted};
use super::task::{CheckedText, RegionText, ServiceKeyText};

/// For whom a node asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behalf {
    /// For itself: it looks for work.
    Node,
    /// For the worker of this task, which it holds a lease on.
    Worker(Id),
    /// For a client.
    Client(RecordedClient),
}

/// A client, as the node that it came to knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedClient {
    /// The name of its key; `None` where that node needs none.
    pub key: Option<String>,
    /// The services that its key is for, and nothing else; `None` is an ordinary key, or none.
    pub services: Option<BTreeSet<ServiceKeyText>>,
    /// The regions that may know of its request; empty when all may.
    pub regions: Vec<RegionText>,
}

impl Behalf {
    /// For this client.
    pub fn of(caller: &TaskCaller) -> Self {
        let services = caller.services.as_deref();
        let services = services.map(|services| services.iter().cloned().map(CheckedText).collect());
        Self::Client(RecordedClient {
            key: caller.key.as_deref().map(str::to_owned),
            services,
            regions: caller.regions.iter().cloned().map(CheckedText).collect(),
        })
    }

    /// Whether the question may go to `owner`, which is in `region` as far as is known.
    ///
    /// # Errors
    /// [`StoreError::Residency`] where it may not.
    pub fn check_way(
        &self,
        owner: &NodeName,
        region: Option<&RegionName>,
    ) -> Result<(), StoreError> {
        let Self::Client(client) = self else {
            return Ok(());
        };
        let is_permitted = match region {
            Some(region) => is_permitted(&client.regions, region),
            None => client.regions.is_empty(),
        };
        if is_permitted {
            return Ok(());
        }
        let region = region.map_or_else(|| "an unknown region".to_owned(), ToString::to_string);
        Err(StoreError::Residency {
            detail: format!(
                "node {owner}, which keeps it, is in {region}, where the request's data residency does not \
                 permit it to go"
            ),
        })
    }
}
