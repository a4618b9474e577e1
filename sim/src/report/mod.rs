//! The report: the measurements that the design needs, as Markdown with plots.

mod cost;
mod extent;
mod figures;
mod svg;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::policy::Policy;
use crate::run::{self, Run, percent, quantile};
use crate::scenario::Scenario;
use crate::summary::BASELINES;
use crate::world::Setup;
use extent::{Extent, QUICK, WHOLE};
use svg::{Axis, Labels, Series};

pub(crate) use extent::{Section, What};

const LOSSES: [f64; 3] = [0.0, 0.05, 0.2];

/// Where the report is written, and its text so far.
struct Report<'a, W> {
    folder: &'a Path,
    extent: &'a Extent,
    /// Of the meshes.
    sizes: Vec<usize>,
    text: String,
    out: &'a mut W,
}

/// Measures everything or one part of it, and writes the report into `folder`.
pub(crate) fn write(
    folder: &Path,
    scenarios: &[(PathBuf, Arc<Scenario>)],
    what: &What,
    out: &mut impl Write,
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let extent = if what.quick { &QUICK } else { &WHOLE };
    let (least, most) = what.nodes.unwrap_or((0, u64::MAX));
    let sizes = extent.sizes.iter().copied();
    let mut report = Report {
        folder,
        extent,
        sizes: sizes
            .filter(|nodes| (least..=most).contains(&(*nodes as u64)))
            .collect(),
        text: String::from(HEAD),
        out,
    };
    let wants = |section: Section| what.only.is_none_or(|only| only == section);
    // First, while the process has held no other mesh.
    let cost = wants(Section::Cost).then(|| report.cost()).transpose()?;
    if wants(Section::Spread) {
        report.propagation()?;
    }
    if wants(Section::Deaths) {
        report.detection()?;
        report.false_deaths()?;
    }
    if wants(Section::Requests) {
        report.scenarios(scenarios)?;
    }
    report.push_line(&cost.unwrap_or_default());
    std::fs::write(folder.join("README.md"), report.text)
}

const HEAD: &str = "# What the simulator measured\n\n\
    Written by `cargo run --release -p grapevine-sim -- report`; equal in every run but for CPU and memory.\n\
    The core, its settings and the encodings are the product's; regions and round trips are those of\n\
    `sim/data`; membership is the model that a test holds to real chitchat.\n";

