//! Official SDKs against upstreams that fail: what their users see of each row of the manual's table of failures.
//!
//! Every row has a model and two upstreams of its own, some once for whole answers and once for streams: a node
//! remembers what an upstream did. A is preferred and plays the row; B answers, or plays it too. Clients enter at A's node, or
//! at B's, one hop away from A.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use grapevine_tests::mesh::{NodeBuilder, merge};
use grapevine_tests::script::run_client;
use grapevine_tests::scripted::{
    ScriptedReading, ScriptedRule, ScriptedStep, ScriptedUpstream, answers, chat_event, ends,
    goes_on, message_beginning, message_end, refuses, streams,
};
use grapevine_tests::{Mesh, Node};
use serde_json::{Value, json};

const KEY: &str = "sk-client-of-the-vine";
const KEY_HASH: &str = "sha256:abae901b3e7b4b79d817399c0d7e99906a767f2c56f39a96fa9e2e7d7a368a02";
const OTHER_KEY: &str = "sk-other-client-of-the-vine";
const OTHER_KEY_HASH: &str =
    "sha256:9c2402e2e34eac97cf20bb9ec1dc16f2a2a2e9fb3dd475ec558c85829ff1b952";

/// Upstreams of one node: gossip has room for about twice as many.
const PAIRS_OF_A_NODE: usize = 9;

/// How long a stream pauses, and how long its client waits for a byte: a node's comment comes every 15 seconds.
const PAUSE: Duration = Duration::from_secs(34);
const READ_LIMIT: Duration = Duration::from_secs(24);

/// A chat and a message, compressed with gzip, whose model and text are those of the row `coded_answer`.
const CODED_CHAT: &str = "H4sIAAAAAAACA22OTQrCMBCF7zLrVCouhFxFpMRkNNGYKZ2RCiV3d4K2K7fvfe9ngRTAgo9O/HPMnaeAAQzQ5Y5efs7Ok3ooiYpafkInCtnewFPx3KgWG1zhGadujpSxgZGSRwZ7WiCVgO9vBJndDcEuMDXOgmNOLK5Iy1ARLG3YdX9Kq4FrKonjoCdY71hgoRHq2cBrrR0nvSuD0AOLrh9b6/p/Uw8GhMTlTdj3tX4A5Yj2Mw4BAAA=";
const CODED_MESSAGE: &str = "H4sIAAAAAAACA22OQQoCMQxF75J1Z6WrXkWklGkYi510bFJGKb276aDgwlXg/fc/aRADWFh5cXMOGMCAvDYcCJn9ggpKTgN45sjiSRSt6iZlR8d54h3LtN+GaBSSoGr20r5jgs9RO44uTX96/WqAJW+uoOdMqiEFJ7UQfALGR0WadY9qSgbq8Z9tEGmr4iTfkRjsyUCu8kvOvb8BrjdDEugAAAA=";

/// The model of an upstream that lists it, and of none that has every model.
const MISSING: &str = "missing";

/// The prompt of a body that is refused before it is read. What a build without optimisation encrypts for a hop is
/// smaller, and yet more than sockets hold.
const LARGE_BYTES: usize = 12 << 20;
const LARGE_BYTES_OF_A_HOP: usize = 2 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    OpenAi,
    Anthropic,
}

