//! The measurements that the design needs, each from runs of its own.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::{AttemptReport, Event};
use grapevine_core::health::Witness;
use grapevine_core::latency::RequestShape;
use grapevine_core::outcome::Outcome;

use crate::membership::NodeIndex;
use crate::run::{self, Run, quantile};
use crate::scenario::Scenario;
use crate::world::{Setup, World};

/// How long a mesh takes to form, by its size, before it is measured.
const FORMS_IN: [(usize, u64); 3] = [(100, 12), (300, 16), (usize::MAX, 18)];

/// A mesh over all regions in which nothing happens but what is measured.
struct Mesh {
    nodes: usize,
    loss: f64,
    per_second: f64,
    seconds: u64,
    faults: String,
}

impl Mesh {
    fn scenario(&self) -> Arc<Scenario> {
        let Self {
            nodes,
            loss,
            per_second,
            seconds,
            faults,
        } = self;
        let warm_up = forms_in(*nodes);
        let text = format!(
            "name: measured\nabout: measured\nduration: {seconds}s\nwarm_up: {warm_up}s\nsettle: 1s\n\
             nodes: {{count: {nodes}}}\nnetwork: {{loss: {loss}}}\n\
             upstreams:\n  - {{name: primary, models: [gpt-4o], first_byte: 300ms}}\n\
             workload: {{per_second: {per_second}}}\nfaults: [{faults}]\n\
             expect: {{converges: false, failed_share_max: 1, fault_bites: false}}\n"
        );
        Arc::new(Scenario::parse(&text).expect("written above"))
    }
}

fn forms_in(nodes: usize) -> u64 {
    let fits = FORMS_IN.iter().find(|(most, _)| nodes <= *most);
    fits.map_or(18, |(_, seconds)| *seconds)
}

/// How transitions spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// Largest one-way delay between any two nodes.
    pub(super) one_way_max: Duration,
    /// Until 99 % of nodes had received it: the median and the slowest of all transitions.
    pub(super) median: Duration,
    pub(super) slowest: Duration,
    /// Transitions that did not reach 99 % while watched.
    pub(super) missed: usize,
}

impl Spread {
    pub(super) fn multiple(&self) -> f64 {
        self.median.as_secs_f64() / self.one_way_max.as_secs_f64()
    }

    pub(super) fn multiple_max(&self) -> f64 {
        self.slowest.as_secs_f64() / self.one_way_max.as_secs_f64()
    }
}

/// Ejects one upstream after another, and watches the transitions spread.
pub(super) fn propagation(nodes: usize, rumors: bool, transitions: usize) -> Spread {
    let pause = if rumors { 2 } else { 8 };
    let seconds = forms_in(nodes) + 2 + pause * transitions as u64 + 2;
    let mesh = Mesh {
        nodes,
        loss: 0.0,
        per_second: 0.001,
        seconds,
        faults: String::new(),
    };
    let setup = Setup {
        rumors,
        ..Setup::new(11)
    };
    let mut world = World::new(mesh.scenario(), setup);
    for turn in 0..transitions {
        let at = Duration::from_secs(forms_in(nodes) + pause * turn as u64);
        world.run_until(Instant::from_start(at));
        // Authors all over the table, and so all over the world.
        let author = NodeIndex((turn * 7_919 % nodes) as u32);
        world.record.watch(author);
        (0..3).for_each(|number| world.deliver(author, refused(number, world.now())));
    }
    world.run_until(Instant::from_start(Duration::from_secs(seconds)));
    let need = ((nodes - 1) as f64 * 0.99).ceil() as usize;
    let mut spans = Vec::new();
    for watch in &world.record.watches {
        let Some((published_at, _)) = watch.published else {
            continue;
        };
        let mut received: Vec<Duration> = watch
            .received
            .values()
            .map(|at| at.since(published_at))
            .collect();
        received.sort_unstable();
        spans.extend(received.get(need.max(1) - 1));
    }
    Spread {
        one_way_max: one_way_max(&world),
        median: quantile(spans.clone(), 0.5),
        slowest: quantile(spans.clone(), 1.0),
        missed: transitions - spans.len(),
    }
}

/// A refused connection, as the request of this number saw it at `now`.
fn refused(number: u64, now: Instant) -> Event {
    let witness = Witness {
        request: number,
        client: number,
        began_at: now,
        is_doubtful: false,
    };
    Event::AttemptEnded(AttemptReport {
        shape: RequestShape::default(),
        peer: None,
        upstream: "primary".parse().expect("a valid name"),
        model: None,
        outcome: Outcome::ConnectFailed,
        witness,
        detail: None,
        first_byte: None,
    })
}

fn one_way_max(world: &World) -> Duration {
    let nodes = || (0..world.node_count() as u32).map(NodeIndex);
    let pairs = nodes().flat_map(|from| nodes().map(move |to| (from, to)));
    pairs
        .map(|(from, to)| world.network.one_way(from, to))
        .max()
        .unwrap_or_default()
}

/// How soon a crash is detected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detection {
    /// By gossip: until half of the others (p50), and all of them, consider the node dead.
    pub(super) p50: Duration,
    pub(super) all: Duration,
    /// By the data path: until the last connected peer sends it no new work.
    pub(super) silence: Duration,
}

