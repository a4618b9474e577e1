//! Limits settle by what the upstream billed: the ledger, the purse and the upstream's own count are one number.

use std::time::{Duration, Instant};

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{EventStream, chat_body, http, whole};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

/// Words of an answer.
const WORDS: u64 = 9;

/// What each request allows for its answer.
const MAX_TOKENS: u64 = 200;

const LIMIT: Duration = Duration::from_secs(30);

/// The key's tokens in any minute, and its budget in millionths of a dollar.
const TPM: u64 = 10_000_000;
const BUDGET: u64 = 100_000_000;

/// Millionths of a dollar for a token: of the prompt, of what of it was cached, of the answer.
const PRICE: [u64; 3] = [4, 1, 10];

/// `sgp` alone holds rights, and clients come to it alone. It has the upstream that fails; `jpn` has the one that bills.
async fn started(flaky: &Mock, billing: &Mock) -> Mesh {
    let key = json!([{"name": "app", "hash": KeyHash::of("app").to_string(), "tpm": TPM, "budget": "100usd/month"}]);
    let [input, cached_input, output] = PRICE;
    let prices =
        json!([{"model": MODEL, "input": input, "cached_input": cached_input, "output": output}]);
    Mesh::builder()
        .node("sgp", |node| {
            node.upstream_with(flaky, json!({"priority": 1}))
                .config("routing.strategy", json!("priority"))
                .config("keys", key)
                .config("prices", prices)
                .config("limits.nodes", json!(["sgp"]))
                .config("ledger.file", json!("usage.jsonl"))
        })
        .node("jpn", |node| {
            node.upstream_with(billing, json!({"priority": 2, "dialects": ["chat"]}))
                .config("limits.nodes", json!(["sgp"]))
        })
        .start()
        .await
}

/// What requests used, as the mock says and as follows from what was reserved.
#[derive(Debug, Default)]
struct Expected {
    requests: u64,
    /// Bytes of the bodies of requests that an upstream began to answer and reported nothing of.
    unreported_bytes: Vec<u64>,
}

impl Expected {
    async fn send(&mut self, node: &Node, path: &str, body: &Value) -> u16 {
        self.requests += 1;
        let url = format!("{}{path}", node.base_url());
        let request = http()
            .post(&url)
            .bearer_auth("app")
            .header("anthropic-version", "2023-06-01");
        must(&url, whole(request.json(body)).await).status
    }

    /// Begins a stream, and leaves it after its first event.
    async fn abandon(&mut self, node: &Node, body: &Value) {
        let mut stream = self.begin(node, body).await;
        let _ = stream.next().await;
    }

    /// A stream that the upstream breaks off.
    async fn read_broken(&mut self, node: &Node, body: &Value) {
        let stream = self.begin(node, body).await;
        let _ = stream.rest().await;
    }

    async fn begin(&mut self, node: &Node, body: &Value) -> EventStream {
        self.requests += 1;
        let bytes = body.to_string();
        self.unreported_bytes.push(bytes.len() as u64);
        let url = format!("{}/chat/completions", node.base_url());
        let request = http().post(&url).bearer_auth("app");
        let request = request.header("content-type", "application/json");
        EventStream::of(must(&url, request.body(bytes).send().await))
    }

    /// Tokens and millionths of a dollar, where `billed` is the mock's count: reported, and taken of the limits.
    fn sums(&self, billed: &Value) -> ([u64; 2], [u64; 2]) {
        let count = |name: &str| billed[name].as_u64().expect("a count");
        let (input, cached, output) = (count("input"), count("cached"), count("output"));
        let [input_price, cached_price, output_price] = PRICE;
        let cost = (input - cached) * input_price + cached * cached_price + output * output_price;
        let reported = [input + output, cost];
        let mut taken = reported;
        for bytes in &self.unreported_bytes {
            taken[0] += bytes + MAX_TOKENS;
            taken[1] += bytes * input_price + MAX_TOKENS * output_price;
        }
        (reported, taken)
    }
}

