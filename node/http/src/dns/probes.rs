//! The private reader of messages, for fuzzers. The program itself does not use this.

use std::net::IpAddr;

use grapevine_core::view::View;

use super::respond::{Ground, Transport};
use super::{DnsSettings, LocateAddress};

/// The answer to a message from `from` over UDP or TCP; `None` where it must not be answered.
pub fn respond(
    settings: &DnsSettings,
    view: &View,
    locate: &LocateAddress,
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

/// The transport of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsTransport {
    /// As a datagram.
    Udp,
    /// On a connection.
    Tcp,
}
