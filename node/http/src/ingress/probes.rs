//! The private parsers of this module, for fuzzers. The program itself does not use these.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;

use super::proxy_protocol::{Parsed, Source};
use super::sse::Events;
use super::{client_headers, proxy_protocol};

/// The start of a connection of a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// More bytes decide.
    Partial,
    /// A header.
    Whole {
        /// The client; `None` where the socket's address counts.
        client: Option<SocketAddr>,
        /// How many bytes the header has.
        length: usize,
    },
    /// No header.
    Refused,
}

/// Parses a PROXY header at the start of `bytes`.
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    match proxy_protocol::parse(bytes) {
        Ok(Parsed::Partial) => ProxyHeader::Partial,
        Ok(Parsed::Complete { source, length }) => ProxyHeader::Whole {
            client: match source {
                Source::Client(client) => Some(client),
                Source::Socket => None,
            },
            length,
        },
        Err(_) => ProxyHeader::Refused,
    }
}

/// What is passed on of a stream of events.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// What was passed on while it arrived.
    pub events: Vec<u8>,
    /// What was passed on because it ended.
    pub rest: Vec<u8>,
    /// Whether something could have been added before its end.
    pub is_between_events: bool,
}

/// Cuts the stream that arrives in `pieces` at the ends of its events.
pub fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Passed {
    let mut cutter = Events::default();
    let mut ready = VecDeque::new();
    for piece in pieces {
        cutter.take(Bytes::copy_from_slice(piece), &mut ready);
    }
    let is_between_events = cutter.is_between_events();
    let events = Vec::from(std::mem::take(&mut ready)).concat();
    cutter.finish(&mut ready);
    Passed {
        events,
        rest: Vec::from(ready).concat(),
        is_between_events,
    }
}

/// What is read of a request's headers before its body: its id, and whether the options in our own headers and
/// its coding are valid.
pub fn head(headers: &HeaderMap) -> (String, bool) {
    let id = client_headers::request_id(headers).to_string();
    let is_understood =
        client_headers::options(headers).is_ok() && client_headers::check_coding(headers).is_ok();
    (id, is_understood)
}