fn body(text: &str, stream: bool) -> Value {
    let mut body = chat_body(MODEL, text);
    body["max_tokens"] = json!(MAX_TOKENS);
    body["stream"] = json!(stream);
    body
}

/// What is left of the key's limits, by what each counts.
async fn left(node: &Node) -> [u64; 2] {
    let query = format!("/explain?client=127.0.0.1&model={MODEL}&key=app");
    let explained = node.admin(&query).await.json();
    let limits = explained["limits"].as_array().expect("limits");
    ["tokens", "budget"].map(|kind| {
        let limit = limits.iter().find(|limit| limit["of"] == kind);
        let left = limit.and_then(|limit| limit["left"]["all"].as_u64());
        left.unwrap_or_else(|| panic!("{kind}: {explained}"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_purse_and_the_upstreams_own_count_are_equal_to_the_token() {
    let flaky = Mock::start("flaky", &[MODEL]).await;
    let billing = Mock::start_with("billing", &[MODEL], &["--provider", "openai"]).await;
    billing.set(json!({"chunks": WORDS})).await;
    let mesh = started(&flaky, &billing).await;
    let node = &mesh["sgp"];
    let began = Instant::now();
    let mut expected = Expected::default();

    // Failed over: the nearer upstream fails each time, as long as it is asked.
    flaky.set(json!({"error_rate": 1.0})).await;
    // A prompt that the upstream caches from the second time on.
    let long = "one of two thousand words ".repeat(400);
    for index in 0..6 {
        let stream = index % 2 == 0;
        for (path, text) in [
            ("/chat/completions", "a short one"),
            ("/chat/completions", &long),
            // Translated, both ways: the upstream speaks chat alone.
            ("/messages", "of another dialect"),
        ] {
            let status = expected.send(node, path, &body(text, stream)).await;
            assert_eq!(status, 200, "{path}");
        }
    }
    let billed = billing.stats().await["billed"].clone();
    assert!(billed["cached"].as_u64() > Some(0), "{billed}");
    assert!(flaky.chats().await > 0, "nothing was failed over");

    // Cancelled, and broken off: nothing was reported of either.
    billing
        .set(json!({"chunks": 200, "chunk_interval": "50ms"}))
        .await;
    expected.abandon(node, &body("left alone", true)).await;
    billing
        .set(json!({"chunks": WORDS, "chunk_interval": "0ms", "cut_after_chunks": 3}))
        .await;
    expected.read_broken(node, &body("broken off", true)).await;
    // Failed everywhere: nothing was used.
    billing
        .set(json!({"cut_after_chunks": null, "error_rate": 1.0, "error_status": 500}))
        .await;
    let failed = expected
        .send(node, "/chat/completions", &body("refused", false))
        .await;
    assert!(failed >= 500, "{failed}");

    let billed = billing.stats().await["billed"].clone();
    let ([_, cost], taken) = expected.sums(&billed);
    wait_until(
        "the ledger has what the upstream billed",
        LIMIT,
        async || {
            let sums = node.admin("/usage?by=key").await.json()["total"].clone();
            let is_equal = sums["requests"] == expected.requests
                && sums["tokens_in"] == billed["input"]
                && sums["tokens_cached"] == billed["cached"]
                && sums["tokens_out"] == billed["output"]
                && sums["cost_usd"].as_str() == Some(&dollars(cost));
            match is_equal {
                true => Ok(()),
                false => Err(format!(
                    "{sums}, and {billed} for {} were billed",
                    dollars(cost)
                )),
            }
        },
    )
    .await;
    wait_until("the purses have what was used", LIMIT, async || {
        let [tokens, money] = left(node).await;
        // What was used is ready again after a minute.
        let is_old = began.elapsed() > Duration::from_secs(55);
        match (
            is_old || TPM - tokens == taken[0],
            BUDGET - money == taken[1],
        ) {
            (true, true) => Ok(()),
            _ => Err(format!(
                "{tokens} and {money} are left, {taken:?} were taken"
            )),
        }
    })
    .await;
}

/// Millionths of a dollar as the ledger writes them.
fn dollars(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
