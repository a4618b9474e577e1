//! The PROXY protocol, versions 1 and 2: the header that a balancer sends before a connection's first byte.
//!
//! By haproxy's `proxy-protocol.txt` (2.2 and later). Pure: the listener reads bytes, parses after each read, and
//! consumes no more than the header. Only connections of trusted peers are parsed; the header is an unproven
//! assertion.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its end of line (2.1).
const V1_BYTES_MAX: usize = 107;

/// The longest accepted header of version 2. The length field permits 65,551; addresses need 52 bytes, and what
/// balancers append to them (TLS facts, an endpoint's id) some hundred.
const V2_BYTES_MAX: usize = 4096;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// The start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A header may have begun; more bytes decide.
    Partial,
    /// A header.
    Complete {
        /// The other end of the connection.
        source: Source,
        /// How many bytes the header has; the payload follows.
        length: usize,
    },
}

/// The other end of the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The balancer itself (a health check), or a client that it cannot name: the socket's address counts.
    Socket,
    /// The client, as the balancer sees it.
    Client(SocketAddr),
}

/// Why a connection's start is no header. The connection cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyProtocolError {
    /// It begins with something else.
    #[error(
        "connection does not begin with a PROXY header; let the balancer send one, or turn it off here"
    )]
    Missing,
    /// A text header that is too long or breaks the grammar.
    #[error("PROXY header of version 1 is malformed")]
    MalformedText,
    /// A binary header of a version, command or family that does not exist, or too short for its addresses.
    #[error("PROXY header of version 2 is malformed")]
    MalformedBinary,
    /// A binary header longer than [`V2_BYTES_MAX`].
    #[error("PROXY header of version 2 has {bytes} bytes, at most {V2_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Parses a header at the start of `bytes`.
///
/// # Errors
/// As soon as the bytes at hand cannot become a header.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    if begins(bytes, V2_START) {
        return binary(bytes);
    }
    if begins(bytes, V1_START) {
        return text(bytes);
    }
    Err(ProxyProtocolError::Missing)
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn text(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        let may_go_on = bytes.len() < V1_BYTES_MAX;
        return may_go_on
            .then_some(Parsed::Partial)
            .ok_or(ProxyProtocolError::MalformedText);
    };
    let line = str::from_utf8(&window[V1_START.len()..end]).ok();
    let source = line.and_then(text_source);
    Ok(Parsed::Complete {
        source: source.ok_or(ProxyProtocolError::MalformedText)?,
        length: end + 2,
    })
}

fn text_source(line: &str) -> Option<Source> {
    // After UNKNOWN anything may follow, and is ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Source::Socket);
    }
    let mut fields = line.split(' ');
    let family = fields.next()?;
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let client = address(fields.next()?)?;
    address(fields.next()?)?;
    let client_port = port(fields.next()?)?;
    port(fields.next()?)?;
    let is_end = fields.next().is_none();
    is_end.then(|| Source::Client(SocketAddr::new(client.to_canonical(), client_port)))
}

/// Digits alone: the standard parser would take a sign.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn binary(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(Parsed::Partial);
    };
    let [.., version_command, family, high, low] = *fixed;
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(ProxyProtocolError::TooLong { bytes: length });
    }
    // The version before the wait: a malformed header need not arrive whole.
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyProtocolError::MalformedBinary),
    };
    let Some(body) = bytes.get(V2_FIXED_BYTES..length) else {
        return Ok(Parsed::Partial);
    };
    let source = if is_local {
        Some(Source::Socket)
    } else {
        binary_source(family, body)
    };
    Ok(Parsed::Complete {
        source: source.ok_or(ProxyProtocolError::MalformedBinary)?,
        length,
    })
}

/// Addresses and ports, source first; what follows them (TLVs) is ignored.
fn binary_source(family: u8, body: &[u8]) -> Option<Source> {
    const UNIX_BYTES: usize = 216;
    match (family >> 4, family & 0x0f) {
        (_, 3..) | (4.., _) => None,
        (1, 1..) => {
            let addresses = body.first_chunk::<12>()?;
            let client: [u8; 4] = *addresses.first_chunk()?;
            Some(client_at(
                Ipv4Addr::from(client).into(),
                [addresses[8], addresses[9]],
            ))
        }
        (2, 1..) => {
            let addresses = body.first_chunk::<36>()?;
            let client: [u8; 16] = *addresses.first_chunk()?;
            Some(client_at(
                Ipv6Addr::from(client).into(),
                [addresses[32], addresses[33]],
            ))
        }
        (3, 1..) if body.len() < UNIX_BYTES => None,
        // A local socket, or unspecified: no address.
        _ => Some(Source::Socket),
    }
}

