//! An inference engine behind the strict vLLM mock: requests wait for a slot, prompts take their time, prefixes are
//! cached.
//!
//! What of vLLM it has: at most `--max-num-seqs` requests run, and others wait in the order in which they came; prompts
//! are read one after the other, since all share one machine; what was read is kept in blocks of 16 tokens by the hash of
//! all up to their end, the least recently used goes first; and the page on its metrics. What it has not: blocks of
//! running requests are as easily dropped as others, so nothing is preempted, and generated tokens are not cached.
//!
//! Times are those of tokio's clock, which tests may stop.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Tokens of a block, as vLLM's default has it.
pub(super) const BLOCK_TOKENS: u64 = 16;

/// Bytes of a token of text.
const TOKEN_BYTES: u64 = 4;

/// How fast an engine is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Requests that run at once, at least 1.
    pub slots: u32,
    /// What reading 1,000 tokens takes that are not in the cache.
    pub prefill: Duration,
    /// Blocks of 16 tokens that the cache holds.
    pub cache_blocks: u32,
}

/// An engine, shared by all connections.
#[derive(Debug)]
pub(super) struct Engine {
    config: EngineConfig,
    slots: Arc<Semaphore>,
    reader: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cache: BlockCache,
    counts: EngineCounts,
}

/// What an engine counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct EngineCounts {
    pub(super) running: u32,
    pub(super) waiting: u32,
    pub(super) ended: u64,
    pub(super) prefill_seconds: f64,
    pub(super) queries: u64,
    pub(super) hits: u64,
    pub(super) prompt_tokens: u64,
}

/// A request that runs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct RunningRequest {
    engine: Arc<Engine>,
    /// The tokens of its prompt that were in the cache.
    pub(super) cached: u64,
    blocks: Vec<u64>,
    tokens: u64,
    _slot: OwnedSemaphorePermit,
}

impl Engine {
    pub(super) fn new(config: EngineConfig) -> Arc<Self> {
        let slots = config.slots.max(1) as usize;
        Arc::new(Self {
            config,
            slots: Arc::new(Semaphore::new(slots)),
            reader: Semaphore::new(1),
            state: Mutex::default(),
        })
    }

    /// Waits for a slot, and looks the prompt of `body` up in the cache.
    pub(super) async fn begin(self: &Arc<Self>, body: &[u8]) -> RunningRequest {
        let prompt = prompt(body);
        let waits = Waiting::begin(self);
        // Never closed; and first come, first served.
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        drop(waits);
        let (blocks, tokens) = blocks(&prompt);
        let mut state = self.state();
        let hits = state.cache.hits(&blocks);
        // The last token is always computed: it makes the first of the answer.
        let cached = (hits * BLOCK_TOKENS).min(tokens.saturating_sub(1));
        state.counts.running += 1;
        state.counts.queries += tokens;
        state.counts.hits += cached;
        state.counts.prompt_tokens += tokens;
        drop(state);
        RunningRequest {
            engine: Arc::clone(self),
            cached,
            blocks,
            tokens,
            _slot: slot,
        }
    }

    #[cfg(test)]
    fn counts(&self) -> EngineCounts {
        self.state().counts
    }

