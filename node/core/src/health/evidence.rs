//! What failures prove: by how many requests, of how many clients, at how many moments they were seen.
//!
//! A prompt that makes an upstream fail is repeated by its client, a lost packet fails everything that is in flight,
//! and a request tries an upstream more than once. Counted one by one, each of these would eject an upstream that
//! serves everybody else.

use crate::time::Instant;

/// Who saw an attempt end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The request, the same over its attempts.
    pub request: u64,
    /// The client, as far as it can be told from others: by its key, else by its address.
    pub client: u64,
    /// When the attempt began.
    pub began_at: Instant,
    /// Whether the request failed elsewhere in the same way: it may be at fault itself.
    pub is_doubtful: bool,
}

/// What showed the state of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client's request.
    Request(Witness),
    /// A probe that costs as much as a request.
    ChatProbe,
    /// A probe that costs nothing, and shows only what it asks for.
    FreeProbe,
}

impl Source {
    /// Whether it asked for what clients ask for.
    pub const fn is_paid(self) -> bool {
        matches!(self, Self::Request(_) | Self::ChatProbe)
    }
}

/// Requests kept apart in a row of failures; more prove no more.
const REQUESTS_MAX: usize = 32;

/// A request that failed.
#[derive(Clone, Copy, Debug)]
struct FailedRequest {
    request: u64,
    client: u64,
    /// Of these all of one client's count as one: they may be the client's fault.
    is_doubtful: bool,
}

/// Failures in a row. At most [`REQUESTS_MAX`] requests.
#[derive(Clone, Debug, Default)]
pub(super) struct FailureRow {
    /// Each request once.
    requests: Vec<FailedRequest>,
    probes: u32,
    /// Failures that cannot share one cause in time: each attempt began after the one before had failed.
    moments: u32,
    last_moment_at: Option<Instant>,
}

impl FailureRow {
    /// Counts a failure; false where it proves nothing new: the request was counted before, or its client where it
    /// is doubtful.
    pub(super) fn count(&mut self, now: Instant, source: Source) -> bool {
        let before = self.len();
        let began_at = match source {
            Source::Request(witness) => {
                let is_known = |failed: &FailedRequest| failed.request == witness.request;
                if self.requests.iter().any(is_known) {
                    return false;
                }
                // A new client proves more than another request of a known one.
                let is_new = (self.requests.iter()).all(|failed| failed.client != witness.client);
                if self.requests.len() == REQUESTS_MAX && is_new {
                    self.requests.pop();
                }
                if self.requests.len() < REQUESTS_MAX {
                    self.requests.push(FailedRequest {
                        request: witness.request,
                        client: witness.client,
                        is_doubtful: witness.is_doubtful,
                    });
                }
                if self.len() == before && witness.is_doubtful {
                    return false;
                }
                witness.began_at
            }
            Source::ChatProbe | Source::FreeProbe => {
                self.probes += 1;
                now
            }
        };
        if self.last_moment_at.is_none_or(|last| began_at >= last) {
            self.moments += 1;
            self.last_moment_at = Some(now);
        }
        true
    }

    /// How many requests and probes failed, the doubtful requests of one client counted as one.
    pub(super) fn len(&self) -> u32 {
        let is_counted = |(index, failed): (usize, &FailedRequest)| {
            let before = &self.requests[..index];
            let is_repeated = |it: &FailedRequest| it.is_doubtful && it.client == failed.client;
            !failed.is_doubtful || !before.iter().any(is_repeated)
        };
        let requests = self
            .requests
            .iter()
            .enumerate()
            .filter(|it| is_counted(*it));
        let requests = u32::try_from(requests.count()).unwrap_or(u32::MAX);
        requests.saturating_add(self.probes)
    }

    /// How many failures share no moment.
    pub(super) const fn moments(&self) -> u32 {
        self.moments
    }

    /// Whether more than one client saw it, or a probe.
    pub(super) fn is_confirmed(&self) -> bool {
        let mut clients = self.requests.iter().map(|failed| failed.client);
        let first = clients.next();
        self.probes > 0 || clients.any(|client| Some(client) != first)
    }

    /// Whether a request saw it at all.
    pub(super) const fn is_seen_by_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// `request` failed elsewhere in the same way.
    pub(super) fn doubt(&mut self, request: u64) {
        let known = self
            .requests
            .iter_mut()
            .find(|failed| failed.request == request);
        if let Some(failed) = known {
            failed.is_doubtful = true;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
