//! Which ports the demo takes: the same on every run where they are free, so that its printed lines can be kept.
//!
//! A port that is taken is replaced by one below the range from which the system takes client ports, so that no
//! outgoing connection takes it between this choice and the child that listens there.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// The first port that replaces one that is taken.
const SPARE_FIRST: u16 = 10_000;

/// How many replacement ports there are.
const SPARE_COUNT: u16 = 20_000;

/// Gives out loopback addresses, each once.
#[derive(Debug)]
pub(super) struct Ports {
    given: BTreeSet<u16>,
    next_spare: u16,
}

impl Ports {
    /// Nothing given out yet. Two demos with different `seed`s start their search for spare ports at different numbers.
    pub(super) fn new(seed: u32) -> Self {
        let step = seed % u32::from(SPARE_COUNT / 100);
        let next_spare = u16::try_from(step * 100).unwrap_or_default();
        Self {
            given: BTreeSet::new(),
            next_spare,
        }
    }

    /// `preferred` on loopback if it is free for TCP and UDP, else a spare port; `None` when none is free.
    pub(super) fn take(&mut self, preferred: u16) -> Option<SocketAddr> {
        self.take_where(preferred, is_free)
    }

    fn take_where(
        &mut self,
        preferred: u16,
        is_free: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let first = self.next_spare;
        let spare =
            (0..SPARE_COUNT).map(|step| (SPARE_FIRST, (u32::from(first) + u32::from(step))));
        let spare = spare.map(|(base, offset)| base + (offset % u32::from(SPARE_COUNT)) as u16);
        for port in std::iter::once(preferred).chain(spare) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if !self.given.contains(&port) && is_free(address) {
                self.given.insert(port);
                return Some(address);
            }
        }
        None
    }
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_taken_as_preferred() {
        let mut ports = Ports::new(0);
        let address = ports.take_where(8081, |_| true);
        assert_eq!(address, Some(SocketAddr::from(([127, 0, 0, 1], 8081))));
    }

    #[test]
    fn a_taken_port_is_replaced_by_a_spare_one() {
        let mut ports = Ports::new(7);
        let address = ports.take_where(8081, |address| address.port() != 8081);
        assert_eq!(address.map(|address| address.port()), Some(10_700));
    }

    #[test]
    fn no_port_is_given_out_twice() {
        let mut ports = Ports::new(0);
        let first = ports.take_where(8081, |_| true);
        let second = ports.take_where(8081, |_| true);
        assert!(first.is_some() && second.is_some());
        assert_ne!(first, second);
    }

    #[test]
    fn spare_ports_wrap_around_and_end() {
        let mut ports = Ports::new(199);
        let last_only = |address: SocketAddr| address.port() == SPARE_FIRST;
        assert_eq!(
            ports.take_where(1, last_only).map(|a| a.port()),
            Some(SPARE_FIRST)
        );
        assert_eq!(ports.take_where(1, |_| false), None);
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(listener.local_addr().unwrap()));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(socket.local_addr().unwrap()));
    }
}
