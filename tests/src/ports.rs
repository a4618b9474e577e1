//! Free ports on loopback, below the range from which the system takes client ports: a node that is
//! killed and started again finds its port free, since no outgoing connection can have taken it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Returns a loopback address with a port that is free for TCP and for UDP, and that this process has not
/// given out before.
///
/// # Panics
///
/// When no port of the range is free.
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side start at different ports.
    let start = (std::process::id() % 199) as u16 * 100;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (u32::from(start) + u32::from(step)) % u32::from(COUNT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset as u16));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!(
        "no free port between {FIRST} and {}",
        u32::from(FIRST) + u32::from(COUNT)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_out_once() {
        let first = free_address();
        assert_ne!(first, free_address());
    }
}