    /// The page on its metrics, as vLLM writes it.
    pub(super) fn metrics(&self, model: &str) -> String {
        let state = self.state();
        let counts = state.counts;
        let used = f64::from(counts.running) / f64::from(self.config.slots.max(1));
        drop(state);
        let gauges = [
            (
                "num_requests_running",
                "Number of requests in model execution batches.",
                f64::from(counts.running),
            ),
            (
                "num_requests_waiting",
                "Number of requests waiting to be processed.",
                f64::from(counts.waiting),
            ),
            (
                "kv_cache_usage_perc",
                "KV-cache usage. 1 means 100 percent usage.",
                used,
            ),
        ];
        let counters = [
            (
                "prefix_cache_queries",
                "Prefix cache queries, in terms of number of queried tokens.",
                counts.queries,
            ),
            (
                "prefix_cache_hits",
                "Prefix cache hits, in terms of number of cached tokens.",
                counts.hits,
            ),
            (
                "prompt_tokens",
                "Number of prefill tokens processed.",
                counts.prompt_tokens,
            ),
        ];
        let labels = format!("engine=\"0\",model_name=\"{model}\"");
        let mut page = String::new();
        // Writing to a String cannot fail.
        for (name, help, value) in gauges {
            let _ = write!(
                page,
                "# HELP vllm:{name} {help}\n# TYPE vllm:{name} gauge\nvllm:{name}{{{labels}}} {value:?}\n"
            );
        }
        for (name, help, value) in counters {
            let value = value as f64;
            let _ = write!(
                page,
                "# HELP vllm:{name}_total {help}\n# TYPE vllm:{name}_total counter\nvllm:{name}_total{{{labels}}} {value:?}\n"
            );
        }
        let ended = counts.ended as f64;
        let seconds = counts.prefill_seconds;
        let _ = write!(
            page,
            "# HELP vllm:request_success_total Count of successfully processed requests.\n\
             # TYPE vllm:request_success_total counter\n\
             vllm:request_success_total{{engine=\"0\",finished_reason=\"stop\",model_name=\"{model}\"}} {ended:?}\n\
             # HELP vllm:request_prefill_time_seconds Histogram of time spent in PREFILL phase for request.\n\
             # TYPE vllm:request_prefill_time_seconds histogram\n\
             vllm:request_prefill_time_seconds_bucket{{engine=\"0\",le=\"+Inf\",model_name=\"{model}\"}} {ended:?}\n\
             vllm:request_prefill_time_seconds_count{{{labels}}} {ended:?}\n\
             vllm:request_prefill_time_seconds_sum{{{labels}}} {seconds:?}\n"
        );
        page
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningRequest {
    /// Reads what of its prompt is not in the cache, behind those that came before it.
    pub(super) async fn prefill(&self) {
        let engine = &self.engine;
        let began = Instant::now();
        let turn = engine.reader.acquire().await;
        let turn = turn.expect("the semaphore is never closed");
        let tokens = self.tokens.saturating_sub(self.cached);
        let span = engine.config.prefill.mul_f64(tokens as f64 / 1_000.0);
        tokio::time::sleep(span).await;
        drop(turn);
        let mut state = engine.state();
        state.counts.prefill_seconds += began.elapsed().as_secs_f64();
        let room = engine.config.cache_blocks as usize;
        state.cache.keep(&self.blocks, room);
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        let mut state = self.engine.state();
        state.counts.running -= 1;
        state.counts.ended += 1;
    }
}

/// Counts a request that waits, until it is dropped.
struct Waiting<'a>(&'a Engine);

impl<'a> Waiting<'a> {
    fn begin(engine: &'a Engine) -> Self {
        engine.state().counts.waiting += 1;
        Self(engine)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().counts.waiting -= 1;
    }
}

/// Blocks by the hash of all text up to their end.
#[derive(Debug, Default)]
struct BlockCache {
    used_at: BTreeMap<u64, u64>,
    by_use: BTreeSet<(u64, u64)>,
    uses: u64,
}

impl BlockCache {
    /// How many of the first blocks it has, one after the other.
    fn hits(&mut self, blocks: &[u64]) -> u64 {
        let known = blocks
            .iter()
            .take_while(|block| self.used_at.contains_key(block));
        let known = known.count();
        self.use_all(&blocks[..known]);
        known as u64
    }

    fn keep(&mut self, blocks: &[u64], room: usize) {
        self.use_all(blocks);
        while self.used_at.len() > room
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.used_at.remove(&oldest);
        }
    }

    /// The last block of a prompt goes first: without those before it, none is worth anything.
    fn use_all(&mut self, blocks: &[u64]) {
        for block in blocks.iter().rev() {
            self.uses += 1;
            if let Some(before) = self.used_at.insert(*block, self.uses) {
                self.by_use.remove(&(before, *block));
            }
            self.by_use.insert((self.uses, *block));
        }
    }
}

