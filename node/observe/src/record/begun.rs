//! A record as it begins.

use std::collections::VecDeque;
use std::time::Duration;

use grapevine_base::clock;
use grapevine_base::exchange::RequestId;
use http::Method;
use http::uri::PathAndQuery;

use super::{ClientRecord, RequestKind, RequestRecord, Tokens};
use crate::excerpt::{self, Excerpt};

impl RequestRecord {
    /// The record of a client's request that has just arrived.
    pub fn begun(id: RequestId, method: &Method, path: &PathAndQuery) -> Self {
        Self {
            id,
            time: clock::wall(),
            method: excerpt::method(method),
            path: Excerpt::of_path(path),
            model: None,
            stream: false,
            status: 0,
            served: None,
            client: ClientRecord::default(),
            attempts: Vec::new(),
            untried: VecDeque::new(),
            overhead: Duration::ZERO,
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            tokens: Tokens::default(),
            cost: None,
            key: None,
            key_id: None,
            residency: None,
            error: None,
            kind: RequestKind::Client,
            trace: None,
            forwarded_as: None,
        }
    }
}
