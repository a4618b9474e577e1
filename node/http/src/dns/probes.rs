//! The private reader of messages, as a fuzzer calls it. Nothing of the program is behind this.

use std::net::IpAddr;

use grapevine_core::view::View;

use super::respond::{Ground, Transport};
use super::{DnsSettings, Locate};

/// The answer to a message that came from `from` over UDP, or over TCP; `None` where silence is right.
pub fn respond(
    settings: &DnsSettings,
    view: &View,
    locate: &Locate,
    bytes: &[u8],
    from: IpAddr,
    transport: DnsTransport,
) -> Option<Vec<u8>> {
    let ground = Ground {
        settings,
        view,
        locate,
    };
    let transport = match transport {
        DnsTransport::Udp => Transport::Udp,
        DnsTransport::Tcp => Transport::Tcp,
    };
    let response = ground.respond(bytes, from, transport);
    response.map(|response| response.bytes)
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsTransport {
    /// As a datagram.
    Udp,
    /// On a connection.
    Tcp,
}
