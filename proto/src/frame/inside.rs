//! The head of a call to the inside of a peer: its tasks and files, which no client reaches.
//!
//! On the wire it is a request's head with a method that no HTTP request can have, since `/` is not in
//! a token (RFC 9110, 5.6.2): no client's request can look like one. A node of an earlier build takes it
//! for a request to an upstream that it does not have, and refuses it.

use std::time::Duration;

use grapevine_core::ids::UpstreamName;
use grapevine_core::residency::ClientOrigin;

use super::{EncodeError, RequestHead};

/// The method of a call to the inside. Not a token of HTTP.
pub const INSIDE_METHOD: &str = "inside/1";

/// What stands for the fields that such a call does not need.
const WORD: &str = "inside";

/// The head of a call to the inside of a peer. Its body follows as that of a request does, and its answer
/// is that of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsideHead<'a> {
    /// What is called, such as `/tasks/lease`.
    pub path: &'a str,
    /// How long the body is that follows. At most [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX).
    pub body_bytes: usize,
    /// The time left for the answer.
    pub remaining: Duration,
}

impl<'a> InsideHead<'a> {
    /// The frame, length included.
    ///
    /// # Errors
    /// When a field is beyond its limit.
    pub fn encode(self) -> Result<Vec<u8>, EncodeError> {
        let head = RequestHead {
            request_id: WORD,
            upstream: UpstreamName::new(WORD).expect("a word of letters is a name"),
            model: None,
            method: INSIDE_METHOD,
            path: self.path,
            headers: Vec::new(),
            body_bytes: self.body_bytes,
            remaining: self.remaining,
            hops: 1,
            last_resort: false,
            allow_regions: Vec::new(),
            traceparent: None,
            client: ClientOrigin::Unknown,
            key: None,
            mark: 0,
            lossy: None,
        };
        head.encode()
    }

    /// `head` as that of a call to the inside, where it is one.
    pub fn of(head: &RequestHead<'a>) -> Option<Self> {
        (head.method == INSIDE_METHOD).then_some(Self {
            path: head.path,
            body_bytes: head.body_bytes,
            remaining: head.remaining,
        })
    }
}
