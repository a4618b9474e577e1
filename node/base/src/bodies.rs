//! Request bodies in memory: how they are received, and one budget of bytes for all of them.
//!
//! Clients' bodies and those that peers forward are charged to their sender as they arrive, not as they are
//! announced. The charge is released when the last copy of the body's handle is dropped, after the attempt
//! that answered. [`Holdings::admit`] decides how much one sender may hold.
//!
//! Senders are counted in a fixed table of counters by a keyed hash, not in a map: no lock, nothing to bound
//! or to evict, and one atomic addition. Two senders that collide share one share; none can force a collision.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use grapevine_core::ids::NodeName;
use grapevine_core::pace::BodyPace;
use grapevine_core::share::{Holdings, ShareExceeded};
use tokio::time::Instant;

use crate::entropy;

/// Counters of senders.
const COUNTERS: usize = 4_096;

/// Memory allocated at first for a body of several pieces: a mere announcement costs no more.
const FIRST_ROOM: usize = 64 * 1_024;

/// The sender of a body.
#[derive(Clone, Copy, Debug, Hash)]
pub enum BodySender<'a> {
    /// The holder of a client's key, by its name.
    Key(&'a str),
    /// A client without a key; an IPv6 address counts by its /64, of which a client has a whole one.
    Address(IpAddr),
    /// A node of the mesh.
    Peer(&'a NodeName),
}

impl BodySender<'_> {
    /// The client at `address`.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

/// What stands for a client at `address`: of an IPv6 address its /64, of which a client has a whole one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = u128::MAX << 64;
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

/// The bytes that request bodies hold at this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BodyBudget(Arc<BodyCounts>);

#[derive(Debug)]
struct BodyCounts {
    limit: AtomicU64,
    all: AtomicU64,
    senders: Box<[AtomicU64]>,
    /// Secret, so that no sender can choose its counter.
    seed: u64,
    over_whole: AtomicU64,
    over_share: AtomicU64,
}

impl BodyBudget {
    /// At most `limit` bytes together.
    pub fn new(limit: u64) -> Self {
        Self::seeded(limit, u64::from_ne_bytes(entropy::bytes()))
    }

    /// The same, with collisions determined by `seed` alone: for tests.
    pub fn seeded(limit: u64, seed: u64) -> Self {
        Self(Arc::new(BodyCounts {
            limit: AtomicU64::new(limit),
            all: AtomicU64::new(0),
            senders: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            seed,
            over_whole: AtomicU64::new(0),
            over_share: AtomicU64::new(0),
        }))
    }

    /// Limits all bodies to `limit` bytes from now on; what is held beyond it stays held.
    pub fn set_limit(&self, limit: u64) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// The most bytes that may be held.
    pub fn limit(&self) -> u64 {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// The bytes held now.
    pub fn held(&self) -> u64 {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Bodies refused so far because no memory was left, and because their sender held its share.
    pub fn refused(&self) -> (u64, u64) {
        let counts = [&self.0.over_whole, &self.0.over_share];
        let [whole, share] = counts.map(|count| count.load(Ordering::Relaxed));
        (whole, share)
    }

    /// An account of `sender` for one body, with nothing on it yet.
    pub fn account(&self, sender: BodySender<'_>) -> Charge {
        let mut hasher = DefaultHasher::new();
        (self.0.seed, sender).hash(&mut hasher);
        // The remainder fits, and so does the number of counters.
        let slot = (hasher.finish() % COUNTERS as u64) as usize;
        Charge {
            bodies: self.clone(),
            slot,
            bytes: 0,
        }
    }
}

/// Bytes charged for one body; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    bodies: BodyBudget,
    slot: usize,
    bytes: u64,
}

impl Charge {
    /// Charges `more` bytes.
    ///
    /// # Errors
    /// Why they may not be held; nothing is charged then.
    pub fn add(&mut self, more: usize) -> Result<(), ShareExceeded> {
        let (counts, more) = (&*self.bodies.0, more as u64);
        // Added before the check, so that two threads never take the same room.
        let held = Holdings {
            limit: counts.limit.load(Ordering::Relaxed),
            all: counts.all.fetch_add(more, Ordering::Relaxed),
            own: counts.senders[self.slot].fetch_add(more, Ordering::Relaxed),
        };
        self.bytes += more;
        let admitted = held.admit(more);
        if let Err(over) = admitted {
            self.give_back(more);
            let count = match over {
                ShareExceeded::Whole => &self.bodies.0.over_whole,
                ShareExceeded::Share => &self.bodies.0.over_share,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// An account of the same sender, with nothing on it.
    pub fn beside(&self) -> Self {
        Self {
            bodies: self.bodies.clone(),
            slot: self.slot,
            bytes: 0,
        }
    }

    /// `body` with this charge on it: dropping its last handle releases the bytes.
    pub fn on(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Charged {
            body,
            _charge: self,
        })
    }

    fn give_back(&mut self, bytes: u64) {
        let counts = &*self.bodies.0;
        counts.all.fetch_sub(bytes, Ordering::Relaxed);
        counts.senders[self.slot].fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// A body, and what it is charged.
struct Charged {
    body: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// A body that arrives piece by piece. One that arrives in a single piece is not copied.
#[derive(Debug)]
pub struct BodyBuffer {
    charge: Charge,
    pace: BodyPace,
    /// When the wait for the next piece began.
    asked_at: Instant,
    /// The length that was announced; `None` where none was.
    announced: Option<usize>,
    first: Bytes,
    /// All pieces, from the second on.
    joined: Vec<u8>,
}

impl BodyBuffer {
    /// A body charged to `charge` that may pause for `pause_max`, of `announced` bytes where its length is
    /// known. No room is made for what is only announced.
    pub fn begin(charge: Charge, announced: Option<usize>, pause_max: Duration) -> Self {
        Self {
            charge,
            pace: BodyPace::new(pause_max),
            asked_at: Instant::now(),
            announced,
            first: Bytes::new(),
            joined: Vec::new(),
        }
    }

    /// The bytes that arrived.
    pub const fn len(&self) -> usize {
        if self.joined.is_empty() {
            self.first.len()
        } else {
            self.joined.len()
        }
    }

    /// Whether nothing arrived yet.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most bytes that all bodies together may hold.
    pub fn limit(&self) -> u64 {
        self.charge.bodies.limit()
    }

    /// The deadline of the next piece, whose wait begins now.
    pub fn due(&mut self) -> Instant {
        self.asked_at = Instant::now();
        self.asked_at + self.pace.patience()
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// Why it may not be held: the body is to be refused.
    pub fn take(&mut self, piece: Bytes) -> Result<(), ShareExceeded> {
        self.received(piece.len());
        self.hold(piece)
    }

    /// So many bytes arrived, of which [`BodyBuffer::hold`] takes what they mean.
    pub fn received(&mut self, bytes: usize) {
        self.pace.took(bytes, self.asked_at.elapsed());
    }

    /// Takes a piece that did not arrive as it is: one that was decoded.
    ///
    /// # Errors
    /// Why it may not be held: the body is to be refused.
    pub fn hold(&mut self, piece: Bytes) -> Result<(), ShareExceeded> {
        self.charge.add(piece.len())?;
        if self.is_empty() {
            self.first = piece;
            return Ok(());
        }
        if self.joined.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.make_room(first.len() + piece.len());
            self.joined.extend_from_slice(&first);
        }
        self.make_room(piece.len());
        self.joined.extend_from_slice(&piece);
        Ok(())
    }

    /// The whole body, charged until its last handle is dropped.
    pub fn finish(self) -> Bytes {
        let body = match self.joined.is_empty() {
            true => self.first,
            false => Bytes::from(self.joined),
        };
        self.charge.on(body)
    }

    /// Makes room for `more` bytes: doubles what there is, but to no more than was announced.
    fn make_room(&mut self, more: usize) {
        let needed = self.joined.len() + more;
        if needed <= self.joined.capacity() {
            return;
        }
        let doubled = (self.joined.capacity() * 2).max(FIRST_ROOM);
        let room = doubled
            .min(self.announced.unwrap_or(usize::MAX))
            .max(needed);
        self.joined.reserve_exact(room - self.joined.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn body(
        bodies: &BodyBudget,
        sender: BodySender<'_>,
        pieces: &[usize],
    ) -> Result<Bytes, ShareExceeded> {
        let announced = Some(pieces.iter().sum());
        let mut incoming = BodyBuffer::begin(bodies.account(sender), announced, PAUSE);
        for length in pieces {
            incoming.take(Bytes::from(vec![b'x'; *length]))?;
        }
        Ok(incoming.finish())
    }

    #[test]
    fn body_is_charged_until_its_last_handle_is_dropped() {
        let bodies = BodyBudget::seeded(1_000_000, 1);
        let body = body(&bodies, BodySender::Key("app"), &[1_000, 200_000]).expect("room");
        let attempt = body.slice(10..20);
        drop(body);
        assert_eq!(bodies.held(), 201_000);
        drop(attempt);
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn body_in_one_piece_is_not_copied() {
        let bodies = BodyBudget::seeded(1_000_000, 1);
        let mut incoming = BodyBuffer::begin(bodies.account(BodySender::Key("app")), None, PAUSE);
        let piece = Bytes::from(vec![b'x'; 1_000]);
        incoming.take(piece.clone()).expect("room");
        assert_eq!(incoming.finish().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn announced_length_takes_nothing_and_bounds_the_room() {
        let bodies = BodyBudget::seeded(u64::MAX, 1);
        let account = bodies.account(BodySender::Key("app"));
        let announced = 300_000;
        let mut incoming = BodyBuffer::begin(account, Some(announced), PAUSE);
        for length in [1, 1, announced - 2] {
            assert!(incoming.joined.capacity() <= FIRST_ROOM);
            incoming
                .take(Bytes::from(vec![b'x'; length]))
                .expect("room");
        }
        assert_eq!(
            (bodies.held(), incoming.joined.capacity()),
            (300_000, announced)
        );
    }

    #[test]
    fn one_sender_cannot_take_what_another_needs() {
        let bodies = BodyBudget::seeded(1_000, 1);
        let (one, other) = (BodySender::Key("one"), BodySender::Key("other"));
        let held: Vec<_> = (0..10)
            .map_while(|_| body(&bodies, one, &[100]).ok())
            .collect();
        assert_eq!((held.len(), bodies.held()), (5, 500));
        assert_eq!(bodies.refused(), (0, 1));
        assert!(body(&bodies, other, &[200]).is_ok());
    }

    #[test]
    fn what_a_refused_body_held_is_given_back() {
        let bodies = BodyBudget::seeded(1_000, 1);
        assert_eq!(
            body(&bodies, BodySender::Key("app"), &[400, 400]),
            Err(ShareExceeded::Whole)
        );
        assert_eq!((bodies.held(), bodies.refused()), (0, (1, 0)));
    }

    #[test]
    fn clients_of_one_ipv6_network_are_one() {
        let bodies = BodyBudget::seeded(1_000, 1);
        let slot = |text| bodies.account(BodySender::at(address(text))).slot;
        assert_eq!(slot("2001:db8:0:1::1"), slot("2001:db8:0:1:ffff::2"));
        assert_eq!(slot("192.0.2.1"), slot("::ffff:192.0.2.1"));
        assert_ne!(slot("2001:db8:0:1::1"), slot("2001:db8:0:2::1"));
    }

    #[test]
    fn limit_can_be_raised_while_bodies_are_held() {
        let bodies = BodyBudget::seeded(100, 1);
        assert!(body(&bodies, BodySender::Key("app"), &[60]).is_err());
        bodies.set_limit(200);
        assert!(body(&bodies, BodySender::Key("app"), &[60]).is_ok());
    }
}
