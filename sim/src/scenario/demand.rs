//! Who asks for what, and how requests are sent, from as written to as checked.

use grapevine_core::route::Strategy;

use super::checked::Checker;
use super::file::{BurstFile, RoutingFile, WorkloadFile};
use super::{Burst, Routing, Workload};
use crate::atlas::RegionIndex;

/// A prompt with its envelope, and the end of an answer: an answer is long only where a scenario sets it.
const REQUEST_BYTES: usize = 2_048;
const ANSWER_BYTES: usize = 100;

/// Bytes of a request or an answer at most.
const BYTES_MAX: usize = 1 << 30;

impl Checker {
    pub(super) fn workload(&mut self, file: &WorkloadFile) -> Workload {
        let named = file.clients.iter();
        let mut clients: Vec<(RegionIndex, f64)> = named
            .map(|(name, share)| (self.region("workload.clients", name), *share))
            .collect();
        if clients.is_empty() {
            let mut regions = self.nodes.clone();
            regions.sort_unstable();
            regions.dedup();
            clients = regions.into_iter().map(|region| (region, 1.0)).collect();
        }
        let daily = file.daily.as_ref().map(|daily| {
            let day = self.span("workload.daily.day", &daily.day);
            (day, self.share("workload.daily.swing", daily.swing))
        });
        let bursts = file.bursts.iter();
        let bursts = bursts.map(|burst| self.burst(burst)).collect();
        let long = file.long.as_ref().map(|long| {
            let body = self.span("workload.long.body", &long.body);
            (self.share("workload.long.share", long.share), body)
        });
        Workload {
            per_second: file.per_second.unwrap_or(20.0),
            request_bytes: self.bytes("workload.request_bytes", file.request_bytes, REQUEST_BYTES),
            answer_bytes: self.bytes("workload.answer_bytes", file.answer_bytes, ANSWER_BYTES),
            clients,
            daily,
            bursts,
            body: self.span_or("workload.body", file.body.as_deref(), "1s"),
            long,
            sessions: self.share("workload.sessions", file.sessions.unwrap_or(0.0)),
        }
    }

    fn bytes(&mut self, key: &str, bytes: Option<usize>, default: usize) -> usize {
        let bytes = bytes.unwrap_or(default);
        if bytes > BYTES_MAX {
            self.problem(key, format!("must not be more than {BYTES_MAX}"));
        }
        bytes
    }

    fn burst(&mut self, file: &BurstFile) -> Burst {
        let region = file.region.as_ref();
        Burst {
            at: self.span("workload.bursts.at", &file.at),
            lasts: self.span("workload.bursts.for", &file.lasts),
            factor: file.factor,
            region: region.map(|name| self.region("workload.bursts.region", name)),
        }
    }

    pub(super) fn routing(&mut self, file: &RoutingFile) -> Routing {
        let strategy = match file.strategy.as_deref() {
            None | Some("latency") => Strategy::Latency,
            Some("geo") => Strategy::Geo,
            Some("priority") => Strategy::Priority,
            Some("weighted") => Strategy::Weighted,
            Some("least-busy") => Strategy::LeastBusy,
            Some(other) => {
                self.problem("routing.strategy", format!("{other:?} is not a strategy"));
                Strategy::Latency
            }
        };
        let routing = Routing {
            strategy,
            attempts_max: file.attempts.unwrap_or(6).max(1),
            deadline: self.span_or("routing.deadline", file.deadline.as_deref(), "20s"),
            first_byte: self.span_or("routing.first_byte", file.first_byte.as_deref(), "8s"),
            // The product's defaults (`node/config`).
            idle: self.span_or("routing.idle", file.idle.as_deref(), "60s"),
            total: self.span_or("routing.total", file.total.as_deref(), "10m"),
        };
        if routing.total < routing.first_byte {
            self.problem("routing.total", "must not be shorter than first_byte");
        }
        routing
    }
}
