//! Which address counts behind proxies.
//!
//! The first byte selects how the trusted proxy adds its client to that client's own headers; each line
//! after it is a header that the client sent, `x` for X-Forwarded-For and `f` for Forwarded.

use std::net::{IpAddr, SocketAddr};

use grapevine_node::config::address::Network;
use grapevine_node::geo::client::address;
use http::{HeaderMap, HeaderName, HeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Whatever a client sends, its address is its own or the proxy's.
pub(crate) fn target(bytes: &[u8]) {
    let (how, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let proxy: SocketAddr = "10.0.0.1:443".parse().expect("an address");
    let stranger: SocketAddr = "203.0.113.9:443".parse().expect("an address");
    let trusted: [Network; 2] =
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network"));
    let Some(mut headers) = sent(rest) else {
        return;
    };

    assert_eq!(address(stranger, &headers, &trusted), stranger.ip());
    assert_eq!(address(proxy, &headers, &[]), proxy.ip());
    let claimed = address(proxy, &headers, &trusted);
    assert_eq!(claimed, claimed.to_canonical());

    let client = add(*how, &mut headers);
    let found = address(proxy, &headers, &trusted);
    assert!(
        found == client || found == proxy.ip(),
        "{headers:?} gives {found}"
    );
}

/// The headers of `lines`; `None` where a server would not take one.
fn sent(lines: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let (name, value) = match line.split_first() {
            Some((b'x', value)) => (X_FORWARDED_FOR, value),
            Some((b'f', value)) => (FORWARDED, value),
            _ => continue,
        };
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(headers)
}

/// What a proxy adds: to the last line of a header, or as a line of its own.
fn add(how: u8, headers: &mut HeaderMap) -> IpAddr {
    let (name, entry, client) = match how % 3 {
        0 => (X_FORWARDED_FOR, "198.51.100.7", "198.51.100.7"),
        1 => (FORWARDED, "for=198.51.100.7;proto=https", "198.51.100.7"),
        _ => (FORWARDED, "for=\"[2001:db8::7]:443\"", "2001:db8::7"),
    };
    let mut lines: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
    headers.remove(&name);
    let last = if how.is_multiple_of(2) {
        lines.pop()
    } else {
        None
    };
    let joined = match &last {
        Some(last) => [last.as_bytes(), entry.as_bytes()].join(&b", "[..]),
        None => entry.as_bytes().to_vec(),
    };
    lines.push(HeaderValue::from_bytes(&joined).expect("two values make one"));
    for line in lines {
        headers.append(&name, line);
    }
    client.parse().expect("an address")
}