fn client_at(address: IpAddr, port: [u8; 2]) -> Source {
    Source::Client(SocketAddr::new(
        address.to_canonical(),
        u16::from_be_bytes(port),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> Source {
        Source::Client(text.parse().expect("a valid address"))
    }

    fn complete(bytes: &[u8]) -> (Source, usize) {
        match parse(bytes) {
            Ok(Parsed::Complete { source, length }) => (source, length),
            other => panic!("not a whole header: {other:?}"),
        }
    }

    fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a short body");
        let mut bytes = V2_START.to_vec();
        bytes.extend([version_command, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn v4_body() -> Vec<u8> {
        vec![9, 9, 9, 9, 10, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90]
    }

    fn v6_body() -> Vec<u8> {
        let mut body = Vec::new();
        for address in ["2620:fe::9", "fd00::1"] {
            body.extend(
                address
                    .parse::<Ipv6Addr>()
                    .expect("a valid address")
                    .octets(),
            );
        }
        body.extend([0x30, 0x39, 0x1f, 0x90]);
        body
    }

    #[test]
    fn text_header_names_the_client() {
        let bytes = b"PROXY TCP4 9.9.9.9 10.0.0.1 12345 8080\r\nGET / HTTP/1.1\r\n";
        assert_eq!(complete(bytes), (client("9.9.9.9:12345"), 40));
        let bytes = b"PROXY TCP6 2620:fe::9 fd00::1 12345 8080\r\n";
        assert_eq!(complete(bytes), (client("[2620:fe::9]:12345"), bytes.len()));
        let bytes = b"PROXY TCP6 ::ffff:9.9.9.9 fd00::1 1 2\r\n";
        assert_eq!(complete(bytes).0, client("9.9.9.9:1"));
    }

    #[test]
    fn binary_header_names_the_client() {
        let bytes = v2(0x21, 0x11, &v4_body());
        assert_eq!(complete(&bytes), (client("9.9.9.9:12345"), 28));
        let bytes = v2(0x21, 0x21, &v6_body());
        assert_eq!(complete(&bytes), (client("[2620:fe::9]:12345"), 52));
        let with_extra = [v4_body(), vec![4, 0, 1, 0]].concat();
        let bytes = [v2(0x21, 0x11, &with_extra), b"GET".to_vec()].concat();
        assert_eq!(complete(&bytes), (client("9.9.9.9:12345"), 32));
    }

    #[test]
    fn balancer_without_a_client_leaves_the_socket() {
        assert_eq!(complete(b"PROXY UNKNOWN\r\n"), (Source::Socket, 15));
        assert_eq!(complete(b"PROXY UNKNOWN ff ff 1 2\r\n").0, Source::Socket);
        assert_eq!(complete(&v2(0x20, 0x00, &[])), (Source::Socket, 16));
        assert_eq!(complete(&v2(0x20, 0x11, &v4_body())).0, Source::Socket);
        assert_eq!(complete(&v2(0x21, 0x00, &[])).0, Source::Socket);
        assert_eq!(complete(&v2(0x21, 0x31, &[0; 216])).0, Source::Socket);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for line in [
            "PROXY TCP4 9.9.9.9 10.0.0.1 12345\r\n",
            "PROXY TCP4 9.9.9.9 10.0.0.1 12345 8080 1\r\n",
            "PROXY TCP4  9.9.9.9 10.0.0.1 12345 8080\r\n",
            "PROXY TCP4 9.9.9.9 10.0.0.1 +1 8080\r\n",
            "PROXY TCP4 9.9.9.9 10.0.0.1 65536 8080\r\n",
            "PROXY TCP4 2620:fe::9 fd00::1 1 2\r\n",
            "PROXY UDP4 9.9.9.9 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
        ] {
            assert_eq!(
                parse(line.as_bytes()),
                Err(ProxyProtocolError::MalformedText),
                "{line}"
            );
        }
        let malformed = Err(ProxyProtocolError::MalformedBinary);
        assert_eq!(parse(&v2(0x11, 0x11, &v4_body())), malformed);
        assert_eq!(parse(&v2(0x22, 0x11, &v4_body())), malformed);
        assert_eq!(parse(&v2(0x21, 0x13, &v4_body())), malformed);
        assert_eq!(parse(&v2(0x21, 0x41, &v4_body())), malformed);
        assert_eq!(parse(&v2(0x21, 0x11, &v4_body()[..11])), malformed);
        assert_eq!(parse(&v2(0x21, 0x21, &v6_body()[..35])), malformed);
        assert_eq!(parse(&v2(0x21, 0x31, &[0; 215])), malformed);
        assert_eq!(
            parse(b"GET / HTTP/1.1\r\n"),
            Err(ProxyProtocolError::Missing)
        );
        assert_eq!(parse(b"PROXX"), Err(ProxyProtocolError::Missing));
    }

    #[test]
    fn headers_are_bounded() {
        let long = |bytes: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(bytes - 16));
        assert_eq!(
            complete(long(V1_BYTES_MAX).as_bytes()),
            (Source::Socket, V1_BYTES_MAX)
        );
        let error = parse(long(V1_BYTES_MAX + 1).as_bytes());
        assert_eq!(error, Err(ProxyProtocolError::MalformedText));
        let longest = v2(0x21, 0, &vec![0; V2_BYTES_MAX - V2_FIXED_BYTES]);
        assert_eq!(complete(&longest).1, V2_BYTES_MAX);
        let error = parse(&v2(0x21, 0, &vec![0; V2_BYTES_MAX - V2_FIXED_BYTES + 1])[..16]);
        assert_eq!(
            error,
            Err(ProxyProtocolError::TooLong {
                bytes: V2_BYTES_MAX + 1
            })
        );
    }

    #[test]
    fn every_start_of_a_header_is_partial() {
        for whole in [
            b"PROXY TCP4 9.9.9.9 10.0.0.1 12345 8080\r\n".to_vec(),
            v2(0x21, 0x11, &v4_body()),
            v2(0x21, 0x21, &v6_body()),
        ] {
            for end in 0..whole.len() {
                assert_eq!(
                    parse(&whole[..end]),
                    Ok(Parsed::Partial),
                    "{end} of {whole:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_within_bounds(
            start in prop::sample::select(vec![V1_START.to_vec(), V2_START.to_vec(), Vec::new()]),
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, tail].concat();
            if let Ok(Parsed::Complete { length, .. }) = parse(&bytes) {
                prop_assert!(length <= bytes.len() && length <= V2_BYTES_MAX);
            }
        }
    }
}
