//! Conversations at three engines with a queue and a cache of prefixes each: how soon their answers begin, and how much
//! of their prompts comes from caches, by who chooses the engine.
//!
//! The engines are vLLM-like mocks ([`EngineSettings`]) behind three nodes. The load is open: conversations take their
//! turns at times drawn before (Poisson), whatever is answered late. Groups of them begin with the same long system
//! prompt, and each turn has all turns before it. Whoever chooses, requests enter at the same nodes and take the same
//! ways: a choice other than grapevine's own is made by the client, which names the upstream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{EventStream, Next, http};
use crate::dice::Dice;
use crate::mesh::Mesh;
use crate::mock::Mock;
use crate::network::Link;
use crate::wait::must;

/// The model that all engines serve.
pub const MODEL: &str = "mock-7b";

/// The nodes, each in a region of its own where there are three.
pub const NODES: [&str; 3] = ["usa", "eur", "sgp"];

/// Of ten conversations so many enter at each node: regions differ.
const ENTRIES: [usize; 3] = [5, 3, 2];

/// What a datagram takes between two regions.
const DELAY: Duration = Duration::from_millis(30);

/// Turns of a conversation.
const TURNS: usize = 8;

/// Conversations that share a system prompt.
const GROUP: usize = 6;

/// Bytes of a system prompt, some 2,000 tokens.
const SYSTEM_BYTES: usize = 8_000;

/// Bytes of what a user says.
const USER_BYTES: usize = 1_200;

/// The share of the newest in the moving average of a plain latency.
const GAIN: f64 = 0.3;

/// Of so many requests one explores, under plain latency.
const EXPLORED: usize = 20;

/// How fast the engines are.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// Requests that run at once.
    pub slots: u32,
    /// What 1,000 tokens take to read that are not cached.
    pub prefill: Duration,
    /// Tokens of an answer.
    pub words: u32,
    /// Between two of them.
    pub pause: Duration,
    /// Blocks of 16 tokens in each cache.
    pub cache_blocks: u32,
}

/// Who chooses the engine of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// The node that it enters at.
    Grapevine,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight, as the client knows them of all.
    LeastInFlight,
    /// The one whose first bytes have come soonest from here.
    PlainLatency,
}

impl Chooser {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Grapevine,
        Self::RoundRobin,
        Self::LeastInFlight,
        Self::PlainLatency,
    ];

    /// Its name in a table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grapevine => "grapevine",
            Self::RoundRobin => "round robin",
            Self::LeastInFlight => "least in flight",
            Self::PlainLatency => "plain latency",
        }
    }
}

/// How much is asked, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Conversations {
    /// Requests a second, over all nodes.
    pub rate: f64,
    /// How many requests.
    pub requests: usize,
    /// Seed of the times and of who speaks.
    pub seed: u64,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct EngineTurn {
    /// Its place in the order in which they were sent.
    pub number: usize,
    /// Time to the first token.
    pub ttft: Duration,
    /// The status.
    pub status: u16,
    /// Who answered.
    pub upstream: String,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Those of them that came from a cache.
    pub cached: u64,
}

/// Three engines behind three nodes.
#[derive(Debug)]
pub struct EngineMesh {
    /// The nodes.
    pub mesh: Mesh,
    /// The engines, in the order of [`NODES`].
    pub mocks: Vec<Mock>,
}

impl EngineMesh {
    /// Starts engines and nodes; in three regions [`DELAY`] apart, or in one.
    ///
    /// # Panics
    ///
    /// When one of them does not start.
    pub async fn start(settings: EngineSettings, in_one_region: bool) -> Self {
        let mut mocks = Vec::new();
        for name in NODES {
            mocks.push(engine(name, settings).await);
        }
        let mut builder = Mesh::builder();
        for (name, mock) in NODES.into_iter().zip(&mocks) {
            let over = json!({"provider": "vllm", "max_in_flight": 1_000});
            builder = builder.node(name, |node| {
                let node = node.upstream_with(mock, over);
                node.region(if in_one_region { "eur" } else { name })
            });
        }
        let mesh = builder.behind_network().start().await;
        if !in_one_region {
            mesh.network().set_all(Link {
                delay: DELAY,
                ..Link::default()
            });
        }
        let engines = Self { mesh, mocks };
        engines.wait_for_figures().await;
        engines
    }

    /// Waits until each node knows what load each engine reports.
    async fn wait_for_figures(&self) {
        for node in self.mesh.nodes() {
            let wait = node.wait_for_view("reported loads", Duration::from_secs(20), |view| {
                NODES.iter().zip(&self.mocks).all(|(owner, mock)| {
                    let upstream = view.upstream(owner, mock.name());
                    upstream.is_some_and(|upstream| upstream["reported"].is_object())
                })
            });
            wait.await;
        }
    }

