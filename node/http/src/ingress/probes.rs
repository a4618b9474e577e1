//! The private parsers of this module, for fuzzers. The program itself does not use these.

use std::net::SocketAddr;

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

/// What is known of a stream of events that was passed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Whether something may be added as it is.
    pub is_between_events: bool,
    /// What must come before anything that is added after its end.
    pub ended_by: &'static [u8],
}

/// Follows the stream that arrives in `pieces`.
pub fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Passed {
    let mut events = Events::default();
    for piece in pieces {
        events.pass(piece);
    }
    Passed {
        is_between_events: events.is_between_events(),
        ended_by: events.cut(),
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

/// The pieces of an answer of one upstream with its ids sealed.
pub fn sealed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    super::sealed::probes::sealed(pieces)
}

/// A request with its ids restored; `None` where one is not of this mesh.
pub fn opened(body: &[u8]) -> Option<Vec<u8>> {
    super::sealed::probes::opened(body)
}
