//! Clients that keep asking, and a record of every request.
//!
//! A client has a list of all four nodes, its home first, as a user's program would. It asks its current node until
//! that answers, and moves to the next only when the demo killed that node. [`next`] classifies each try, from its
//! end and what the demo has killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::chat::{self, AnswerHeaders, TryEnd};
use super::region::{self, REGIONS};

/// Tries within one request; after these it is lost.
const TRIES_MAX: u32 = 8;

/// The pause after a try that failed because its node was killed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);

/// What the demo has broken, set before it is broken.
#[derive(Debug, Default)]
pub(super) struct Broken {
    nodes: [AtomicBool; REGIONS],
    upstreams: [AtomicBool; REGIONS],
}

impl Broken {
    /// Anything may be killed at any time, as a user may do.
    pub(super) fn anything() -> Self {
        let all = || std::array::from_fn(|_| AtomicBool::new(true));
        Self {
            nodes: all(),
            upstreams: all(),
        }
    }

    /// The node is about to be killed.
    pub(super) fn kill_node(&self, number: usize) {
        set(&self.nodes, number, true);
    }

    /// The upstream is about to die.
    pub(super) fn break_upstream(&self, number: usize) {
        set(&self.upstreams, number, true);
    }

    /// The upstream works again.
    pub(super) fn mend_upstream(&self, number: usize) {
        set(&self.upstreams, number, false);
    }

    fn is_killed(&self, node: usize) -> bool {
        get(&self.nodes, node)
    }

    /// Whether what served an answer has died: its node, or its upstream.
    fn has_died(&self, way: &AnswerHeaders) -> bool {
        let number = region::ALL.iter().position(|r| r.upstream == way.upstream);
        number.is_some_and(|number| get(&self.nodes, number) || get(&self.upstreams, number))
    }
}

fn set(flags: &[AtomicBool; REGIONS], number: usize, value: bool) {
    if let Some(flag) = flags.get(number) {
        flag.store(value, Ordering::SeqCst);
    }
}

fn get(flags: &[AtomicBool; REGIONS], number: usize) -> bool {
    flags
        .get(number)
        .is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// One request, from the user's question to its answer or loss.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// When it was asked, since the start of the load.
    pub(super) started: Duration,
    /// When it ended, since the start of the load.
    pub(super) ended: Duration,
    /// The node that it was sent to last.
    pub(super) entry: usize,
    /// Tries whose entry node had been killed; each was followed by a try at the next node.
    pub(super) entry_lost: u32,
    /// Streams that had begun when what served them was killed, and that ended with an error event or a broken
    /// connection, as they must; each was followed by another try.
    pub(super) interrupted: u32,
    /// How it ended.
    pub(super) end: RequestEnd,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RequestEnd {
    /// With a whole answer.
    Answered {
        way: AnswerHeaders,
        /// From asking to the first byte of the answer, over all tries.
        first_byte: Duration,
    },
    /// Without one.
    Lost { why: String },
}

/// What a client does after a try.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    End(RequestEnd),
    /// The entry node was killed: ask the next one.
    Move,
    /// What served the stream was killed: ask again.
    Again,
}

/// Decides what follows one try. `before` is the time that earlier tries took.
fn next(end: TryEnd, entry: usize, before: Duration, broken: &Broken) -> Next {
    let lost = |why: String| Next::End(RequestEnd::Lost { why });
    match end {
        TryEnd::Answered { way, first_byte } => Next::End(RequestEnd::Answered {
            way,
            first_byte: before + first_byte,
        }),
        TryEnd::NoAnswer { .. } if broken.is_killed(entry) => Next::Move,
        TryEnd::Broken { .. } if broken.is_killed(entry) => Next::Move,
        // An error event must have come: a bare break at a live node is a loss.
        TryEnd::Broken {
            way,
            is_reported: true,
            ..
        } if broken.has_died(&way) => Next::Again,
        TryEnd::NoAnswer { text } => lost(format!("no answer: {text}")),
        TryEnd::Broken {
            way,
            is_reported,
            text,
        } => {
            let how = if is_reported {
                "error event"
            } else {
                "broken off"
            };
            lost(format!("{how} from {}: {text}", way.upstream))
        }
        TryEnd::Refused { status, text } => lost(format!("status {status}: {text}")),
        TryEnd::Wrong { way, text } => lost(format!("wrong answer from {}: {text}", way.upstream)),
    }
}

