//! Checks of routing and limits.

use std::time::Duration;

use grapevine_core::outcome::RetryOn;
use grapevine_core::route::Strategy;

use super::super::checked::{LimitsConfig, MeshConfig, NodeConfig, RoutingConfig, UpstreamConfig};
use super::super::file::{Item, LimitsFile, RetryText, RoutingFile, StrategyWord};
use super::super::text::{ByteSize, format_duration};
use super::rights::RightsConfig;
use super::{Checker, items};

/// Attempts within one request.
const ATTEMPTS_MAX: u32 = 32;

impl Checker<'_> {
    pub(super) fn routing(
        &mut self,
        file: Option<&RoutingFile>,
        upstreams: &[(String, UpstreamConfig)],
        (node, mesh): (&Option<NodeConfig>, &Option<MeshConfig>),
    ) -> RoutingConfig {
        let seal = self.seal(file, node.as_ref(), mesh.as_ref());
        let default = RoutingConfig::default();
        let nothing = RoutingFile::default();
        let file = file.unwrap_or(&nothing);
        let range = Duration::from_millis(10)..=Duration::from_secs(3_600);
        let strategy = match file.strategy {
            None | Some(StrategyWord::Latency) => Strategy::Latency,
            Some(StrategyWord::Geo) => Strategy::Geo,
            Some(StrategyWord::Priority) => Strategy::Priority,
            Some(StrategyWord::Weighted) => Strategy::Weighted,
            Some(StrategyWord::LeastBusy) => Strategy::LeastBusy,
        };
        let deadline = self.duration(
            "routing.deadline",
            file.deadline.as_ref(),
            default.deadline,
            range,
        );
        self.deadline_agrees(deadline, upstreams);
        RoutingConfig {
            strategy,
            attempts_max: self.count(
                "routing.attempts",
                file.attempts,
                default.attempts_max,
                1..=ATTEMPTS_MAX,
            ),
            deadline,
            retry_on: self.retry_on(&file.retry_on),
            fallback_models: self.fallback_models(file.fallback_models.as_ref()),
            cache_weight: self.cache_weight(Some(file)),
            hedge: self.hedge(file.hedge.as_ref()),
            seal,
        }
    }

    /// A timeout that was written and cannot be reached is a misunderstanding; a default one is just cut.
    fn deadline_agrees(&mut self, deadline: Duration, upstreams: &[(String, UpstreamConfig)]) {
        for (at, upstream) in upstreams {
            let waits = [
                ("connect", upstream.timeout.connect),
                ("first_byte", upstream.timeout.first_byte),
                ("answer", upstream.timeout.answer),
            ];
            for (name, wait) in waits {
                let key = format!("{at}.timeout.{name}");
                if self.source_map.has(&key) && wait > deadline {
                    let (wait, deadline) = (format_duration(wait), format_duration(deadline));
                    let problem =
                        format!("{wait} must not be longer than routing.deadline ({deadline})");
                    self.problem(&key, problem, format!("lower {name} or raise the deadline"));
                }
            }
        }
    }

    fn retry_on(&mut self, list: &Option<Vec<Item<RetryText>>>) -> RetryOn {
        if list.is_none() {
            return RetryOn::default();
        }
        let mut retry_on = RetryOn {
            connect: false,
            timeout: false,
            answer_timeout: false,
            statuses: Vec::new(),
            server_errors: false,
        };
        for (key, RetryText(text)) in items("routing.retry_on", list) {
            match (text.as_str(), text.parse::<u16>()) {
                ("connect", _) => retry_on.connect = true,
                ("timeout", _) => retry_on.timeout = true,
                ("answer_timeout", _) => retry_on.answer_timeout = true,
                ("5xx", _) => retry_on.server_errors = true,
                (_, Ok(status @ (401 | 403))) => {
                    let problem = format!(
                        "{status} needs not be listed: a refused credential always goes on"
                    );
                    self.problem(&key, problem, "remove it");
                }
                (_, Ok(status @ 400..=599)) => retry_on.statuses.push(status),
                _ => {
                    let problem = format!("{} is not a kind of failure", self.shown(&key));
                    self.problem(
                        &key,
                        problem,
                        "use connect, timeout, answer_timeout, 5xx, or a status from 400 to 599",
                    );
                }
            }
        }
        retry_on
    }

    pub(super) fn limits(
        &mut self,
        file: Option<&LimitsFile>,
        node: Option<&NodeConfig>,
    ) -> LimitsConfig {
        let RightsConfig {
            nodes,
            file: path,
            max_tokens,
            overrun,
        } = self.rights(file, node);
        let default = LimitsConfig {
            nodes,
            file: path,
            max_tokens,
            overrun,
            ..LimitsConfig::default()
        };
        let Some(file) = file else { return default };
        let waits = Duration::from_millis(10)..=Duration::from_secs(3_600);
        let body = ByteSize::kib(1)..=ByteSize::mib(1_024);
        let head = ByteSize::kib(8)..=ByteSize::mib(1);
        let head_wait = (file.header_timeout.as_ref(), default.header_timeout);
        let idle_wait = (file.idle_timeout.as_ref(), default.idle_timeout);
        let body_wait = (file.body_timeout.as_ref(), default.body_timeout);
        let count = self.number(
            "limits.header_count",
            file.header_count,
            default.header_count as u64,
            8..=1_000,
        );
        let connections = (file.connections, default.connections as u64);
        let connections = self.number(
            "limits.connections",
            connections.0,
            connections.1,
            1..=1_000_000,
        );
        let body = self.size("limits.body", file.body.as_ref(), default.body, body);
        LimitsConfig {
            body,
            body_memory: self.body_memory(file, body, default.body_memory),
            header_count: usize::try_from(count).unwrap_or(default.header_count),
            header_size: self.size(
                "limits.header_size",
                file.header_size.as_ref(),
                default.header_size,
                head,
            ),
            header_timeout: self.duration(
                "limits.header_timeout",
                head_wait.0,
                head_wait.1,
                waits.clone(),
            ),
            idle_timeout: self.duration(
                "limits.idle_timeout",
                idle_wait.0,
                idle_wait.1,
                waits.clone(),
            ),
            body_timeout: self.duration("limits.body_timeout", body_wait.0, body_wait.1, waits),
            websocket_idle: self.websocket_idle(file, default.websocket_idle),
            connections: usize::try_from(connections).unwrap_or(default.connections),
            in_flight: self.count_where_given("limits.in_flight", file.in_flight, 1..=1_000_000),
            waiting: self.waiting(file, default.waiting),
            polls: self.count("limits.polls", file.polls, default.polls, 2..=100_000),
            ..default
        }
    }

    fn waiting(&mut self, file: &LimitsFile, default: usize) -> usize {
        let waiting = (file.waiting, default as u64);
        let waiting = self.number("limits.waiting", waiting.0, waiting.1, 0..=100_000);
        usize::try_from(waiting).unwrap_or(default)
    }

    fn websocket_idle(&mut self, file: &LimitsFile, default: Duration) -> Duration {
        let waits = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
        let written = file.websocket_idle.as_ref();
        self.duration("limits.websocket_idle", written, default, waits)
    }

    /// One sender may hold half of it, which must have room for a body of the largest size.
    fn body_memory(&mut self, file: &LimitsFile, body: ByteSize, default: ByteSize) -> ByteSize {
        let least = ByteSize::bytes(body.get() * 2);
        self.size(
            "limits.body_memory",
            file.body_memory.as_ref(),
            default.max(least),
            least..=ByteSize::mib(1_024 * 1_024),
        )
    }
}
