//! The services of a program, by their keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use grapevine_core::ids::ServiceKey;

use super::service::Service;

/// The services of a program, by key.
#[derive(Clone, Default)]
pub struct ServiceRegistry(BTreeMap<ServiceKey, Arc<dyn Service>>);

impl ServiceRegistry {
    /// These; of two with one key the later stays.
    pub fn new(services: impl IntoIterator<Item = Arc<dyn Service>>) -> Self {
        let keyed = services.into_iter().map(|service| (service.key(), service));
        Self(keyed.collect())
    }

    /// These beside what comes with the program; of two with one key the added one stays.
    #[must_use]
    pub fn beside(self, built_in: impl IntoIterator<Item = Arc<dyn Service>>) -> Self {
        let mut services = Self::new(built_in);
        services.0.extend(self.0);
        services
    }

    /// One of them.
    pub fn get(&self, key: &ServiceKey) -> Option<&Arc<dyn Service>> {
        self.0.get(key)
    }

    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Arc<dyn Service>)> {
        self.0.iter()
    }
}

impl fmt::Debug for ServiceRegistry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}