impl<W: Write> Report<'_, W> {
    fn push_line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn progress(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "{what}")?;
        self.out.flush()
    }

    fn plot(&mut self, name: &str, title: &str, svg: &str) -> io::Result<()> {
        std::fs::write(self.folder.join(name), svg)?;
        self.push_line(&format!("\n![{title}]({name})"));
        Ok(())
    }

    fn propagation(&mut self) -> io::Result<()> {
        self.push_line("\n## How a transition spreads\n");
        self.push_line("Time until 99 % of the nodes have received an ejection, as a multiple of the largest one-way delay of the mesh: the median over all transitions, and the slowest.\n");
        self.push_line("| nodes | largest one-way delay | gossip alone | with rumors | slowest with rumors | not reached |");
        self.push_line("| --- | --- | --- | --- | --- | --- |");
        let (mut alone_line, mut rumors_line) = (Vec::new(), Vec::new());
        self.progress("how a transition spreads")?;
        let transitions = self.extent.transitions;
        let few = (transitions / 4).max(1);
        let spreads = each(&self.sizes, |nodes| {
            let alone = figures::propagation(*nodes, false, few);
            (alone, figures::propagation(*nodes, true, transitions))
        });
        for (nodes, (alone, rumors)) in self.sizes.clone().iter().zip(spreads) {
            let delay = rumors.one_way_max.as_millis();
            let (slow, fast, worst) = (alone.multiple(), rumors.multiple(), rumors.multiple_max());
            let missed = alone.missed + rumors.missed;
            self.push_line(&format!(
                "| {nodes} | {delay} ms | {slow:.1} | {fast:.2} | {worst:.2} | {missed} |"
            ));
            alone_line.push((*nodes as f64, slow));
            rumors_line.push((*nodes as f64, fast));
        }
        let labels = Labels {
            title: "Spread of a transition to 99 % of nodes",
            x: "nodes",
            y: "multiples of the largest one-way delay",
        };
        let lines = [
            line("gossip alone", alone_line),
            line("with rumors", rumors_line),
        ];
        let svg = svg::lines(&labels, Axis::Logarithmic, &lines);
        self.plot("propagation.svg", labels.title, &svg)
    }

    fn detection(&mut self) -> io::Result<()> {
        self.push_line("\n## How soon a crash is detected\n");
        self.push_line("Gossip: until half of the others (p50), and the last of them, consider the node dead. Data path: until the last connected peer sends it no new work.\n");
        self.push_line(
            "| nodes | loss | p50, by gossip | all, by gossip | all, by the data path |",
        );
        self.push_line("| --- | --- | --- | --- | --- |");
        self.progress("how soon a crash is detected")?;
        let pairs = LOSSES.iter().flat_map(|loss| {
            let sizes = self.sizes.iter();
            // The largest mesh is measured without loss alone: each run takes a minute.
            let sizes = sizes.filter(move |nodes| **nodes <= 300 || *loss == 0.0);
            sizes.map(move |nodes| (*nodes, *loss))
        });
        let pairs: Vec<(usize, f64)> = pairs.collect();
        let kills = self.extent.kills;
        let found = each(&pairs, |(nodes, loss)| {
            figures::detection(*nodes, *loss, if *nodes > 300 { 1 } else { kills })
        });
        for ((nodes, loss), it) in pairs.iter().zip(&found) {
            let (p50, all, silence) = (seconds(it.p50), seconds(it.all), seconds(it.silence));
            self.push_line(&format!(
                "| {nodes} | {} | {p50} | {all} | {silence} |",
                percent(*loss)
            ));
        }
        let points = |loss: f64| -> Vec<(f64, f64)> {
            let pairs = pairs.iter().zip(&found);
            let these = pairs.filter(|((_, other), _)| *other == loss);
            these
                .map(|((nodes, _), it)| (*nodes as f64, it.all.as_secs_f64()))
                .collect()
        };
        let lines = LOSSES.map(|loss| line(&format!("{} loss", percent(loss)), points(loss)));
        let labels = Labels {
            title: "Until the last node considers a crashed one dead",
            x: "nodes",
            y: "seconds",
        };
        let svg = svg::lines(&labels, Axis::Logarithmic, &lines);
        self.plot("detection.svg", labels.title, &svg)
    }

    fn false_deaths(&mut self) -> io::Result<()> {
        let quiet = self.extent.quiet_seconds;
        self.push_line("\n## False alarms\n");
        self.push_line(&format!("Thirty nodes for {quiet} simulated seconds in which nobody dies. A false death counts once for each node that believes it; during a false silence the pair exchanges no new requests.\n"));
        self.push_line(
            "| loss | node-days | false deaths per node-day | false silences per node-hour |",
        );
        self.push_line("| --- | --- | --- | --- |");
        self.progress("false alarms")?;
        let found = each(&LOSSES, |loss| figures::false_deaths(30, *loss, quiet));
        for (loss, it) in LOSSES.into_iter().zip(found) {
            let silences = it.silences as f64 / (it.node_days * 24.0);
            let (days, deaths) = (it.node_days, it.per_node_day());
            self.push_line(&format!(
                "| {} | {days:.2} | {deaths} | {silences:.1} |",
                percent(loss)
            ));
        }
        Ok(())
    }

    fn scenarios(&mut self, scenarios: &[(PathBuf, Arc<Scenario>)]) -> io::Result<()> {
        self.push_line("\n## Requests\n");
        self.push_line(&format!("Every scenario with {} seeds. Lost: neither answer nor error by the deadline. Failed: an error. Broken off: the upstream or the entry died within an answer. Failover, as the client sees it: from its first attempt or refused connection to the attempt that answered, of requests that needed more than one. Each routing policy: the mean first byte as a multiple of the ideal oracle's, and the share of requests that failed where some did. The first five seconds, in which the mesh learns how fast its upstreams are, are in the last column.\n", self.extent.seeds));
        self.push_line("| scenario | requests | lost | failed | broken off | failover p50 / p99 | grapevine | priority list | round robin | least latency alone | while learning |");
        self.push_line("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        let mut failed = Vec::new();
        for (_, scenario) in scenarios {
            self.progress(&format!("scenario {}", scenario.name()))?;
            let share = self.scenario(scenario)?;
            failed.push((scenario.name().to_owned(), share * 100.0));
        }
        let labels = Labels {
            title: "Requests that failed, by scenario (none was lost)",
            x: "",
            y: "percent",
        };
        let svg = svg::bars(&labels, &failed);
        self.plot("failed.svg", labels.title, &svg)?;
        for name in ["provider-outage", "gray-failure", "hot-region"] {
            if let Some((_, scenario)) = scenarios.iter().find(|(_, it)| it.name() == name) {
                self.pictures(scenario)?;
            }
        }
        Ok(())
    }

    /// One row; returns the share of requests that failed.
    fn scenario(&mut self, scenario: &Arc<Scenario>) -> io::Result<f64> {
        let seeds: Vec<u64> = (1..=self.extent.seeds).collect();
        let all = |policy| -> Vec<Run> {
            let setup = |seed| Setup {
                policy,
                ..Setup::new(seed)
            };
            each(&seeds, |seed| run::run_as(scenario, setup(*seed)))
        };
        let mine = all(Policy::Grapevine);
        let ideal = all(BASELINES[0].0);
        let requests: usize = mine.iter().map(|run| run.counts().requests).sum();
        let failed: usize = mine.iter().map(|run| run.counts().failed).sum();
        let broken: u64 = mine.iter().map(|run| run.counts().broken).sum();
        let lost = mine.iter().filter_map(|run| run.violation.as_ref());
        let lost = lost
            .filter(|violation| violation.checker == "answered")
            .count();
        let answered = mine.iter().flat_map(|run| &run.record.answered);
        let spans: Vec<Duration> = answered.filter_map(|one| one.failover).collect();
        let failover = match spans.is_empty() {
            true => "-".to_owned(),
            false => format!(
                "{} / {}",
                seconds(quantile(spans.clone(), 0.5)),
                seconds(quantile(spans, 0.99))
            ),
        };
        let mut row = format!(
            "| {} | {requests} | {lost} | {failed} | {broken} | {failover} | {}",
            scenario.name(),
            ratio(&mine, &ideal)
        );
        for (policy, _) in &BASELINES[1..] {
            // A string takes everything.
            let _ = write!(row, " | {}", ratio(&all(*policy), &ideal));
        }
        let learning = |runs: &[Run]| -> f64 {
            runs.iter()
                .map(|run| run.mean_wait_of_learning().as_secs_f64())
                .sum()
        };
        let _ = write!(
            row,
            " | {:.2} |",
            learning(&mine) / learning(&ideal).max(0.001)
        );
        self.push_line(&row);
        Ok(failed as f64 / requests.max(1) as f64)
    }

    /// Regret over time, and where the load went.
    fn pictures(&mut self, scenario: &Arc<Scenario>) -> io::Result<()> {
        let of = |policy| {
            let setup = Setup {
                policy,
                ..Setup::new(1)
            };
            run::run_as(scenario, setup)
        };
        let ideal = of(Policy::Oracle);
        let mine = of(Policy::Grapevine);
        let alone = of(Policy::LeastLatencyAlone);
        let span = scenario.duration.as_secs();
        let lines = [
            line("grapevine", figures::ratio_over_time(&mine, &ideal, span)),
            line(
                "least latency alone",
                figures::ratio_over_time(&alone, &ideal, span),
            ),
        ];
        let title = format!(
            "{}: mean first byte over the ideal oracle's",
            scenario.name()
        );
        let labels = Labels {
            title: &title,
            x: "seconds",
            y: "ratio",
        };
        let svg = svg::lines(&labels, Axis::Linear, &lines);
        self.plot(&format!("regret-{}.svg", scenario.name()), &title, &svg)?;
        let rows: Vec<(String, Vec<u32>)> = (mine.record.heat.iter().zip(&scenario.nodes))
            .map(|(cells, region)| {
                (
                    scenario.atlas.region(*region).name.to_string(),
                    cells.clone(),
                )
            })
            .collect();
        let title = format!("{}: attempts by region and second", scenario.name());
        let labels = Labels {
            title: &title,
            x: "seconds",
            y: "",
        };
        self.plot(
            &format!("load-{}.svg", scenario.name()),
            &title,
            &svg::heat(&labels, &rows),
        )
    }
}

/// Does `work` for each item, all at once, and returns what came in the items' order.
fn each<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        // A thread that panicked has printed why: the report cannot go on without its measurements.
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn line(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series {
        name: name.to_owned(),
        points,
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}

/// The mean first byte of runs over that of others with the same seeds, and what failed.
fn ratio(runs: &[Run], ideal: &[Run]) -> String {
    let sum = |runs: &[Run]| -> f64 { runs.iter().map(|run| run.mean_wait().as_secs_f64()).sum() };
    let failed: usize = runs.iter().map(|run| run.counts().failed).sum();
    let requests: usize = runs.iter().map(|run| run.counts().requests).sum();
    let ratio = sum(runs) / sum(ideal).max(0.001);
    match failed {
        0 => format!("{ratio:.2}"),
        _ => format!(
            "{ratio:.2} ({} failed)",
            percent(failed as f64 / requests.max(1) as f64)
        ),
    }
}
