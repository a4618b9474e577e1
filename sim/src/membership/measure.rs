//! The measurements of an implementation: how fast a death and a value are known, what it costs, false deaths.
//!
//! One run: all nodes join by two seeds, the mesh settles, is watched in calm, then some nodes publish a
//! value and later some crash, far enough apart not to disturb each other.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::model::draw;
use super::{Carrier, Entry, Membership, NodeIndex, Observation, Observed};

/// What is measured, and in which network.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Nodes in the mesh.
    pub nodes: u32,
    /// The share of messages that are lost.
    pub loss: f64,
    /// Seeds everything that is random.
    pub seed: u64,
    /// How long the mesh settles before anything is measured.
    pub settling: Duration,
    /// How long it is watched in calm.
    pub calm: Duration,
    /// Values that are published, one after another.
    pub values: u32,
    /// Nodes that crash, one after another; fewer than `nodes`.
    pub crashes: u32,
    /// How long to wait for each value and each crash.
    pub patience: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// How long each survivor took to detect each crash, the shortest first.
    pub detections: Vec<Duration>,
    /// How long each value took to reach each other node, the shortest first.
    pub propagations: Vec<Duration>,
    /// How long each value took to reach the last node, the shortest first.
    pub to_all: Vec<Duration>,
    /// The network's own time: the longest delay of one message.
    pub one_way_max: Duration,
    /// Bytes that a node sends each second in calm, on average.
    pub bytes_per_second: f64,
    /// Bytes that a node has sent when the mesh has settled, on average: what joining costs.
    pub bytes_to_settle: f64,
    /// Messages that a node sends each second in calm, on average.
    pub messages_per_second: f64,
    /// When the last node knew all others; `None` if that never happened.
    pub converged: Option<Duration>,
    /// Live nodes that were considered dead.
    pub false_deaths: usize,
    /// Deaths that a node never detected, and values that a node never received.
    pub missed: usize,
    /// A number that two runs share only if every observation was the same.
    pub digest: u64,
}

/// Nodes start one after another, this far apart.
const START_TIME: Duration = Duration::from_millis(7);

/// The length of a value with its signature.
const VALUE_BYTES: usize = 330;

/// The quantile of sorted `spans` at `share`, as in p50 and p99.
pub fn quantile(spans: &[Duration], share: f64) -> Duration {
    let rank = (spans.len() as f64 * share).ceil() as usize;
    let span = spans.get(rank.clamp(1, spans.len().max(1)) - 1);
    span.copied().unwrap_or_default()
}

/// Runs a trial.
pub fn run(trial: &Trial, membership: &mut dyn Membership) -> Figures {
    let mut run = Run {
        trial: *trial,
        membership,
        network: Ring::new(trial.nodes, trial.loss, trial.seed ^ 0x6e65_7477),
        rng: ChaCha8Rng::seed_from_u64(trial.seed),
        now: Instant::START,
        figures: Figures::default(),
        known: 0,
        crashed: Vec::new(),
    };
    run.figures.digest = 0xcbf2_9ce4_8422_2325;
    run.figures.one_way_max = run.network.one_way_max();
    run.start();
    run.settle();
    run.publish_values();
    run.crash_some();
    let figures = &mut run.figures;
    figures.detections.sort();
    figures.propagations.sort();
    figures.to_all.sort();
    run.figures
}

struct Run<'a> {
    trial: Trial,
    membership: &'a mut dyn Membership,
    network: Ring,
    rng: ChaCha8Rng,
    now: Instant,
    figures: Figures,
    /// Pairs of which one counts the other as a member.
    known: usize,
    crashed: Vec<NodeIndex>,
}