/// Kills some nodes, one after another.
pub(super) fn detection(nodes: usize, loss: f64, kills: usize) -> Detection {
    let pause = if nodes > 300 { 25 } else { 8 };
    let from = forms_in(nodes);
    let kill = |turn: usize| {
        let (at, who) = (from + pause * turn as u64, (turn * 13 + 5) % nodes);
        format!(
            "{{at: {at}s, for: {}s, what: crash, who: [n{who}]}}",
            pause + 60
        )
    };
    let faults: Vec<String> = (0..kills).map(kill).collect();
    let mesh = Mesh {
        nodes,
        loss,
        per_second: 0.001,
        seconds: from + pause * kills as u64 + 1,
        faults: faults.join(", "),
    };
    let run = run::run_as(&mesh.scenario(), Setup::new(12));
    let (mut p50s, mut all, mut silence) = (Vec::new(), Vec::new(), Vec::new());
    for (crashed_at, node) in &run.record.crashes {
        let later = |at: &Instant| *at >= *crashed_at;
        let deaths = run
            .record
            .deaths
            .iter()
            .filter(|it| it.node == *node && later(&it.at));
        let mut deaths: Vec<_> = deaths
            .map(|it| (it.observer, it.at.since(*crashed_at)))
            .collect();
        deaths.sort_unstable();
        deaths.dedup_by_key(|(observer, _)| *observer);
        let spans: Vec<Duration> = deaths.into_iter().map(|(_, span)| span).collect();
        p50s.push(quantile(spans.clone(), 0.5));
        all.push(quantile(spans, 1.0));
        let silences = run.record.silences.iter();
        let silences = silences.filter(|it| it.node == *node && later(&it.at));
        silence.push(
            silences
                .map(|it| it.at.since(*crashed_at))
                .max()
                .unwrap_or_default(),
        );
    }
    Detection {
        p50: quantile(p50s, 0.5),
        all: quantile(all, 1.0),
        silence: quantile(silence, 1.0),
    }
}

/// False deaths and silences.
#[derive(Clone, Copy, Debug)]
pub(super) struct FalseDeaths {
    pub(super) node_days: f64,
    pub(super) deaths: usize,
    /// Links that were considered silent and were not, in the same time.
    pub(super) silences: usize,
}

impl FalseDeaths {
    /// With none seen, fewer than this at 95 % confidence (the rule of three).
    pub(super) fn per_node_day(&self) -> String {
        let rate = |count: usize| count as f64 / self.node_days;
        match self.deaths {
            0 => format!("0 (below {:.0})", 3.0 / self.node_days),
            count => format!("{:.1}", rate(count)),
        }
    }
}

/// Lets a mesh run in which nobody dies.
pub(super) fn false_deaths(nodes: usize, loss: f64, seconds: u64) -> FalseDeaths {
    let mesh = Mesh {
        nodes,
        loss,
        per_second: 0.001,
        seconds,
        faults: String::new(),
    };
    let run = run::run_as(&mesh.scenario(), Setup::new(13));
    FalseDeaths {
        node_days: nodes as f64 * seconds as f64 / 86_400.0,
        deaths: run.record.deaths.len(),
        silences: run.record.silences.len(),
    }
}

/// What a mesh costs, in the product and in the simulator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) seconds: u64,
    pub(super) cpu: Option<f64>,
    pub(super) memory_mib: Option<u64>,
    pub(super) gossip: f64,
    pub(super) other: f64,
    pub(super) requests: usize,
    /// Links at the end; and opened, and opened again too soon, per minute.
    pub(super) links: f64,
    pub(super) opened: f64,
    pub(super) reopened: f64,
}

/// Runs a mesh of this size with a tenth of a request per second and node.
pub(super) fn cost(nodes: usize, seconds: u64) -> Cost {
    let mesh = Mesh {
        nodes,
        loss: 0.0,
        per_second: nodes as f64 / 10.0,
        seconds,
        faults: String::new(),
    };
    let before = cpu_seconds();
    let run = run::run_as(&mesh.scenario(), Setup::new(14));
    let node_minutes = nodes as f64 * seconds as f64 / 60.0;
    let per_minute = |count: u64| count as f64 / node_minutes;
    Cost {
        seconds,
        cpu: cpu_seconds()
            .zip(before)
            .map(|(after, before)| after - before),
        memory_mib: memory_peak_mib(),
        gossip: run.sent.gossip,
        other: run.sent.other,
        requests: run.counts().requests,
        links: run.links,
        opened: per_minute(run.record.tally.links_opened),
        reopened: per_minute(run.record.tally.links_reopened),
    }
}

/// CPU time of this process so far; `None` where the system has no `/proc`.
fn cpu_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The most memory that this process held so far.
fn memory_peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1_024)
}

/// The mean first byte by second, of two runs as a ratio.
pub(super) fn ratio_over_time(run: &Run, ideal: &Run, seconds: u64) -> Vec<(f64, f64)> {
    // Two seconds at a time: few requests make a jagged line.
    const STEP: u64 = 2;
    let at = |second: u64| Instant::from_start(Duration::from_secs(second));
    let ratio = |second: u64| {
        let of = |run: &Run| run.record.mean_wait(at(second), at(second + STEP));
        let (mine, best) = of(run).zip(of(ideal))?;
        Some((
            second as f64,
            mine.as_secs_f64() / best.as_secs_f64().max(0.001),
        ))
    };
    (0..seconds)
        .step_by(STEP as usize)
        .filter_map(ratio)
        .collect()
}
