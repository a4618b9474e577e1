//! The client behind a balancer that sends a PROXY header.
//!
//! The header precedes everything else, TLS included. Only a trusted peer may send one; from any other peer the
//! same bytes are ordinary input. Bytes beyond the header that were looked at are replayed to the next reader.

use std::io;
use std::net::SocketAddr;

use grapevine_base::listener::replayed::Replayed;
use grapevine_config::checked::ProxyProtocol;

use super::IngressSettings;
use super::breakable::Breakable;
use super::proxy_protocol::{self, Parsed, ProxyProtocolError, Source};

/// Why a connection is closed before its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyHeaderError {
    /// Every connection must have a header, and the peer of this one may not send it.
    #[error(
        "peer is not in trusted_proxies, and proxy_protocol is required; add it there if it is the balancer"
    )]
    Untrusted,
    /// There is no header, or a broken one.
    #[error(transparent)]
    Header(#[from] ProxyProtocolError),
    /// The header did not arrive whole within `limits.header_timeout`.
    #[error("PROXY header did not arrive in time")]
    TooSlow,
    /// The connection ended within it.
    #[error("connection ended before its PROXY header did: {0}")]
    Ended(#[from] io::Error),
}

/// The client's address: that of a PROXY header at the start of `stream`, which is consumed, else `peer`.
///
/// Waits for as long as the header is not whole: the caller sets the limit.
///
/// # Errors
/// When a header is required and there is no trusted one, or it is malformed.
pub(super) async fn client(
    stream: &mut Replayed<Breakable>,
    peer: SocketAddr,
    settings: &IngressSettings,
) -> Result<SocketAddr, ProxyHeaderError> {
    let is_required = settings.proxy_protocol == ProxyProtocol::Required;
    let address = peer.ip().to_canonical();
    let mut trusted = settings.trusted_proxies.iter();
    if !trusted.any(|network| network.contains(address)) {
        return match is_required {
            true => Err(ProxyHeaderError::Untrusted),
            false => Ok(peer),
        };
    }
    match header(stream).await {
        Ok(Source::Client(client)) => Ok(client),
        Ok(Source::Socket) => Ok(peer),
        Err(ProxyHeaderError::Header(ProxyProtocolError::Missing)) if !is_required => Ok(peer),
        Err(error) => Err(error),
    }
}

/// Consumes a header at the start of `stream`, and nothing where it begins with something else.
async fn header(stream: &mut Replayed<Breakable>) -> Result<Source, ProxyHeaderError> {
    loop {
        // Bounded: bytes that are more than the longest header are no header.
        match proxy_protocol::parse(stream.seen())? {
            Parsed::Complete { source, length } => {
                stream.skip(length);
                return Ok(source);
            }
            Parsed::Partial => stream.look().await?,
        }
    }
}
