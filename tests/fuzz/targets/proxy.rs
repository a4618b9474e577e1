//! A balancer's PROXY header before the first byte of a connection.

use grapevine_node::ingress::probes::{ProxyHeader, proxy_header};

/// A header stays the same whatever follows it, each start of one waits for more, and what is refused stays so.
pub(crate) fn target(bytes: &[u8]) {
    let longer = [bytes, &b"\r\n"[..]].concat();
    match proxy_header(bytes) {
        whole @ ProxyHeader::Whole { client, length } => {
            assert!(length <= bytes.len());
            assert_eq!(proxy_header(&longer), whole);
            assert_eq!(proxy_header(&bytes[..length]), whole);
            for end in 0..length {
                assert_eq!(proxy_header(&bytes[..end]), ProxyHeader::Partial);
            }
            if let Some(client) = client {
                assert_eq!(client.ip(), client.ip().to_canonical());
            }
        }
        ProxyHeader::Refused => assert_eq!(proxy_header(&longer), ProxyHeader::Refused),
        ProxyHeader::Partial => {}
    }
}
