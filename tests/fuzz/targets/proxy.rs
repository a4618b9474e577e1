//! A balancer's PROXY header before the first byte of a connection.

use grapevine_node::ingress::probes::{Introduction, introduction};

/// A header stays the same whatever follows it, each start of one waits for more, and what is refused stays so.
pub(crate) fn target(bytes: &[u8]) {
    let longer = [bytes, &b"\r\n"[..]].concat();
    match introduction(bytes) {
        whole @ Introduction::Whole { client, length } => {
            assert!(length <= bytes.len());
            assert_eq!(introduction(&longer), whole);
            assert_eq!(introduction(&bytes[..length]), whole);
            for end in 0..length {
                assert_eq!(introduction(&bytes[..end]), Introduction::Partial);
            }
            if let Some(client) = client {
                assert_eq!(client.ip(), client.ip().to_canonical());
            }
        }
        Introduction::Refused => assert_eq!(introduction(&longer), Introduction::Refused),
        Introduction::Partial => {}
    }
}
