//! What is issued, and for how long.

use std::time::Duration;

use grapevine_config::Secret;
use http::HeaderValue;

/// What was issued.
#[derive(Clone, Debug)]
pub(in crate::upstream) enum Issued {
    /// The value of `Authorization`.
    Bearer(HeaderValue),
    /// What requests are signed with.
    Aws(AwsCredentials),
}

/// What was issued, and for how long; `None` is for good.
#[derive(Debug)]
pub(in crate::upstream) struct Issue {
    pub(super) issued: Issued,
    pub(super) lifetime: Option<Duration>,
}

/// What requests are signed with for AWS.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct AwsCredentials {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session_token: Option<Secret>,
}
