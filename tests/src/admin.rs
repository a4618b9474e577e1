//! More requests to a node: pages behind a token, and a start with another config.

use serde_json::Value;

use crate::client::{Answer, http, whole};
use crate::node::Node;

impl Node {
    /// Gets an admin page with a bearer token, or returns why not.
    ///
    /// # Errors
    ///
    /// When the admin port does not answer.
    pub async fn try_admin_as(&self, path: &str, token: &str) -> Result<Answer, String> {
        let url = format!("http://{}{path}", self.addresses().admin);
        let request = http().get(url).bearer_auth(token);
        whole(request).await.map_err(|error| format!("{error:?}"))
    }

    /// As [`Node::restart`], with a changed config.
    ///
    /// # Panics
    ///
    /// When the file cannot be written or the node is not ready in time.
    pub async fn restart_with(&self, change: impl FnOnce(&mut Value)) {
        if self.id().is_some() {
            self.kill();
        }
        self.rewrite(change);
        self.restart().await;
    }
}
