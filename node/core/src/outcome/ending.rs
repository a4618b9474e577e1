//! How a whole request ended for its client: the one meaning of *failed*, for metrics, alerts, lists and charts.
//!
//! A status alone does not tell: an answer that breaks off in its middle began with 200. What the client itself did
//! (a mistake, a wrong key, too much at once, going away) is no failure, or anybody could page an operator.

use super::Outcome;

/// The status of a request whose client went away before it got one (nginx's custom).
pub const CLIENT_GONE: u16 = 499;

/// How a request ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestEnd {
    /// With an upstream's answer below 500, whole; an upstream's own 4xx among them.
    Answered,
    /// With a 4xx that a node gave: the client's mistake, or more than it may have.
    Refused,
    /// With a 5xx, an upstream's or a node's.
    Failed,
    /// After its answer had begun and before its end, by the upstream, the way to it, or a node.
    BrokenOff,
    /// The client went away.
    Left,
}

impl RequestEnd {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Answered,
        Self::Refused,
        Self::Failed,
        Self::BrokenOff,
        Self::Left,
    ];

    /// How a request ended for which the client got `status`, with an error of ours called `error`, or none.
    pub fn of(status: u16, error: Option<&str>) -> Self {
        match (status, error) {
            (CLIENT_GONE, _) => Self::Left,
            (500.., _) => Self::Failed,
            (_, Some(error)) if error == Outcome::Cancelled.as_str() => Self::Left,
            (400.., Some(_)) => Self::Refused,
            (_, Some(_)) => Self::BrokenOff,
            (_, None) => Self::Answered,
        }
    }

    /// Whether the request failed: by no doing of its client it got no whole answer.
    pub const fn is_failed(self) -> bool {
        matches!(self, Self::Failed | Self::BrokenOff)
    }

    /// One word for metrics and the operator's list of requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::BrokenOff => "broken_off",
            Self::Left => "left",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_that_a_node_or_an_upstream_broke_is_failed_whatever_its_status() {
        let end = RequestEnd::of(200, Some("upstream_broken_off"));
        assert_eq!(end, RequestEnd::BrokenOff);
        assert!(end.is_failed());
        // A WebSocket's status.
        assert!(RequestEnd::of(101, Some("peer_lost")).is_failed());
    }

    #[test]
    fn server_errors_are_failed_whoever_gave_them() {
        for error in [None, Some("no_upstream_reachable"), Some("cancelled")] {
            assert_eq!(RequestEnd::of(503, error), RequestEnd::Failed);
        }
    }

    #[test]
    fn what_the_client_did_is_not_failed() {
        let ends = [
            (RequestEnd::of(200, None), RequestEnd::Answered),
            (RequestEnd::of(404, None), RequestEnd::Answered),
            (RequestEnd::of(401, Some("wrong_key")), RequestEnd::Refused),
            (
                RequestEnd::of(429, Some("rate_limited")),
                RequestEnd::Refused,
            ),
            (RequestEnd::of(200, Some("cancelled")), RequestEnd::Left),
            (RequestEnd::of(499, Some("cancelled")), RequestEnd::Left),
        ];
        for (end, expected) in ends {
            assert_eq!(end, expected);
            assert!(!end.is_failed(), "{end:?}");
        }
    }
}
