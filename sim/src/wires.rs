//! The lines of the nodes: how long bytes take to get out of one node and into another.

use std::time::Duration;

use grapevine_core::Instant;

use crate::membership::NodeIndex;

/// Bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bandwidth(f64);

impl Bandwidth {
    /// From text such as `50MB/s`, in decimal units; `None` where it is no such text, or zero.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix("B/s")?;
        let (number, unit) = match number.strip_suffix(['k', 'M', 'G']) {
            Some(rest) => (rest, number.chars().next_back()),
            None => (number, None),
        };
        let factor = match unit {
            Some('k') => 1e3,
            Some('M') => 1e6,
            Some('G') => 1e9,
            _ => 1.0,
        };
        let number: f64 = number.trim().parse().ok()?;
        (number.is_finite() && number > 0.0).then_some(Self(number * factor))
    }

    fn takes(self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.0)
    }
}

/// Two lines for each node, one out and one in.
///
/// What is sent is scheduled when it is sent and not when it arrives, so a line in may know of something far away
/// before something near that arrives sooner: the latter does not wait. Datagrams wait behind long transfers, and take
/// no time of the line: they are short, and answers to pings are planned before they are sent.
#[derive(Debug)]
pub(crate) struct Wires {
    bandwidth: Bandwidth,
    out: Vec<Line>,
    into: Vec<Line>,
}

/// The last uninterrupted time in which a line was busy.
#[derive(Clone, Copy, Debug)]
struct Line {
    busy_from: Instant,
    free_at: Instant,
}

impl Line {
    const IDLE: Self = Self {
        busy_from: Instant::START,
        free_at: Instant::START,
    };

    /// When a transfer begins that is ready at `ready_at` and takes so long.
    fn begins(self, ready_at: Instant, span: Duration) -> Instant {
        match ready_at + span <= self.busy_from {
            true => ready_at,
            false => ready_at.max(self.free_at),
        }
    }

    /// When it is through.
    fn through(self, ready_at: Instant, span: Duration) -> Instant {
        self.begins(ready_at, span) + span
    }

    /// The same, and the line is busy with it.
    fn takes(&mut self, ready_at: Instant, span: Duration) -> Instant {
        let through_at = self.through(ready_at, span);
        if ready_at >= self.free_at {
            self.busy_from = ready_at;
        }
        self.free_at = self.free_at.max(through_at);
        through_at
    }
}

impl Wires {
    /// Idle lines of this bandwidth for so many nodes.
    pub(crate) fn new(bandwidth: Bandwidth, nodes: usize) -> Self {
        Self {
            bandwidth,
            out: vec![Line::IDLE; nodes],
            into: vec![Line::IDLE; nodes],
        }
    }

    /// When the last of so many bytes, sent `now` over a path with this delay, arrives. They are received while
    /// they are sent.
    pub(crate) fn arrives(
        &mut self,
        now: Instant,
        (from, to): (NodeIndex, NodeIndex),
        way: Duration,
        bytes: usize,
    ) -> Instant {
        let span = self.bandwidth.takes(bytes);
        let begins_at = self.out[from.at()].begins(now, span);
        self.out[from.at()].takes(now, span);
        self.into[to.at()].takes(begins_at + way, span)
    }

    /// The same of a datagram.
    pub(crate) fn datagram_arrives(
        &self,
        now: Instant,
        (from, to): (NodeIndex, NodeIndex),
        way: Duration,
        bytes: usize,
    ) -> Instant {
        let span = self.bandwidth.takes(bytes);
        let out_at = self.out[from.at()].through(now, span);
        self.into[to.at()].through(out_at + way, Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    fn wires() -> Wires {
        let bandwidth = Bandwidth::parse("1MB/s").expect("a bandwidth");
        Wires::new(bandwidth, 3)
    }

    fn between(from: u32, to: u32) -> (NodeIndex, NodeIndex) {
        (NodeIndex(from), NodeIndex(to))
    }

    #[test]
    fn transfer_behind_a_long_one_waits_for_it() {
        let mut wires = wires();
        assert_eq!(wires.arrives(at(0), between(0, 1), WAY, 5_000), at(15));
        assert_eq!(wires.arrives(at(0), between(0, 2), WAY, 1_000), at(16));
        assert_eq!(wires.arrives(at(0), between(1, 0), WAY, 1_000), at(11));
    }

    #[test]
    fn transfers_to_one_node_arrive_one_after_another() {
        let mut wires = wires();
        assert_eq!(wires.arrives(at(0), between(0, 2), WAY, 5_000), at(15));
        assert_eq!(wires.arrives(at(0), between(1, 2), WAY, 5_000), at(20));
    }

    #[test]
    fn near_transfer_does_not_wait_for_one_from_far_away() {
        let mut wires = wires();
        let far = Duration::from_millis(100);
        assert_eq!(wires.arrives(at(0), between(0, 2), far, 5_000), at(105));
        assert_eq!(wires.arrives(at(0), between(1, 2), WAY, 5_000), at(15));
    }

    #[test]
    fn datagram_waits_behind_a_long_transfer_and_delays_nothing() {
        let mut wires = wires();
        wires.arrives(at(0), between(0, 1), WAY, 5_000);
        let datagram = wires.datagram_arrives(at(0), between(0, 1), WAY, 1_000);
        assert_eq!(datagram, at(16));
        assert_eq!(wires.arrives(at(0), between(0, 1), WAY, 1_000), at(16));
    }

    #[test]
    fn bandwidth_has_a_unit() {
        assert_eq!(Bandwidth::parse("50MB/s"), Some(Bandwidth(50e6)));
        assert_eq!(Bandwidth::parse("1.5 kB/s"), Some(Bandwidth(1_500.0)));
        for text in ["50", "50MB", "0B/s", "-1B/s", "fastB/s"] {
            assert_eq!(Bandwidth::parse(text), None, "{text}");
        }
    }
}
