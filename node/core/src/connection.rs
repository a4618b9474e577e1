//! How long a client's connection may do nothing, and which ones are closed when there is no room.
//!
//! A connection holds a descriptor and some memory whether it asks for anything or not, so each has a
//! deadline at every moment in which it has no request in flight, from its first byte on. What is
//! deadlined is the request's head, not single bytes: a client that trickles is as slow as a silent one.
//!
//! Under pressure the connections with least to lose are closed first: clients that had time for a head and
//! sent none, then clients between two requests. A request in flight is never given up for another.

use std::time::Duration;

use crate::Instant;

/// A head that does not come within this is late when there is no room: three round trips around the
/// Earth, as TCP and TLS take before the first request.
const HEAD_GRACE: Duration = Duration::from_secs(1);

/// A client that was answered this recently is likely to ask again at once.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// What a connection does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// At least one request is in flight.
    pub in_flight: bool,
    /// Since when the head of a request is awaited or comes in parts; `None` between two requests.
    pub head_since: Option<Instant>,
    /// When its last request ended or its last answer moved.
    pub quiet_since: Instant,
}

/// Why a connection is closed by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseReason {
    /// The PROXY header or the TLS handshake did not come in time.
    Handshake,
    /// The head of a request did not come in time.
    Head,
    /// It asked for nothing for too long.
    Idle,
    /// It took none of an answer for too long.
    Stalled,
    /// It did not answer to a ping.
    Ping,
    /// There was no room, and it had no request in flight.
    Shed,
    /// There was no room when it came.
    Full,
}

impl CloseReason {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Handshake,
        Self::Head,
        Self::Idle,
        Self::Stalled,
        Self::Ping,
        Self::Shed,
        Self::Full,
    ];

    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Ping => "ping",
            Self::Shed => "shed",
            Self::Full => "full",
        }
    }
}

/// How long a node waits for a connection to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the head of a request, the first one included.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
}

impl Patience {
    /// When a connection is to be closed and why, unless something happens on it; `None` while its requests decide
    /// that.
    pub fn due(&self, standing: ConnectionState) -> Option<(Instant, CloseReason)> {
        if let Some(since) = standing.head_since {
            return Some((since + self.head, CloseReason::Head));
        }
        let is_idle = !standing.in_flight;
        is_idle.then(|| (standing.quiet_since + self.idle, CloseReason::Idle))
    }
}

/// The connections to close so that others find room, at most `wanted` of `open`: those with least to
/// lose first, and of those the ones that have waited longest.
pub fn to_shed<Id: Copy + Ord>(
    now: Instant,
    open: impl IntoIterator<Item = (Id, ConnectionState)>,
    wanted: usize,
) -> Vec<Id> {
    let mut total = 0;
    let (mut late, mut silent, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for (id, standing) in open {
        total += 1;
        match standing {
            ConnectionState {
                in_flight: true, ..
            } => {}
            ConnectionState {
                head_since: Some(since),
                ..
            } if now.since(since) >= HEAD_GRACE => late.push((since, id)),
            ConnectionState {
                head_since: Some(since),
                ..
            } => silent.push((since, id)),
            ConnectionState { quiet_since, .. } if now.since(quiet_since) >= IDLE_GRACE => {
                idle.push((quiet_since, id));
            }
            ConnectionState { .. } => {}
        }
    }
    // Most of them without a request: they came to take slots, and no idle connection is closed for them.
    let is_flood = (late.len() + silent.len()) * 2 > total;
    let classes = match is_flood {
        true => [late, silent, idle],
        false => [late, idle, silent],
    };
    let ordered = classes.into_iter().flat_map(|mut class| {
        class.sort_unstable();
        class.into_iter().map(|(_, id)| id)
    });
    ordered.take(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn head(since: u64) -> ConnectionState {
        ConnectionState {
            in_flight: false,
            head_since: Some(at(since)),
            quiet_since: Instant::START,
        }
    }

    fn idle(since: u64) -> ConnectionState {
        ConnectionState {
            in_flight: false,
            head_since: None,
            quiet_since: at(since),
        }
    }

    fn busy() -> ConnectionState {
        ConnectionState {
            in_flight: true,
            ..idle(0)
        }
    }

    #[test]
    fn head_is_waited_for_from_its_beginning_also_beside_requests() {
        let due = Some((at(15), CloseReason::Head));
        assert_eq!(PATIENCE.due(head(5)), due);
        let beside = ConnectionState {
            in_flight: true,
            ..head(5)
        };
        assert_eq!(PATIENCE.due(beside), due);
    }

    #[test]
    fn idle_connection_is_kept_for_its_time_and_a_busy_one_for_as_long_as_it_is() {
        assert_eq!(PATIENCE.due(idle(5)), Some((at(80), CloseReason::Idle)));
        assert_eq!(PATIENCE.due(busy()), None);
    }

    #[test]
    fn request_in_flight_is_never_shed() {
        let beside = ConnectionState {
            in_flight: true,
            ..head(0)
        };
        assert!(to_shed(at(100), [(1, busy()), (2, beside)], 9).is_empty());
    }

    #[test]
    fn late_heads_go_first_then_the_longest_idle() {
        let open = [
            (1, idle(90)),
            (2, idle(50)),
            (3, head(98)),
            (4, busy()),
            (5, busy()),
        ];
        assert_eq!(to_shed(at(100), open, 9), [3, 2, 1]);
        assert_eq!(to_shed(at(100), open, 1), [3]);
    }

    #[test]
    fn client_that_has_just_come_or_was_just_answered_is_spared() {
        let open = [(1, idle(50)), (2, head(100)), (3, idle(100)), (4, idle(60))];
        assert_eq!(to_shed(at(100), open, 9), [1, 4, 2]);
    }

    #[test]
    fn flood_of_silent_connections_pays_for_itself() {
        let open = [
            (1, idle(50)),
            (2, head(100)),
            (3, head(100)),
            (4, head(100)),
        ];
        assert_eq!(to_shed(at(100), open, 3), [2, 3, 4]);
    }
}
