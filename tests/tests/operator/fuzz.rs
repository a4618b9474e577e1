//! Every parser of foreign bytes, over inputs that were chosen and over changes of them by chance.
//!
//! Without instrumentation, so that it runs with all other tests; `tests/fuzz/run` runs the same targets guided
//! by coverage.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use grapevine_core::escrow::message::MessageBody;
use grapevine_proto::frame::decode_rights;
use grapevine_tests::dice::Dice;
use grapevine_tests::memory::peak_resident_bytes;
use grapevine_tests::mutation::Corpus;
use grapevine_tests::program::workspace;
use grapevine_tests::wait::must;
use targets::TARGETS;

/// How long each target is fed.
const TIME_PER_TARGET: Duration = Duration::from_secs(10);

/// Targets that are fed at once.
const THREADS: usize = 2;

/// The longest that one input may take, in a build that is not optimised and beside other work.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// What the process may have had at its worst. One filling of a template may make 32 MiB of values, of which
/// `node` allows three times over, in each thread.
const PEAK_BYTES_MAX: u64 = 384 * 1_024 * 1_024;

fn corpus(name: &str) -> Corpus {
    let fuzz = workspace().join("tests/fuzz");
    Corpus::read(
        &fuzz.join("corpus").join(name),
        &fuzz.join("tokens").join(name),
    )
}

/// What is wrong with `input`, which is kept as a file then.
fn find(name: &str, target: fn(&[u8]), input: &[u8]) -> Result<(), String> {
    let began = Instant::now();
    let outcome = catch_unwind(|| target(input));
    let took = began.elapsed();
    let what = match outcome {
        Ok(()) if took <= INPUT_TIME_MAX => return Ok(()),
        Ok(()) => format!("took {took:?}"),
        Err(_) => "panicked, see above".to_owned(),
    };
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = finds().join(format!("{name}-{:016x}", hasher.finish()));
    must("keeping an input", std::fs::write(&path, input));
    let path = path.display();
    Err(format!(
        "{name}: {what}; the input is {path}. To replay it: cp {path} tests/fuzz/corpus/{name}/ && \
         ./tests/run -p grapevine-tests --test fuzz whole_corpus"
    ))
}

/// Where inputs are kept.
fn finds() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let folder = target
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("fuzz/finds");
    must("making a folder", std::fs::create_dir_all(&folder));
    folder
}

#[test]
fn properties_hold_over_the_whole_corpus() {
    let mut problems = Vec::new();
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(corpus.inputs().len() >= 3, "{name} has hardly any inputs");
        let found = corpus
            .inputs()
            .iter()
            .map(|input| find(name, target, input));
        problems.extend(found.filter_map(Result::err));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn properties_hold_over_changes_of_the_corpus() {
    // The same inputs each time, so that what fails was broken by the change at hand; new ones are looked for by
    // hand, with `tests/fuzz/run` or another seed.
    let mut dice = Dice::of_environment_or(1);
    let queue = TARGETS.map(|(name, target)| (name, target, dice.split()));
    let queue = Mutex::new(queue.into_iter());
    let next = || must("taking a target", queue.lock()).next();
    let problems = std::thread::scope(|scope| {
        let feed_all = || {
            std::iter::from_fn(next)
                .filter_map(|(name, target, dice)| feed(name, target, dice).err())
                .collect::<Vec<_>>()
        };
        let threads = [(); THREADS].map(|()| scope.spawn(feed_all));
        threads.map(|thread| thread.join().unwrap_or_else(|_| panic!("a thread ended")))
    });
    assert!(
        problems.concat().is_empty(),
        "{}",
        problems.concat().join("\n")
    );
    let peak = peak_resident_bytes(std::process::id());
    assert!(peak <= PEAK_BYTES_MAX, "{peak} bytes at the worst");
}

#[test]
fn corpus_of_frames_has_a_message_about_rights_of_each_kind() {
    // The first byte selects what the others are.
    let inputs = corpus("frame");
    let read = inputs.inputs().iter().filter_map(|input| {
        let (kind, payload) = input.split_first()?;
        decode_rights(payload).ok().filter(|_| *kind == 5)
    });
    let kinds: BTreeSet<u8> = read
        .map(|message| match message.body {
            MessageBody::Ask(_) => 0,
            MessageBody::Grant(_) => 1,
            MessageBody::Hello(_) => 2,
            MessageBody::Testimony(_) => 3,
            MessageBody::Wrote { .. } => 4,
            MessageBody::Witnessed { .. } => 5,
        })
        .collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}

/// Feeds one target until its time is over or it finds something.
fn feed(name: &str, target: fn(&[u8]), mut dice: Dice) -> Result<(), String> {
    let corpus = corpus(name);
    let began = Instant::now();
    let mut inputs = 0_u64;
    while began.elapsed() < TIME_PER_TARGET {
        find(name, target, &corpus.draw(&mut dice))?;
        inputs += 1;
    }
    eprintln!("{name}: {inputs} inputs");
    Ok(())
}
