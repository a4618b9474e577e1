//! The model of membership against real chitchat, and each against itself in another process.

use std::process::Command;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use grapevine_sim::membership::measure::{Figures, Ring, Trial, quantile, run};
use grapevine_sim::membership::{
    Membership, Model, NodeIndex, Observation, Observed, Real, Settings,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A round is the grain of both implementations: heartbeats and values move once in it, and the dead are looked for
/// once in it. Medians may differ by one, and the slowest of a few draws by two: repeated with other
/// seeds, either implementation differs from itself by as much.
const ROUND: Duration = Duration::from_millis(200);

/// Bytes may differ by this share: the model's digests lie on a line, and those of real chitchat are
/// compressed, the better the more there are.
const BYTES_TOLERANCE: f64 = 0.1;

/// Messages in calm may differ by this share: both send three rounds of three messages, but the dead,
/// and who is drawn, differ.
const MESSAGES_TOLERANCE: f64 = 0.05;

/// Joining may cost so much more or less: its deltas are cut and repeated by chance.
const JOINING_TOLERANCE: f64 = 0.25;

/// A constructor for so many nodes, from a seed.
type Make = fn(u32, u64) -> Box<dyn Membership>;

const ALL_MAKES: [Make; 2] = [real, model];

fn real(nodes: u32, seed: u64) -> Box<dyn Membership> {
    Box::new(Real::new(Settings::default(), nodes, seed))
}

fn model(nodes: u32, _seed: u64) -> Box<dyn Membership> {
    Box::new(Model::new(Settings::default(), nodes as usize))
}

fn trial(nodes: u32, loss: f64, seed: u64) -> Trial {
    Trial {
        nodes,
        loss,
        seed,
        settling: Duration::from_secs(6),
        calm: Duration::from_secs(3),
        values: 4,
        crashes: 3,
        patience: Duration::from_secs(4),
    }
}

fn assert_within(what: &str, spans: [&[Duration]; 2], share: f64, tolerance: Duration) {
    let [real, model] = spans.map(|spans| quantile(spans, share));
    assert!(
        real.abs_diff(model) <= tolerance,
        "{what}, {share} quantile: {real:?} of real chitchat, {model:?} of the model"
    );
}

fn assert_about(what: &str, real: f64, model: f64, tolerance: f64) {
    assert!(
        (model - real).abs() <= real * tolerance,
        "{what}: {real:.0} of real chitchat, {model:.0} of the model"
    );
}

fn assert_alike(real: &Figures, model: &Figures) {
    for (share, tolerance) in [(0.5, ROUND), (0.99, ROUND * 2)] {
        let detections = [&*real.detections, &*model.detections];
        assert_within("detection of a crash", detections, share, tolerance);
        let propagations = [&*real.propagations, &*model.propagations];
        assert_within("propagation of a value", propagations, share, tolerance);
    }
    let (before, now) = (real.bytes_per_second, model.bytes_per_second);
    assert_about("bytes per second", before, now, BYTES_TOLERANCE);
    let (before, now) = (real.messages_per_second, model.messages_per_second);
    assert_about("messages per second", before, now, MESSAGES_TOLERANCE);
    let (before, now) = (real.bytes_to_settle, model.bytes_to_settle);
    assert_about("bytes to settle", before, now, JOINING_TOLERANCE);
}

fn compare(nodes: u32, loss: f64) {
    let trial = trial(nodes, loss, 7);
    let [real, model] = ALL_MAKES.map(|make| run(&trial, make(nodes, trial.seed).as_mut()));
    for figures in [&real, &model] {
        assert_eq!(figures.missed, 0, "{nodes} nodes, {loss} lost");
        assert!(figures.converged.is_some(), "{nodes} nodes, {loss} lost");
    }
    assert_alike(&real, &model);
}

#[test]
fn model_is_like_real_chitchat_at_10_nodes() {
    compare(10, 0.0);
    compare(10, 0.2);
}

#[test]
fn model_is_like_real_chitchat_at_30_nodes() {
    compare(30, 0.1);
}

#[test]
#[ignore = "half a minute of CPU time in release: cargo test --release -p grapevine-sim -- --ignored 100"]
fn model_is_like_real_chitchat_at_100_nodes() {
    compare(100, 0.0);
    compare(100, 0.2);
}

#[test]
#[ignore = "in release only: cargo test --release -p grapevine-sim -- --ignored thousand"]
fn model_of_a_thousand_nodes_finds_everybody_and_the_dead() {
    let trial = Trial {
        settling: Duration::from_secs(40),
        values: 2,
        crashes: 1,
        patience: Duration::from_secs(30),
        ..trial(1_000, 0.05, 7)
    };
    let figures = run(&trial, model(1_000, 7).as_mut());
    assert_eq!(figures.missed, 0);
    assert!(figures.converged.is_some());
}

/// One node crashes and returns as a later incarnation after `away`; what the others observe of it.
fn observed_of_a_return(membership: &mut dyn Membership, away: Duration) -> Vec<Observation> {
    const NODES: u32 = 8;
    let mut network = Ring::new(NODES, 0.0, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let seeds = [NodeIndex(0)];
    let mut now = Instant::START;
    for node in (0..NODES).map(NodeIndex) {
        membership.join(now, node, Generation(1), &seeds, &[]);
    }
    let mut pass = |membership: &mut dyn Membership, span: Duration| {
        now = now + span;
        (now, membership.advance(now, &mut network, &mut rng))
    };
    let (now, _) = pass(membership, Duration::from_secs(5));
    let returning = NodeIndex(5);
    membership.crash(now, returning);
    let (now, mut found) = pass(membership, away);
    membership.join(now, returning, Generation(2), &seeds, &[]);
    found.extend(pass(membership, Duration::from_secs(5)).1);
    let is_about = |observation: &Observation| match observation.what {
        Observed::Up { node, .. } | Observed::Down { node } => node == returning,
        Observed::Value { .. } => false,
    };
    found.retain(|observation| is_about(observation) && observation.observer != returning);
    found
}

fn count(found: &[Observation], what: &Observed) -> usize {
    found.iter().filter(|one| one.what == *what).count()
}

#[test]
fn node_that_returns_at_once_is_a_member_throughout_and_as_its_later_incarnation() {
    let node = NodeIndex(5);
    let generation = Generation(2);
    for make in ALL_MAKES {
        let found = observed_of_a_return(make(8, 3).as_mut(), Duration::from_millis(100));
        assert_eq!(count(&found, &Observed::Up { node, generation }), 7);
        assert_eq!(count(&found, &Observed::Down { node }), 0);
    }
}

#[test]
fn node_that_returns_after_seconds_was_dead_for_all() {
    let node = NodeIndex(5);
    let generation = Generation(2);
    for make in ALL_MAKES {
        let found = observed_of_a_return(make(8, 3).as_mut(), Duration::from_secs(4));
        assert_eq!(count(&found, &Observed::Up { node, generation }), 7);
        assert_eq!(count(&found, &Observed::Down { node }), 7);
    }
}

/// The digests of a run of each implementation.
fn digests(seed: u64) -> String {
    let trial = trial(6, 0.1, seed);
    let digest = |make: Make| {
        let figures = run(&trial, make(trial.nodes, seed).as_mut());
        format!("digest: {:016x}", figures.digest)
    };
    ALL_MAKES.map(digest).join(" ")
}

#[test]
#[ignore = "run by the test below, in processes of its own"]
fn prints_digests() {
    println!("\n{}", digests(11));
}

#[test]
fn run_is_the_same_in_every_process_and_another_with_another_seed() {
    let in_process = || {
        let program = std::env::current_exe().expect("a running program");
        let arguments = ["--exact", "prints_digests", "--ignored", "--nocapture"];
        let output = Command::new(program).args(arguments).output();
        let text = String::from_utf8(output.expect("it can be run").stdout).expect("text");
        let line = text.lines().find(|line| line.starts_with("digest: "));
        line.expect("a line with digests").to_owned()
    };
    let first = in_process();
    assert_eq!(first, in_process());
    // Also after another run in the same process.
    let other = digests(12);
    assert_eq!(first, digests(11));
    assert_ne!(first, other);
}
