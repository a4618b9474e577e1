//! Addresses that must differ, and addresses that others must be able to reach.

use std::net::{IpAddr, SocketAddr};

use super::super::checked::{LISTEN, LISTEN_WITHOUT_KEYS};
use super::super::file::ConfigFile;
use super::{Checker, LISTEN_FORM};

impl Checker<'_> {
    /// The public address. Where none is written, no stranger gets in without a key unless that is meant. Whether keys
    /// are written counts, not whether they are valid: with a bad one there is no configuration.
    pub(super) fn listen(&mut self, file: &ConfigFile, serves_requests: bool) -> SocketAddr {
        let has_static = file.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        let has_keys = has_static || file.issued_keys.is_some() || file.oidc.is_some();
        let is_open = file.open.unwrap_or(false);
        if has_keys && is_open {
            let problem = "has no effect, since there are keys: who has none of them is refused";
            self.warning("open", problem, "remove it, or the keys");
        }
        let written = self.parse("listen", file.listen.as_deref(), LISTEN_FORM);
        if let Some(listen) = written {
            return listen;
        }
        if has_keys || is_open {
            return LISTEN;
        }
        if serves_requests && file.listen.is_none() && !self.source_map.was_refused("listen") {
            let problem = format!(
                "is {LISTEN_WITHOUT_KEYS}, which this machine alone reaches, since there are no keys"
            );
            let remedy = "add keys (grapevine key hash --generate), write the address to listen on, or write open: true";
            self.warning("listen", problem, remedy);
        }
        LISTEN_WITHOUT_KEYS
    }

    /// Reports a host that is an address for listening, or for many at once: nobody reaches one node by it.
    pub(super) fn can_be_reached(&mut self, key: &str, host: &str, remedy: &str) {
        let bare = host.trim_matches(['[', ']']);
        let Ok(address) = bare.parse::<IpAddr>() else {
            return;
        };
        let address = address.to_canonical();
        let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let why = if address.is_unspecified() {
            "is every address of a machine, and none that others can reach"
        } else if address.is_multicast() || is_broadcast {
            "is an address of many machines at once"
        } else {
            return;
        };
        self.problem(key, format!("{} {why}", self.shown(key)), remedy);
    }

    /// Reports that `key` listens on `own`, which another listener of the node has: `what` at `other`.
    pub(super) fn differs(
        &mut self,
        key: &str,
        own: SocketAddr,
        (what, other): (&str, SocketAddr),
    ) {
        if own == other && own.port() != 0 {
            self.problem(key, format!("{own} is {what} too"), "use another port");
        } else if overlap(own, other) {
            let problem = format!("{own} overlaps with {other}, which is {what}");
            self.problem(key, problem, "use another port");
        }
    }
}

/// Whether one of the two takes the other's port away: they have the same, and one is every address of a machine. That
/// of IPv6 is that of IPv4 too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_wider = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    let (left, right) = (one.ip(), other.ip());
    let is_same_port = one.port() == other.port() && one.port() != 0;
    is_same_port && (left == right || is_wider(left, right) || is_wider(right, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_machine_overlaps_with_each() {
        let overlap = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|it| it.parse().expect("an address"));
            assert_eq!(overlap(one, other), overlap(other, one));
            overlap(one, other)
        };
        assert!(overlap("0.0.0.0:1", "127.0.0.1:1"));
        assert!(overlap("[::]:1", "127.0.0.1:1"));
        assert!(overlap("[::]:1", "0.0.0.0:1"));
        assert!(overlap("10.0.0.1:1", "10.0.0.1:1"));
        assert!(!overlap("0.0.0.0:1", "[::1]:1"));
        assert!(!overlap("10.0.0.1:1", "127.0.0.1:1"));
        assert!(!overlap("0.0.0.0:1", "127.0.0.1:2"));
        assert!(!overlap("0.0.0.0:0", "127.0.0.1:0"));
    }
}
