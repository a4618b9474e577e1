//! The requests of clients, as checked.

use std::time::Duration;

use super::ErrorAnswer;
use crate::atlas::RegionIndex;

/// The requests of clients.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// On average over all clients.
    pub(crate) per_second: f64,
    /// Regions with their share of the clients.
    pub(crate) clients: Vec<(RegionIndex, f64)>,
    /// Length of a day and the swing around its mean; noon comes by longitude.
    pub(crate) daily: Option<(Duration, f64)>,
    pub(crate) bursts: Vec<Burst>,
    /// Bytes of a request, and of an answer without its head, as they take a hop.
    pub(crate) request_bytes: usize,
    pub(crate) answer_bytes: usize,
    /// The median time from the first byte of an answer to its last.
    pub(crate) body: Duration,
    /// The share of long answers and their time.
    pub(crate) long: Option<(f64, Duration)>,
    /// The share of requests that belong to one of a hundred conversations.
    pub(crate) sessions: f64,
    /// The share of answers that are no streams: their first byte comes when all of it is made.
    pub(crate) whole: f64,
    /// How long models think, instead of `body`, where they do.
    pub(crate) thinking: Option<Thinking>,
    pub(crate) long_prompts: Option<LongPrompts>,
    /// Clients whose requests fail by their own fault.
    pub(crate) faulty: Vec<FaultyClient>,
    pub(crate) arrivals: Vec<Arrival>,
}

/// Answers that take minutes, by a log-normal distribution that is cut at both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thinking {
    /// Of all answers.
    pub(crate) share: f64,
    pub(crate) median: Duration,
    /// Sigma.
    pub(crate) spread: f64,
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

/// Prompts that every upstream reads for long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongPrompts {
    /// Of all prompts.
    pub(crate) share: f64,
    /// By how much their first bytes come later.
    pub(crate) factor: f64,
    pub(crate) request_bytes: usize,
}

/// One client whose every request fails by its own fault, wherever it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultyClient {
    pub(crate) fault: ClientFault,
    /// Of all requests in its region.
    pub(crate) share: f64,
    /// `None` asks in all regions.
    pub(crate) region: Option<RegionIndex>,
}

/// What is wrong with a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// The prompt makes every upstream fail: 500.
    Poison,
    /// It names an organization that our credential is not of: 401.
    Organization,
}

impl ClientFault {
    /// What every upstream answers.
    pub(crate) fn answer(self) -> ErrorAnswer {
        match self {
            Self::Poison => ErrorAnswer::new(500, "server_error"),
            Self::Organization => ErrorAnswer::new(401, "mismatched_organization"),
        }
    }
}

/// Clients that arrive at once, one request each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) clients: u32,
    /// The last of them comes so long after the first.
    pub(crate) within: Duration,
    /// Which of the regions of `Workload::clients` they are in.
    pub(crate) clientele: usize,
}

/// More requests for a while.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) factor: f64,
    /// Of one region's clients; `None` of all.
    pub(crate) region: Option<RegionIndex>,
}