    /// Holds the conversations, and returns the answers in the order in which they were sent.
    ///
    /// # Panics
    ///
    /// When a client fails.
    pub async fn hold(&self, chooser: Chooser, conversations: Conversations) -> Vec<EngineTurn> {
        let urls = self.mesh.nodes().iter().map(|node| node.base_url());
        hold(chooser, conversations, urls.collect()).await
    }
}

/// Holds conversations with routers at `urls`, which choose by themselves or are told the upstream.
///
/// # Panics
///
/// When a client fails.
pub async fn hold(
    chooser: Chooser,
    conversations: Conversations,
    urls: Vec<String>,
) -> Vec<EngineTurn> {
    let mut dice = Dice::seeded(conversations.seed);
    let hall = Arc::new(Mutex::new(Hall::default()));
    let choice = Arc::new(Mutex::new(Choice::new(chooser, dice.split())));
    let mut clients = JoinSet::new();
    let mut due = Instant::now();
    for number in 0..conversations.requests {
        due += Duration::from_secs_f64(gap(&mut dice, conversations.rate));
        tokio::time::sleep_until(due).await;
        let conversation = lock(&hall).next_speaker(&mut dice);
        let (hall, choice) = (Arc::clone(&hall), Arc::clone(&choice));
        let url = urls[conversation.entry % urls.len()].clone();
        clients.spawn(async move {
            let (turn, conversation) = speak(&url, &choice, conversation).await;
            lock(&hall).rest(conversation);
            EngineTurn { number, ..turn }
        });
    }
    let mut turns = Vec::new();
    while let Some(turn) = clients.join_next().await {
        turns.push(must("a client", turn));
    }
    turns.sort_by_key(|turn| turn.number);
    turns
}

async fn engine(name: &str, settings: EngineSettings) -> Mock {
    let flags = [
        format!("--provider=vllm --engine-slots={}", settings.slots),
        format!("--engine-prefill={}us", settings.prefill.as_micros()),
        format!("--engine-cache-blocks={}", settings.cache_blocks),
        format!("--chunks={}", settings.words),
        format!("--chunk-interval={}us", settings.pause.as_micros()),
    ]
    .join(" ");
    let flags: Vec<&str> = flags.split(' ').collect();
    Mock::start_with(&format!("engine-{name}"), &[MODEL], &flags).await
}

/// Time to the next of events that come at random at this rate.
fn gap(dice: &mut Dice, rate: f64) -> f64 {
    const PARTS: usize = 1 << 30;
    let share = (dice.below(PARTS) as f64 + 0.5) / PARTS as f64;
    -share.ln() / rate
}

/// A conversation while nobody waits for an answer in it.
#[derive(Debug)]
struct Conversation {
    number: usize,
    entry: usize,
    turns: usize,
    messages: Vec<Value>,
}

/// The conversations that go on.
#[derive(Debug, Default)]
struct Hall {
    begun: usize,
    resting: std::collections::VecDeque<Conversation>,
}

/// Conversations that rest before another begins instead of going on.
const RESTING_MIN: usize = 24;

impl Hall {
    /// The one that has rested longest, or a new one.
    fn next_speaker(&mut self, dice: &mut Dice) -> Conversation {
        if self.resting.len() >= RESTING_MIN
            && let Some(conversation) = self.resting.pop_front()
        {
            return conversation;
        }
        let number = self.begun;
        self.begun += 1;
        let drawn = dice.below(ENTRIES.iter().sum());
        let entry =
            usize::from(drawn >= ENTRIES[0]) + usize::from(drawn >= ENTRIES[0] + ENTRIES[1]);
        let system = words(&format!("group {}", number / GROUP), SYSTEM_BYTES);
        Conversation {
            number,
            entry,
            turns: 0,
            messages: vec![json!({"role": "system", "content": system})],
        }
    }

    fn rest(&mut self, conversation: Conversation) {
        if conversation.turns < TURNS {
            self.resting.push_back(conversation);
        }
    }
}

/// A text of so many bytes that is all its own.
fn words(begin: &str, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    let mut number = 0;
    while text.len() < bytes {
        text += &format!("{begin}, sentence {number}. ");
        number += 1;
    }
    text
}