/// The clients' number and pauses.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// How many there are, spread evenly over the nodes.
    pub(super) clients: usize,
    /// How long each waits after an answer, at least.
    pub(super) pause: Duration,
    /// What is added to the pause at most, by turns: clients that met the same fault would go on in step otherwise.
    pub(super) spread: Duration,
}

impl Pace {
    /// The pause of a client after its request number `count`.
    fn pause_after(&self, client: usize, count: u64) -> Duration {
        // Two steps without a common divisor with the number of turns: each client meets every one, in an order of
        // its own.
        let turn = (client as u64 * 5 + count * 7) % PAUSES;
        self.pause + self.spread.mul_f64(turn as f64 / (PAUSES - 1) as f64)
    }
}

/// Pauses of different lengths.
const PAUSES: u64 = 16;

/// Running clients. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Vec<Record>>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    base_urls: Vec<String>,
    start: Instant,
    pace: Pace,
    keep_records: bool,
    is_over: AtomicBool,
    broken: Broken,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    /// Starts clients at the nodes with these base URLs, in the order of the regions. Without `keep_records` only
    /// the counts are kept, for a load without an end.
    pub(super) fn start(
        http: reqwest::Client,
        base_urls: Vec<String>,
        pace: Pace,
        broken: Broken,
        keep_records: bool,
    ) -> Self {
        let shared = Arc::new(Shared {
            http,
            base_urls,
            start: Instant::now(),
            pace,
            keep_records,
            is_over: AtomicBool::new(false),
            broken,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let mut clients = JoinSet::new();
        for number in 0..shared.pace.clients {
            clients.spawn(client(number, Arc::clone(&shared)));
        }
        Self { shared, clients }
    }

    /// The time since the start, in which the records count.
    pub(super) fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// The record of killed parts, for the clients.
    pub(super) fn broken(&self) -> &Broken {
        &self.shared.broken
    }

    /// Requests answered and requests failed so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.shared.answered), count(&self.shared.failed))
    }

    /// Lets each client finish its request, and returns the records of all, in no order.
    pub(super) async fn finish(mut self) -> Vec<Record> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut records = Vec::new();
        while let Some(of_one) = self.clients.join_next().await {
            // A client that panicked would be a fault of the demo: its records are missing then.
            records.extend(of_one.unwrap_or_default());
        }
        records
    }
}

async fn client(number: usize, shared: Arc<Shared>) -> Vec<Record> {
    let nodes = shared.base_urls.len().max(1);
    let mut entry = number % nodes;
    let mut records = Vec::new();
    let mut count = 0_u64;
    while !shared.is_over.load(Ordering::SeqCst) {
        let record = request(number, count, &mut entry, &shared).await;
        match record.end {
            RequestEnd::Answered { .. } => shared.answered.fetch_add(1, Ordering::Relaxed),
            RequestEnd::Lost { .. } => shared.failed.fetch_add(1, Ordering::Relaxed),
        };
        if shared.keep_records {
            records.push(record);
        }
        let pause = shared.pace.pause_after(number, count);
        count += 1;
        tokio::time::sleep(pause).await;
    }
    records
}

