//! Who is at the other end of a balancer that introduces its clients with a PROXY header.
//!
//! The header comes before anything else, TLS included. Only a trusted peer may introduce somebody; from
//! anybody else the same bytes are bytes. Not a byte beyond the header is taken off the connection, so that
//! what follows reads it as if nothing had been there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Settings;
use super::proxy_protocol::{self, Parsed, ProxyProtocolError, Source, V2_BYTES_MAX};
use crate::config::checked::ProxyProtocol;

/// The time between two looks at bytes that could still be a header or not: rare, since both begin in one packet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

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
    stream: &mut TcpStream,
    peer: SocketAddr,
    settings: &Settings,
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
async fn header(stream: &mut TcpStream) -> Result<Source, IntroductionError> {
    let mut bytes = vec![0; V2_BYTES_MAX];
    let mut taken = 0;
    loop {
        let count = stream.peek(&mut bytes[taken..]).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let seen = taken + count;
        match proxy_protocol::parse(&bytes[..seen])? {
            Parsed::Complete { source, length } => {
                stream.read_exact(&mut bytes[taken..length]).await?;
                return Ok(source);
            }
            Parsed::Partial if proxy_protocol::is_begun(&bytes[..seen]) => {
                // What was seen is taken, so that the next look waits for more.
                stream.read_exact(&mut bytes[taken..seen]).await?;
                taken = seen;
            }
            // It could still be a request, which must find all of its bytes.
            Parsed::Partial => sleep(LOOK_AGAIN).await,
        }
    }
}
