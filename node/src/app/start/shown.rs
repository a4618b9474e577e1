//! What the operator's port shows of the configuration that is in use.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_http::ingress;
use grapevine_keys::rights::ClientKey;
use serde_json::Value;

/// The current configuration, for the operator.
pub(super) fn show(config: &Arc<ArcSwap<Value>>) -> Arc<dyn Fn() -> Value + Send + Sync> {
    let config = Arc::clone(config);
    Arc::new(move || Value::clone(&config.load()))
}

/// The keys of the file that is in use.
pub(super) fn filed_keys(
    ingress: &Arc<ArcSwap<ingress::IngressSettings>>,
) -> Arc<dyn Fn() -> Vec<Arc<ClientKey>> + Send + Sync> {
    let ingress = Arc::clone(ingress);
    Arc::new(move || ingress.load().keys.filed())
}
