//! Measures rumors on a matrix of round trips: `rumors MATRIX.csv NODES LINKS FAN_OUT NEAREST LOSS`.
//!
//! The matrix has a head line of regions and a line of milliseconds for each. LINKS is `all` (everybody
//! is linked to everybody, as after hours of gossip), or the number of nearest nodes that each links to
//! beside 4 drawn ones (the product's warm set has 8).

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use grapevine_core::Instant;
use grapevine_core::ids::{Generation, Stamp};
use grapevine_sim::membership::measure::quantile;
use grapevine_sim::membership::rumors::{Policy, RumorInTransit, Rumors};
use grapevine_sim::membership::{Carrier, Entry, NodeIndex};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The way within a region.
const NEAR: Duration = Duration::from_micros(500);

/// Rumors that are measured.
const RUMORS: u32 = 48;

/// The most that is added to a delay, as a share of it.
const JITTER: f64 = 0.05;

/// Links of the warm set beside the nearest.
const OTHERS: usize = 4;

struct Regions {
    /// One-way delays between regions.
    ways: Vec<Vec<Duration>>,
    nodes: u32,
    loss: f64,
    rng: ChaCha8Rng,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, nodes, links, fan_out, nearest, loss] = arguments.as_slice() else {
        anyhow::bail!("usage: rumors MATRIX.csv NODES all|LINKS FAN_OUT NEAREST LOSS");
    };
    let mut regions = Regions {
        ways: read(&std::fs::read_to_string(file).context("cannot read the matrix")?),
        nodes: nodes.parse()?,
        loss: loss.parse()?,
        rng: ChaCha8Rng::seed_from_u64(1),
    };
    let policy = Policy {
        fan_out: fan_out.parse()?,
        nearest: nearest.parse()?,
        ..Policy::default()
    };
    let links = match links.as_str() {
        "all" => None,
        count => Some(count.parse()?),
    };
    let mut rumors = Rumors::new(policy, regions.nodes as usize);
    regions.link(&mut rumors, links);
    let figures = measure(&mut regions, &mut rumors);
    writeln!(
        std::io::stdout(),
        "{} : {figures}",
        arguments[1..].join(" ")
    )?;
    Ok(())
}

/// One-way delays; a missing one is that of the other direction, or far.
fn read(text: &str) -> Vec<Vec<Duration>> {
    let line = |line: &str| {
        let cells = line.split(',').skip(1).map(|cell| cell.trim().parse().ok());
        cells.collect::<Vec<Option<f64>>>()
    };
    let round_trips: Vec<_> = text.lines().skip(1).map(line).collect();
    let way = |from: usize, to: usize| {
        let there = round_trips[from].get(to).copied().flatten();
        let back = round_trips[to].get(from).copied().flatten();
        let millis = there.or(back).unwrap_or(200.0);
        Duration::from_secs_f64(millis / 2_000.0).max(NEAR)
    };
    let regions = 0..round_trips.len();
    regions
        .clone()
        .map(|from| regions.clone().map(|to| way(from, to)).collect())
        .collect()
}

impl Regions {
    fn way(&self, from: NodeIndex, to: NodeIndex) -> Duration {
        let region = |node: NodeIndex| node.at() % self.ways.len();
        self.ways[region(from)][region(to)]
    }

    fn all(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.nodes).map(NodeIndex)
    }

    fn link(&mut self, rumors: &mut Rumors, links: Option<usize>) {
        let mut linked = vec![BTreeSet::new(); self.nodes as usize];
        for node in self.all() {
            let mut peers: Vec<_> = self.all().filter(|peer| *peer != node).collect();
            peers.sort_by_key(|peer| (self.way(node, *peer), *peer));
            if let Some(nearest) = links {
                peers[nearest..].sort_by_cached_key(|_| self.rng.next_u64());
                peers.truncate(nearest + OTHERS);
            }
            for peer in peers {
                linked[node.at()].insert(peer);
                linked[peer.at()].insert(node);
            }
        }
        for (node, peers) in self.all().zip(linked) {
            let mut peers: Vec<_> = peers.into_iter().collect();
            peers.sort_by_key(|peer| (self.way(node, *peer), *peer));
            rumors.link(node, peers);
        }
    }
}

impl Carrier for Regions {
    fn carry(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        _bytes: usize,
    ) -> Option<Instant> {
        let mut unit = || (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let (lot, jitter) = (unit(), unit());
        let way = self.way(from, to).mul_f64(1.0 + JITTER * jitter);
        (lot >= self.loss).then(|| now + way)
    }
}

fn measure(regions: &mut Regions, rumors: &mut Rumors) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let members = regions.nodes as usize - 1;
    let farthest = |from, regions: &Regions| regions.all().map(|to| regions.way(from, to)).max();
    let longest = regions
        .all()
        .filter_map(|node| farthest(node, regions))
        .max();
    let longest = longest.unwrap_or_default();
    let (mut times, mut last, mut own, mut missed) = (vec![], vec![], vec![], 0);
    for number in 0..RUMORS {
        let author = NodeIndex(number % regions.nodes);
        let start = Instant::from_start(Duration::from_secs(u64::from(number) * 10));
        let rumor = RumorInTransit {
            author,
            stamp: Stamp {
                generation: Generation(1),
                version: u64::from(number) + 1,
            },
            entry: Entry {
                key: Arc::from("up.primary"),
                value: Arc::from("v".repeat(330)),
            },
        };
        rumors.push(start, rumor, regions, &mut rng);
        let mut spans = Vec::new();
        while let Some(at) = rumors.next_due() {
            for received in rumors.advance(at, regions) {
                rumors.relay(at, &received, members, regions, &mut rng);
                spans.push(received.at.since(start));
            }
        }
        missed += members - spans.len();
        // To 99 % of all, those that never receive it counted as late.
        let index = (members * 99).div_ceil(100) - 1;
        let span = spans.get(index).copied().unwrap_or(Duration::from_secs(10));
        own.push(span.div_duration_f64(farthest(author, regions).unwrap_or_default()));
        times.push(span);
        last.extend(spans.last());
    }
    times.sort();
    last.sort();
    own.sort_by(f64::total_cmp);
    let sent: u64 = regions.all().map(|node| rumors.sent(node).messages).sum();
    let ratio = |span: Duration| span.div_duration_f64(longest);
    format!(
        "longest way {:.0} ms; to 99 % p50 {:.2} max {:.2} of it (of the author's own longest: {:.2}, {:.2}); \
         to the last p50 {:.2}; missed {missed}; {:.1} messages per node and rumor",
        longest.as_secs_f64() * 1_000.0,
        ratio(quantile(&times, 0.5)),
        ratio(quantile(&times, 1.0)),
        own[own.len() / 2],
        own[own.len() - 1],
        ratio(quantile(&last, 0.5)),
        sent as f64 / f64::from(RUMORS) / f64::from(regions.nodes),
    )
}
