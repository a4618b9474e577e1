//! Who asks for what, and how requests are sent, from as written to as checked.

use grapevine_core::route::Strategy;

use super::checked::Checker;
use super::file::{
    ArrivalFile, BurstFile, ClientFaultFile, FaultyFile, LongPromptsFile, RoutingFile,
    ThinkingFile, WorkloadFile,
};
use super::{Arrival, Burst, ClientFault, FaultyClient, LongPrompts, Routing, Thinking, Workload};
use crate::atlas::RegionIndex;

/// A prompt with its envelope, and the end of an answer: an answer is long only where a scenario sets it.
const REQUEST_BYTES: usize = 2_048;
const ANSWER_BYTES: usize = 100;

/// Bytes of a request or an answer at most.
const BYTES_MAX: usize = 1 << 30;

/// Clients that arrive at once at most.
const ARRIVALS_MAX: u32 = 10_000;

/// Within which they do, where a scenario does not set it.
const ARRIVE_WITHIN: &str = "50ms";

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
        let arrivals = file.arrivals.iter();
        let arrivals = arrivals.map(|one| self.arrival(one, &clients)).collect();
        let faulty = file.faulty.iter();
        let faulty = faulty.map(|one| self.faulty(one)).collect();
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
            whole: self.share("workload.whole", file.whole.unwrap_or(0.0)),
            thinking: file.thinking.as_ref().map(|it| self.thinking(it)),
            long_prompts: file.long_prompts.as_ref().map(|it| self.long_prompts(it)),
            faulty,
            arrivals,
        }
    }

    fn thinking(&mut self, file: &ThinkingFile) -> Thinking {
        let mut span =
            |name: &str, text: &str| self.span(&format!("workload.thinking.{name}"), text);
        let (median, least) = (span("median", &file.median), span("least", &file.least));
        let most = span("most", &file.most);
        if most < least {
            self.problem("workload.thinking.most", "must not be shorter than least");
        }
        Thinking {
            share: self.share("workload.thinking.share", file.share.unwrap_or(1.0)),
            median,
            spread: self.positive("workload.thinking.spread", file.spread),
            least,
            most: most.max(least),
        }
    }

    fn long_prompts(&mut self, file: &LongPromptsFile) -> LongPrompts {
        let bytes = Some(file.request_bytes);
        LongPrompts {
            share: self.share("workload.long_prompts.share", file.share),
            factor: self.positive("workload.long_prompts.factor", file.factor),
            request_bytes: self.bytes("workload.long_prompts.request_bytes", bytes, 0),
        }
    }

    fn faulty(&mut self, file: &FaultyFile) -> FaultyClient {
        let region = file.region.as_ref();
        FaultyClient {
            fault: match file.what {
                ClientFaultFile::Poison => ClientFault::Poison,
                ClientFaultFile::Organization => ClientFault::Organization,
            },
            share: self.share("workload.faulty.share", file.share),
            region: region.map(|name| self.region("workload.faulty.region", name)),
        }
    }

    fn arrival(&mut self, file: &ArrivalFile, clients: &[(RegionIndex, f64)]) -> Arrival {
        let region = self.region("workload.arrivals.region", &file.region);
        let clientele = clients.iter().position(|(one, _)| *one == region);
        if clientele.is_none() {
            let text = format!("{:?} has no clients by workload.clients", file.region);
            self.problem("workload.arrivals.region", text);
        }
        if !(1..=ARRIVALS_MAX).contains(&file.clients) {
            let text = format!("must be between 1 and {ARRIVALS_MAX}");
            self.problem("workload.arrivals.clients", text);
        }
        Arrival {
            at: self.span("workload.arrivals.at", &file.at),
            clients: file.clients,
            within: self.span_or(
                "workload.arrivals.within",
                file.within.as_deref(),
                ARRIVE_WITHIN,
            ),
            clientele: clientele.unwrap_or_default(),
        }
    }

    fn positive(&mut self, key: &str, value: f64) -> f64 {
        if !(value > 0.0 && value <= 1_000.0) {
            self.problem(key, format!("{value} is not above 0 and at most 1000"));
        }
        value
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
        // Apart from `deadline` and `first_byte`, the product's defaults (`node/config`).
        let routing = Routing {
            strategy,
            attempts_max: file.attempts.unwrap_or(6).max(1),
            deadline: self.span_or("routing.deadline", file.deadline.as_deref(), "20s"),
            connect: self.span_or("routing.connect", file.connect.as_deref(), "2s"),
            first_byte: self.span_or("routing.first_byte", file.first_byte.as_deref(), "8s"),
            answer: self.span_or("routing.answer", file.answer.as_deref(), "10m"),
            idle: self.span_or("routing.idle", file.idle.as_deref(), "5m"),
            total: self.span_or("routing.total", file.total.as_deref(), "1h"),
        };
        if routing.total < routing.first_byte {
            self.problem("routing.total", "must not be shorter than first_byte");
        }
        routing
    }
}