async fn speak(
    url: &str,
    choice: &Mutex<Choice>,
    mut conversation: Conversation,
) -> (EngineTurn, Conversation) {
    let begin = format!(
        "conversation {} turn {}",
        conversation.number, conversation.turns
    );
    let said = words(&begin, USER_BYTES);
    (conversation.messages).push(json!({"role": "user", "content": said}));
    let body = json!({
        "model": MODEL,
        "messages": conversation.messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        "user": format!("conversation-{}", conversation.number),
    });
    let upstream = lock(choice).choose(conversation.entry);
    let began = Instant::now();
    let mut request = http().post(format!("{url}/chat/completions")).json(&body);
    if let Some(upstream) = &upstream {
        request = request.header("x-grapevine-upstream", upstream);
    }
    let mut turn = EngineTurn {
        number: 0,
        ttft: Duration::ZERO,
        status: 0,
        upstream: String::new(),
        prompt: 0,
        cached: 0,
    };
    let mut answer = String::new();
    if let Ok(response) = request.send().await {
        let mut events = EventStream::of(response);
        turn.status = events.status;
        turn.upstream = events.header("x-grapevine-upstream").to_owned();
        while let Next::Event { data, .. } = events.next().await {
            if turn.ttft.is_zero() {
                turn.ttft = began.elapsed();
            }
            let Ok(event) = serde_json::from_str::<Value>(&data) else {
                continue;
            };
            answer += event["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or_default();
            let usage = &event["usage"];
            if let Some(prompt) = usage["prompt_tokens"].as_u64() {
                let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
                (turn.prompt, turn.cached) = (prompt, cached.unwrap_or_default());
            }
        }
    }
    if let Some(upstream) = upstream {
        lock(choice).ended(conversation.entry, &upstream, turn.ttft);
    }
    conversation.turns += 1;
    (conversation.messages).push(json!({"role": "assistant", "content": answer}));
    (turn, conversation)
}

/// What a client that chooses itself knows.
#[derive(Debug)]
struct Choice {
    chooser: Chooser,
    dice: Dice,
    next: usize,
    in_flight: BTreeMap<String, usize>,
    ttft: BTreeMap<(usize, String), f64>,
}

impl Choice {
    fn new(chooser: Chooser, dice: Dice) -> Self {
        let names = NODES.map(|name| (format!("engine-{name}"), 0));
        Self {
            chooser,
            dice,
            next: 0,
            in_flight: BTreeMap::from(names),
            ttft: BTreeMap::new(),
        }
    }

    fn choose(&mut self, entry: usize) -> Option<String> {
        let names: Vec<String> = self.in_flight.keys().cloned().collect();
        let begin = self.dice.below(names.len());
        let rotated = names.iter().cycle().skip(begin).take(names.len());
        let chosen = match self.chooser {
            Chooser::Grapevine => return None,
            Chooser::RoundRobin => {
                self.next += 1;
                names[self.next % names.len()].clone()
            }
            Chooser::LeastInFlight => {
                let least = rotated.min_by_key(|name| self.in_flight[*name]);
                least.cloned().unwrap_or_default()
            }
            Chooser::PlainLatency if self.dice.below(EXPLORED) == 0 => names[begin].clone(),
            Chooser::PlainLatency => {
                let known = |name: &String| {
                    let known = self.ttft.get(&(entry, name.clone()));
                    known.copied().unwrap_or_default()
                };
                let least = rotated.min_by(|one, other| known(one).total_cmp(&known(other)));
                least.cloned().unwrap_or_default()
            }
        };
        *self.in_flight.entry(chosen.clone()).or_default() += 1;
        Some(chosen)
    }

    fn ended(&mut self, entry: usize, upstream: &str, ttft: Duration) {
        if let Some(count) = self.in_flight.get_mut(upstream) {
            *count = count.saturating_sub(1);
        }
        let sample = ttft.as_secs_f64();
        let known = self.ttft.entry((entry, upstream.to_owned()));
        let mean = known.or_insert(sample);
        *mean += (sample - *mean) * GAIN;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a table says of answers.
#[derive(Clone, Copy, Debug)]
pub struct EngineFigures {
    /// Median time to the first token.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The share of tokens of prompts that came from caches.
    pub cached: f64,
    /// Answers that are none.
    pub failed: usize,
}

impl EngineFigures {
    /// Those of `turns`.
    #[must_use]
    pub fn of(turns: &[EngineTurn]) -> Self {
        let good = || {
            turns
                .iter()
                .filter(|turn| turn.status == 200 && turn.prompt > 0)
        };
        let mut times: Vec<Duration> = good().map(|turn| turn.ttft).collect();
        times.sort();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times
                .get(index.min(times.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let [prompt, cached]: [u64; 2] = [
            good().map(|turn| turn.prompt).sum(),
            good().map(|turn| turn.cached).sum(),
        ];
        Self {
            p50: at(0.5),
            p99: at(0.99),
            cached: cached as f64 / prompt.max(1) as f64,
            failed: turns.len() - times.len(),
        }
    }
}
