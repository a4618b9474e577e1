//! Who is at the other end of a balancer that introduces its clients with a PROXY header.
//!
//! The header comes before anything else, TLS included. Only a trusted peer may introduce somebody; from
//! anybody else the same bytes are bytes. What was looked at beyond the header is read again by what follows,
//! as if nothing had been there.

use std::io;
use std::net::SocketAddr;

use grapevine_base::listener::replayed::Replayed;
use grapevine_config::checked::ProxyProtocol;
use tokio::net::TcpStream;

use super::IngressSettings;
use super::proxy_protocol::{self, Parsed, ProxyProtocolError, Source};

/// Why a connection is closed before its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntroductionError {
    /// Every connection must be introduced, and this one comes from somebody who may not.
    #[error(
        "peer is not in trusted_proxies, and proxy_protocol is required; add it there if it is the balancer"
    )]
    Untrusted,
    /// There is no header, or a broken one.
    #[error(transparent)]
    Header(#[from] ProxyProtocolError),
    /// The header did not come whole within `limits.header_timeout`.
    #[error("PROXY header did not come in time")]
    TooSlow,
    /// The connection ended in its midst.
    #[error("connection ended before its PROXY header did: {0}")]
    Ended(#[from] io::Error),
}

/// The client's address: what a PROXY header at the start of `stream` says, which is taken off it, else `peer`.
///
/// Waits for as long as the header is not whole: the caller sets the limit.
///
/// # Errors
/// When there must be a header and there is none that counts, or it is malformed.
pub(super) async fn client(
    stream: &mut Replayed<TcpStream>,
    peer: SocketAddr,
    settings: &IngressSettings,
) -> Result<SocketAddr, IntroductionError> {
    let is_required = settings.proxy_protocol == ProxyProtocol::Required;
    let address = peer.ip().to_canonical();
    let mut trusted = settings.trusted_proxies.iter();
    if !trusted.any(|network| network.contains(address)) {
        return match is_required {
            true => Err(IntroductionError::Untrusted),
            false => Ok(peer),
        };
    }
    match header(stream).await {
        Ok(Source::Client(client)) => Ok(client),
        Ok(Source::Socket) => Ok(peer),
        Err(IntroductionError::Header(ProxyProtocolError::Missing)) if !is_required => Ok(peer),
        Err(error) => Err(error),
    }
}

/// Takes a header off the start of `stream`, and nothing where it begins with something else.
async fn header(stream: &mut Replayed<TcpStream>) -> Result<Source, IntroductionError> {
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