impl Run<'_> {
    fn start(&mut self) {
        let seeds = [NodeIndex(0), NodeIndex(1)];
        for index in 0..self.trial.nodes {
            let node = NodeIndex(index);
            let entries: Vec<Entry> = ["cert", "node", "phase", "up.primary"]
                .into_iter()
                .map(|key| self.entry(key, if key == "cert" { 850 } else { VALUE_BYTES }))
                .collect();
            // Started within some months, in milliseconds, as the product numbers its generations.
            let generation = Generation(1_790_000_000_000 + self.rng.next_u64() % 10_000_000_000);
            self.membership
                .join(self.now, node, generation, &seeds, &entries);
            self.pass(START_TIME);
        }
    }

    fn settle(&mut self) {
        let everybody = self.trial.nodes as usize * (self.trial.nodes as usize - 1);
        let end = self.now + self.trial.settling;
        while self.now < end {
            self.pass(Duration::from_millis(100));
            if self.known == everybody && self.figures.converged.is_none() {
                self.figures.converged = Some(self.now.since_start());
            }
        }
        let before = self.sent();
        self.figures.bytes_to_settle = before.1 as f64 / f64::from(self.trial.nodes);
        self.pass(self.trial.calm);
        let after = self.sent();
        let node_seconds = f64::from(self.trial.nodes) * self.trial.calm.as_secs_f64();
        self.figures.messages_per_second = (after.0 - before.0) as f64 / node_seconds;
        self.figures.bytes_per_second = (after.1 - before.1) as f64 / node_seconds;
    }

    fn publish_values(&mut self) {
        for _ in 0..self.trial.values {
            let node = self.draw_node();
            let published = self.entry("up.primary", VALUE_BYTES);
            let since = self.now;
            self.membership.set(since, node, published.clone());
            let mut spans = Vec::new();
            for observation in self.pass(self.trial.patience) {
                if matches!(&observation.what, Observed::Value { entry, .. } if *entry == published)
                {
                    spans.push(observation.at.since(since));
                }
            }
            let others = self.trial.nodes as usize - 1;
            self.figures.missed += others - spans.len().min(others);
            self.figures.to_all.extend(spans.iter().max());
            self.figures.propagations.extend(spans);
        }
    }

    fn crash_some(&mut self) {
        for crash in 0..self.trial.crashes {
            let node = loop {
                let node = self.draw_node();
                if !self.crashed.contains(&node) {
                    break node;
                }
            };
            // At different moments of a round.
            self.pass(Duration::from_millis(u64::from(crash) * 37));
            let since = self.now;
            self.crashed.push(node);
            self.membership.crash(since, node);
            let mut spans = Vec::new();
            for observation in self.pass(self.trial.patience) {
                if observation.what == (Observed::Down { node }) {
                    spans.push(observation.at.since(since));
                }
            }
            let others = self.trial.nodes as usize - self.crashed.len();
            self.figures.missed += others - spans.len().min(others);
            self.figures.detections.extend(spans);
        }
    }

    fn draw_node(&mut self) -> NodeIndex {
        NodeIndex(draw::below(self.trial.nodes as usize, &mut self.rng) as u32)
    }

    /// A value that looks like the product's: JSON, and a signature that cannot be compressed.
    fn entry(&mut self, key: &str, bytes: usize) -> Entry {
        let mut value = format!(
            r#"{{"g":1790000000000,"v":{},"d":{{"state":"ready","models":{{"gpt-4o":310}},"inflight":{},"tier":1}},"s":""#,
            self.rng.next_u64() % 1_000,
            self.rng.next_u64() % 64,
        );
        let signature = if bytes > 512 { bytes - 40 } else { 86 };
        for _ in 0..signature {
            let symbol = draw::below(64, &mut self.rng) as u8;
            value.push(char::from(b'0' + symbol));
        }
        while value.len() < bytes {
            value.push_str(r#","err":0"#);
        }
        Entry {
            key: key.into(),
            value: value.into(),
        }
    }

    fn sent(&self) -> (u64, u64) {
        let all = (0..self.trial.nodes).map(|node| self.membership.sent(NodeIndex(node)));
        all.fold((0, 0), |(messages, bytes), sent| {
            (messages + sent.messages, bytes + sent.bytes)
        })
    }

    fn pass(&mut self, span: Duration) -> Vec<Observation> {
        let until = self.now + span;
        let found = self
            .membership
            .advance(until, &mut self.network, &mut self.rng);
        self.now = until;
        for observation in &found {
            self.take(observation);
        }
        found
    }

    fn take(&mut self, observation: &Observation) {
        let digest = &mut self.figures.digest;
        mix(digest, observation.at.since_start().as_nanos() as u64);
        mix(digest, u64::from(observation.observer.0));
        match &observation.what {
            Observed::Up { node, generation } => {
                self.known += 1;
                mix(digest, u64::from(node.0));
                mix(digest, generation.0);
            }
            Observed::Down { node } => {
                self.known -= 1;
                mix(digest, u64::from(node.0));
                let is_crashed = |node| self.crashed.contains(node);
                if !is_crashed(node) && !is_crashed(&observation.observer) {
                    self.figures.false_deaths += 1;
                }
            }
            Observed::Value { author, entry, .. } => {
                mix(digest, u64::from(author.0));
                for byte in entry.key.bytes().chain(entry.value.bytes()) {
                    mix(digest, u64::from(byte));
                }
            }
        }
    }
}

/// FNV-1a over eight bytes.
fn mix(digest: &mut u64, word: u64) {
    for byte in word.to_le_bytes() {
        *digest = (*digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

/// Nodes in regions on a ring, with a delay that grows with the way around it.
#[derive(Debug)]
pub struct Ring {
    nodes: u32,
    loss: f64,
    rng: ChaCha8Rng,
}

/// Regions on the ring; nodes are spread over them evenly.
const REGIONS: u32 = 16;

/// The delay within a region, and around half of the ring beside it.
const NEAR: Duration = Duration::from_millis(2);
const FAR: Duration = Duration::from_millis(118);

/// The most that is added to a delay, as a share of it.
const JITTER: f64 = 0.1;

impl Ring {
    /// A ring of `nodes` that loses the share `loss` of messages.
    pub fn new(nodes: u32, loss: f64, seed: u64) -> Self {
        Self {
            nodes,
            loss,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The longest delay.
    pub fn one_way_max(&self) -> Duration {
        let far = REGIONS.min(self.nodes) / 2;
        delay(far).mul_f64(1.0 + JITTER)
    }
}

fn delay(regions: u32) -> Duration {
    NEAR + FAR * (2 * regions) / REGIONS
}

impl Carrier for Ring {
    fn carry(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
        _bytes: usize,
    ) -> Option<Instant> {
        let (lot, jitter) = (draw::unit(&mut self.rng), draw::unit(&mut self.rng));
        let apart = (from.0 % REGIONS).abs_diff(to.0 % REGIONS);
        let around = apart.min(REGIONS - apart);
        let delay = delay(around).mul_f64(1.0 + JITTER * jitter);
        (lot >= self.loss).then(|| now + delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_of_a_hundred_is_the_one_at_its_rank() {
        let spans: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&spans, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&spans, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&spans, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn lossy_ring_loses_about_its_share() {
        let mut ring = Ring::new(10, 0.2, 1);
        let mut carry = || ring.carry(Instant::START, NodeIndex(1), NodeIndex(2), 100);
        let lost = (0..10_000).filter(|_| carry().is_none()).count();
        assert!((1_800..2_200).contains(&lost), "{lost}");
    }
}