/// Where clients enter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Own,
    Hop,
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_sdk_sees_the_right_end_of_every_failure() {
    judged(Api::OpenAi, Route::Own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_sdk_sees_the_right_end_of_every_failure_across_a_hop() {
    judged(Api::OpenAi, Route::Hop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_sdk_sees_the_right_end_of_every_failure() {
    judged(Api::Anthropic, Route::Own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_sdk_sees_the_right_end_of_every_failure_across_a_hop() {
    judged(Api::Anthropic, Route::Hop).await;
}

async fn judged(api: Api, route: Route) {
    let elsewhere = ScriptedUpstream::start("elsewhere", ScriptedReading::Whole, vec![]).await;
    let mut pairs = Vec::new();
    for row in rows(api, &elsewhere.url()) {
        for kind in row.kinds {
            pairs.push(Pair::start(&row, kind).await);
        }
    }
    let keys = json!([
        {"name": "app", "hash": KEY_HASH},
        {"name": "other", "hash": OTHER_KEY_HASH},
    ]);
    let mut builder = Mesh::builder();
    for (index, pairs) in pairs.chunks(PAIRS_OF_A_NODE).enumerate() {
        let (a, b) = names_of_nodes(index);
        builder = builder.node(&a, |node| {
            let node = node.config("keys", keys.clone());
            let upstreams = pairs.iter().map(Pair::upstream_a);
            upstreams.fold(node, NodeBuilder::raw_upstream)
        });
        builder = builder.node(&b, |node| {
            let node = node.config("keys", keys.clone());
            let upstreams = pairs.iter().map(Pair::upstream_b);
            upstreams.fold(node, NodeBuilder::raw_upstream)
        });
    }
    let mesh = builder.start().await;
    let entry = |index| {
        let (a, b) = names_of_nodes(index);
        &mesh[&*match route {
            Route::Own => a,
            Route::Hop => b,
        }]
    };
    let mut world = json!({
        "key": KEY, "other_key": OTHER_KEY, "elsewhere": elsewhere.url(),
        "read_limit": READ_LIMIT.as_secs(),
        "large": match route {
            Route::Own => LARGE_BYTES,
            Route::Hop => LARGE_BYTES_OF_A_HOP,
        },
        "rows": {},
    });
    for (index, pairs) in pairs.chunks(PAIRS_OF_A_NODE).enumerate() {
        for pair in pairs {
            world["rows"][&pair.name] = pair.shown(entry(index));
        }
    }
    let missing = Missing::start().await;
    world["rows"]["model_not_found-both"] = json!({
        "model": MISSING,
        "node": missing.mesh[match route {
            Route::Own => "all",
            Route::Hop => "listed",
        }].public_url(),
    });
    let api = match api {
        Api::OpenAi => "openai",
        Api::Anthropic => "anthropic",
    };
    let printed = run_client("judgement.py", &[api, &world.to_string()]).await;
    eprintln!("{printed}");
    let asked = missing.all.posts();
    assert!(
        (1..4).contains(&asked),
        "{asked} of 6 requests went to an upstream without the model"
    );
}

/// A mesh for one row: an upstream that claims to have every model, and lacks this one, goes first. It would be asked
/// about the models of all other rows too.
struct Missing {
    mesh: Mesh,
    all: ScriptedUpstream,
    _listed: ScriptedUpstream,
}

impl Missing {
    async fn start() -> Self {
        let text = "The model `m` does not exist or you do not have access to it.";
        let missing = error("invalid_request_error", "model_not_found", text);
        let all = ScriptedUpstream::always("all", refuses(404, "", &missing)).await;
        let listed = ScriptedUpstream::start("listed", ScriptedReading::Whole, vec![]).await;
        let second = json!({"priority": 2});
        let builder = Mesh::builder()
            .node("all", |node| node.raw_upstream(all.upstream(&["*"])))
            .node("listed", |node| {
                let mut upstream = listed.upstream(&[MISSING]);
                merge(&mut upstream, second);
                node.raw_upstream(upstream)
            });
        Self {
            mesh: builder.start().await,
            all,
            _listed: listed,
        }
    }
}

/// The nodes of A and of B of the same rows.
fn names_of_nodes(index: usize) -> (String, String) {
    (format!("a{index}"), format!("b{index}"))
}

/// What A does, and B where it is no good answer.
struct Row {
    name: &'static str,
    /// The kinds of answers that have upstreams of their own: `whole`, `stream`, or `both` together.
    kinds: &'static [&'static str],
    reading: ScriptedReading,
    a: Vec<ScriptedRule>,
    b: Vec<ScriptedRule>,
    /// The status and the body that the client is to see.
    refusal: Value,
    /// Keys of A's configuration.
    config: Value,
}

impl Row {
    /// A does the same with every request, and B answers.
    fn always(name: &'static str, steps: Vec<ScriptedStep>) -> Self {
        Self::when(name, "", steps)
    }

    /// A does this with requests that contain `text`, and B answers.
    fn when(name: &'static str, text: &'static str, steps: Vec<ScriptedStep>) -> Self {
        Self {
            name,
            kinds: &["both"],
            reading: ScriptedReading::Whole,
            a: vec![ScriptedRule { text, steps }],
            b: vec![],
            refusal: Value::Null,
            config: json!({}),
        }
    }

    /// A refuses every request so.
    fn refuses(name: &'static str, status: u16, body: Value) -> Self {
        let steps = refuses(status, "", &body);
        Self {
            refusal: json!({"status": status, "body": body}),
            ..Self::always(name, steps)
        }
    }

    fn answered(name: &'static str) -> Self {
        Self {
            a: vec![],
            ..Self::always(name, vec![])
        }
    }

    /// B does as A.
    fn everywhere(self) -> Self {
        let b = self.a.clone();
        Self { b, ..self }
    }

    /// A reads so.
    fn reading(self, reading: ScriptedReading) -> Self {
        Self { reading, ..self }
    }

    /// The first answer decides about the next ones: each kind has upstreams of its own.
    fn apart(self) -> Self {
        let kinds = &["whole", "stream"];
        Self { kinds, ..self }
    }

    fn whole(self) -> Self {
        let kinds = &["whole"];
        Self { kinds, ..self }
    }

    fn stream(self) -> Self {
        let kinds = &["stream"];
        Self { kinds, ..self }
    }
}

fn rows(api: Api, elsewhere: &str) -> Vec<Row> {
    let mut rows = accounts_and_identities();
    rows.extend(rates_and_ways(elsewhere));
    rows.extend(no_answers());
    rows.extend(bytes(api));
    rows
}

/// An error as OpenAI's API writes it.
fn error(kind: &str, code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

fn accounts_and_identities() -> Vec<Row> {
    let invalid = "invalid_request_error";
    let credit = "Your credit balance is too low to access the Anthropic API.";
    let quota = "You exceeded your current quota, please check your plan.";
    let limit = "Billing hard limit has been reached";
    let key = "Incorrect API key provided: sk-scri****pted.";
    let organization = "OpenAI-Organization header should match organization for API key";
    let project = "You have no access to the project that the header names";
    let policy = "Your request was rejected by our safety system";
    let anthropic = json!({"type": "error", "error": {"type": invalid, "message": credit}});
    let openrouter = json!({"error": {"code": 403, "message": "Input was flagged"}});
    let balance = error("unknown_error", invalid, "Insufficient Balance");
    let quota = error("insufficient_quota", "insufficient_quota", quota);
    let limit = error(invalid, "billing_hard_limit_reached", limit);
    let key = error(invalid, "invalid_api_key", key);
    let organization = error(invalid, "mismatched_organization", organization);
    let policy = error(invalid, "content_policy_violation", policy);
    vec![
        Row::refuses("payment_required", 402, balance).whole(),
        Row::refuses("insufficient_quota", 429, quota).stream(),
        Row::refuses("hard_limit", 400, limit).whole(),
        Row::refuses("credit_balance", 400, anthropic).stream(),
        Row::refuses("wrong_key", 401, key).whole(),
        Row::refuses("organization", 401, organization).everywhere(),
        Row::refuses("project", 403, error(invalid, "", project)).everywhere(),
        Row::refuses("flagged_400", 400, policy).everywhere(),
        Row::refuses("flagged_403", 403, openrouter).everywhere(),
    ]
}

fn rates_and_ways(elsewhere: &str) -> Vec<Row> {
    let limited = error("requests", "rate_limit_exceeded", "Rate limit reached");
    let failed = error("server_error", "", "The server had an error");
    let large = "the body is too large for this upstream";
    let large = error("invalid_request_error", "", large);
    let large = refuses(413, "connection: close\r\n", &large);
    let limited = |headers| refuses(429, headers, &limited);
    let redirect = format!("location: {elsewhere}/v1/chat/completions\r\n");
    let redirect = || answers(307, &redirect, "");
    let poison = Row::when("poison", "\"poison\"", refuses(500, "", &failed));
    // The other model of this row does not contain the text.
    let of_model = "rate_of_model";
    let of_model = Row::when(of_model, of_model, limited("retry-after: 120\r\n"));
    let hung = Row {
        config: json!({"timeout": {"first_byte": "1s"}}),
        ..Row::always("hung", vec![ScriptedStep::Hang])
    };
    vec![
        of_model,
        Row::always("rate_everywhere", limited("retry-after: 9\r\n")).everywhere(),
        poison.everywhere().apart(),
        Row::answered("stale").reading(ScriptedReading::OnceEach),
        Row::always("too_large", large).reading(ScriptedReading::HeadAlone),
        Row::always("redirect", redirect()).apart(),
        Row::always("redirect_everywhere", redirect()).everywhere(),
        hung.stream(),
    ]
}

fn no_answers() -> Vec<Row> {
    let hidden = error("server_error", "internal_error", "The engine is restarting");
    let first_event = [streams(&format!("data: {hidden}\n\n")), vec![ends()]].concat();
    let html = "<!doctype html><html><body>Sign in</body></html>";
    let answers = |kind, body| answers(200, &format!("content-type: {kind}\r\n"), body);
    vec![
        Row::refuses("error_body", 200, hidden).apart(),
        Row::always("first_event", first_event).stream(),
        Row::always("empty_body", answers("application/json", "")).whole(),
        Row::always("empty_stream", answers("text/event-stream", "")).stream(),
        Row::always("html", answers("text/html", html)).apart(),
    ]
}

fn bytes(api: Api) -> Vec<Row> {
    let (model, thinking) = (json!("m"), "a-pauses-stream");
    let delta = json!({"role": "assistant", "content": thinking});
    let (beginning, end, coded) = match api {
        Api::OpenAi => (
            chat_event(&model, &delta, None),
            chat_event(&model, &json!({}), Some("stop")) + "data: [DONE]\n\n",
            CODED_CHAT,
        ),
        Api::Anthropic => {
            let beginning = message_beginning(&model, thinking);
            (beginning, message_end(), CODED_MESSAGE)
        }
    };
    let begun = streams(&beginning);
    let rest = vec![ScriptedStep::Pause(PAUSE), goes_on(&end), ends()];
    let cut =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"id\":";
    let cut = vec![ScriptedStep::Send(cut.into()), ScriptedStep::Close];
    let cut_stream = [begun.clone(), vec![ScriptedStep::Close]].concat();
    let mut breaks = Row::when("breaks", "\"stream\":true", cut_stream);
    breaks.a.push(ScriptedRule {
        text: "",
        steps: cut,
    });
    let gzip = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let coded = BASE64_STANDARD.decode(coded).expect("base64");
    vec![
        breaks.apart(),
        Row::always("pauses", [begun, rest].concat()).stream(),
        Row::answered("name"),
        Row::answered("coded_request"),
        Row::always("coded_answer", answers(200, gzip, coded)).whole(),
        Row::answered("usage"),
    ]
}

/// A row's upstreams for one kind of answer.
struct Pair {
    name: String,
    models: Vec<String>,
    a: ScriptedUpstream,
    b: ScriptedUpstream,
    refusal: Value,
    config: Value,
}

impl Pair {
    async fn start(row: &Row, kind: &str) -> Self {
        let name = format!("{}-{kind}", row.name);
        let models = match row.name {
            "name" => vec![format!("größe 7 モデル {kind}")],
            "rate_of_model" => vec![name.clone(), format!("small {kind}")],
            _ => vec![name.clone()],
        };
        let (a, b) = (format!("a-{name}"), format!("b-{name}"));
        Self {
            a: ScriptedUpstream::start(&a, row.reading, row.a.clone()).await,
            b: ScriptedUpstream::start(&b, ScriptedReading::Whole, row.b.clone()).await,
            refusal: row.refusal.clone(),
            config: row.config.clone(),
            name,
            models,
        }
    }

    fn upstream_a(&self) -> Value {
        let models: Vec<&str> = self.models.iter().map(String::as_str).collect();
        let mut upstream = self.a.upstream(&models);
        merge(&mut upstream, self.config.clone());
        upstream
    }

    fn upstream_b(&self) -> Value {
        let mut upstream = self.b.upstream(&[&self.models[0]]);
        upstream["priority"] = json!(2);
        upstream
    }

    fn shown(&self, entry: &Node) -> Value {
        json!({
            "node": entry.public_url(), "admin": format!("http://{}", entry.addresses().admin),
            "model": self.models[0], "other_model": self.models.last(),
            "a": self.a.url(), "b": self.b.url(),
            "a_name": format!("a-{}", self.name), "b_name": format!("b-{}", self.name),
            "refusal": self.refusal,
        })
    }
}