/// The hashes of the full blocks of a prompt, and its tokens.
fn blocks(prompt: &str) -> (Vec<u64>, u64) {
    let mut hasher = DefaultHasher::new();
    let whole = prompt
        .as_bytes()
        .chunks_exact((BLOCK_TOKENS * TOKEN_BYTES) as usize);
    let blocks = whole.map(|block| {
        block.hash(&mut hasher);
        hasher.finish()
    });
    (blocks.collect(), prompt.len() as u64 / TOKEN_BYTES + 1)
}

/// The messages of a chat, one after the other; nothing where there are none.
fn prompt(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut prompt = body["model"].to_string();
    for message in messages {
        // Writing to a String cannot fail.
        let _ = writeln!(prompt, "{message}");
    }
    prompt
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn engine(slots: u32, cache_blocks: u32) -> Arc<Engine> {
        Engine::new(EngineConfig {
            slots,
            prefill: Duration::from_millis(100),
            cache_blocks,
        })
    }

    /// A chat of about so many tokens, that begins as others of the same `opening`.
    fn chat(opening: char, tokens: usize) -> Vec<u8> {
        let text: String = std::iter::repeat_n(opening, tokens * 4).collect();
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": "m", "messages": messages})
            .to_string()
            .into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn prompt_takes_time_for_each_token_that_is_not_cached() {
        let engine = engine(4, 1_000);
        let mut took = Vec::new();
        for tokens in [1_000, 1_000, 2_000] {
            let request = engine.begin(&chat('a', tokens)).await;
            let began = Instant::now();
            request.prefill().await;
            took.push((request.cached / BLOCK_TOKENS, began.elapsed().as_millis()));
        }
        assert_eq!(took, [(0, 101), (63, 1), (62, 102)]);
        let counts = engine.counts();
        assert_eq!((counts.running, counts.ended), (0, 3));
        assert_eq!(counts.hits, (63 + 62) * BLOCK_TOKENS);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_slots_wait_in_their_order() {
        let engine = engine(2, 1_000);
        let first = engine.begin(&chat('a', 10)).await;
        let _second = engine.begin(&chat('b', 10)).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (engine, order) = (Arc::clone(&engine), Arc::clone(&order));
                tokio::spawn(async move {
                    let request = engine.begin(&chat('c', 10)).await;
                    order.lock().expect("no panic").push(number);
                    request
                })
            })
            .collect();
        while engine.counts().waiting < 3 {
            tokio::task::yield_now().await;
        }
        let page = engine.metrics("m");
        assert!(page.contains("\nvllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 3.0\n"));
        assert!(page.contains("\nvllm:num_requests_running{engine=\"0\",model_name=\"m\"} 2.0\n"));
        drop(first);
        for waiter in waiters {
            drop(waiter.await.expect("no panic"));
        }
        assert_eq!(*order.lock().expect("no panic"), [0, 1, 2]);
        assert_eq!(engine.counts().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn prompts_are_read_one_after_the_other() {
        let engine = engine(4, 1_000);
        let began = Instant::now();
        let read = |opening| {
            let engine = Arc::clone(&engine);
            async move { engine.begin(&chat(opening, 1_000)).await.prefill().await }
        };
        tokio::join!(read('a'), read('b'), read('c'));
        assert_eq!(began.elapsed().as_millis(), 303);
    }

    #[tokio::test(start_paused = true)]
    async fn least_recently_used_blocks_go_first() {
        let engine = engine(1, 100);
        let cached = async |opening| {
            let request = engine.begin(&chat(opening, 640)).await;
            request.prefill().await;
            request.cached / BLOCK_TOKENS
        };
        assert_eq!((cached('a').await, cached('b').await), (0, 0));
        assert_eq!(cached('b').await, 40);
        // Of `a` those remain that `b` left room for, and `c` takes more of it.
        assert_eq!((cached('c').await, cached('a').await), (0, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_gives_up_leaves_the_queue() {
        let engine = engine(1, 100);
        let running = engine.begin(&chat('a', 10)).await;
        let gives_up = tokio::time::timeout(Duration::from_secs(1), engine.begin(b"{"));
        assert!(gives_up.await.is_err());
        assert_eq!(engine.counts().waiting, 0);
        drop(running);
        assert_eq!(engine.counts().running, 0);
    }
}
