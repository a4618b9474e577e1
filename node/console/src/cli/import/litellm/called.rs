//! Where a deployment is called, as its URL and its provider say.

use grapevine_config::checked;

use super::providers::{Base, Provider};

/// Where a deployment is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    /// As written in the new file; `None` is the provider's own.
    pub(super) base_url: Option<String>,
    /// The deployment of Azure's that the URL names.
    pub(super) deployment: Option<String>,
    /// Whose API it is, where the new file names it.
    pub(super) provider: Option<checked::Provider>,
    /// Whether it is a resource of Azure's, asked for models of its catalogue.
    pub(super) is_catalogue: bool,
    /// Whether its URL is that of Azure's v1 API.
    pub(super) is_v1: bool,
}

impl Called {
    /// At this URL, without anything of Azure's.
    pub(super) fn new(
        asked: &Provider,
        base_url: Option<String>,
        provider: Option<checked::Provider>,
    ) -> Self {
        Self {
            base_url,
            deployment: None,
            provider,
            is_catalogue: asked.base == Base::Foundry,
            is_v1: false,
        }
    }
}