/// One request with all its tries. Every second one is a stream.
async fn request(client: usize, count: u64, entry: &mut usize, shared: &Shared) -> Record {
    let started = shared.start.elapsed();
    let text = format!("Question {count} of client {client}: how far is it?");
    // Every second one of each client, and at any time about half of the clients of each node.
    let streamed = (count + (client / REGIONS) as u64).is_multiple_of(2);
    let words = crate::mock::Knobs::default().chunks;
    let (mut entry_lost, mut interrupted) = (0, 0);
    let mut end = RequestEnd::Lost {
        why: format!("no answer in {TRIES_MAX} tries"),
    };
    for _ in 0..TRIES_MAX {
        let before = shared.start.elapsed().saturating_sub(started);
        let base_url = shared.base_urls.get(*entry).map_or("", String::as_str);
        let tried = chat::ask(&shared.http, base_url, &text, streamed, words).await;
        match next(tried, *entry, before, &shared.broken) {
            Next::End(ended) => {
                end = ended;
                break;
            }
            Next::Move => {
                entry_lost += 1;
                *entry = (*entry + 1) % shared.base_urls.len().max(1);
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            Next::Again => interrupted += 1,
        }
    }
    Record {
        started,
        ended: shared.start.elapsed(),
        entry: *entry,
        entry_lost,
        interrupted,
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn way(upstream: &str) -> AnswerHeaders {
        AnswerHeaders {
            upstream: upstream.to_owned(),
            ..AnswerHeaders::default()
        }
    }

    fn broken_off(upstream: &str, is_reported: bool) -> TryEnd {
        TryEnd::Broken {
            way: way(upstream),
            is_reported,
            text: String::new(),
        }
    }

    fn is_lost(next: &Next) -> bool {
        matches!(next, Next::End(RequestEnd::Lost { .. }))
    }

    #[test]
    fn an_answer_after_other_tries_counts_their_time() {
        let end = TryEnd::Answered {
            way: way("usa-model"),
            first_byte: 3 * MS,
        };
        let Next::End(RequestEnd::Answered { first_byte, .. }) =
            next(end, 0, 4 * MS, &Broken::default())
        else {
            panic!("no answer")
        };
        assert_eq!(first_byte, 7 * MS);
    }

    #[test]
    fn a_client_takes_every_pause_in_turn_and_no_two_neighbours_the_same() {
        let pace = Pace {
            clients: 2,
            pause: 5 * MS,
            spread: 75 * MS,
        };
        let mut pauses: Vec<Duration> = (0..PAUSES).map(|n| pace.pause_after(0, n)).collect();
        assert_ne!(pace.pause_after(0, 0), pace.pause_after(1, 0));
        pauses.sort_unstable();
        pauses.dedup();
        assert_eq!(pauses.len() as u64, PAUSES);
        assert_eq!((pauses[0], pauses[15]), (5 * MS, 80 * MS));
    }

    #[test]
    fn a_failure_at_a_living_node_is_a_loss() {
        let broken = Broken::default();
        broken.kill_node(1);
        let failures = [
            TryEnd::NoAnswer {
                text: String::new(),
            },
            TryEnd::Refused {
                status: 503,
                text: String::new(),
            },
            TryEnd::Wrong {
                way: way("jpn-model"),
                text: String::new(),
            },
            broken_off("usa-model", true),
            broken_off("jpn-model", false),
        ];
        for end in failures {
            assert!(is_lost(&next(end.clone(), 0, MS, &broken)), "{end:?}");
        }
    }

    #[test]
    fn only_a_killed_entry_node_lets_a_client_move_on() {
        let broken = Broken::default();
        let no_answer = TryEnd::NoAnswer {
            text: String::new(),
        };
        assert!(is_lost(&next(no_answer.clone(), 2, MS, &broken)));
        broken.kill_node(2);
        assert_eq!(next(no_answer, 2, MS, &broken), Next::Move);
        assert_eq!(
            next(broken_off("eur-model", false), 2, MS, &broken),
            Next::Move
        );
    }

    #[test]
    fn an_error_answer_is_a_loss_even_from_a_node_about_to_be_killed() {
        let broken = Broken::default();
        broken.kill_node(2);
        let end = TryEnd::Refused {
            status: 502,
            text: String::new(),
        };
        assert!(is_lost(&next(end, 2, MS, &broken)));
    }

    #[test]
    fn a_reported_break_is_an_interruption_only_while_its_upstream_is_broken() {
        let broken = Broken::default();
        broken.break_upstream(1);
        let end = broken_off(region::ALL[1].upstream, true);
        assert_eq!(next(end.clone(), 0, MS, &broken), Next::Again);
        broken.mend_upstream(1);
        assert!(is_lost(&next(end.clone(), 0, MS, &broken)));
        broken.kill_node(1);
        assert_eq!(next(end, 0, MS, &broken), Next::Again);
    }
}
