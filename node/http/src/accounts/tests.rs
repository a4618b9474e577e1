//! Calls on accounts: what is taken, what is given back, and what is reported.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use grapevine_base::call_body::CallBody;
use grapevine_base::driver::Driver;
use grapevine_base::exchange::Caller;
use grapevine_base::limits::{KeyPurses, LimitKind, LimitOrder, OpenLimit};
use grapevine_base::{clock, shown};
use grapevine_core::Engine;
use grapevine_core::account::{AccountSpec, QuotaScope};
use grapevine_core::engine::{Identity, Models, Probe, UpstreamSpec};
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::seats::Seats;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use grapevine_core::escrow::{Escrow, EscrowEffect, EscrowEvent, EscrowStart};
use grapevine_core::health::HealthPolicy;
use grapevine_core::ids::{Generation, ModelName, NodeName, RegionName};
use grapevine_core::outcome::{Finding, Outcome};
use grapevine_core::units::{Tier, Weight};
use grapevine_observe::metrics::Metrics;
use http::Method;
use tokio::sync::mpsc;

use super::*;

const USAGE: &str = r#"{"usage":{"prompt_tokens":30,"completion_tokens":20}}"#;

/// An upstream that gives these answers in turn, or fails.
#[derive(Clone)]
struct Fake(Arc<Mutex<Vec<FakeAnswer>>>);

/// Status, headers and body, or how the call ended without them.
type FakeAnswer = Result<(u16, HeaderMap, &'static str), Outcome>;

impl CallLocal for Fake {
    async fn call(&self, _: Box<Call>) -> Result<Answer, CallFailure> {
        let next = self.0.lock().expect("no panic").remove(0);
        let (status, headers, body) = next.map_err(|outcome| CallFailure::new(outcome, "down"))?;
        let body = Full::new(Bytes::from_static(body.as_bytes()));
        Ok(Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: headers.into(),
            body: AnswerBody::new(body.map_err(|never| match never {})),
            load: None,
            upload: None,
        })
    }
}

fn model() -> ModelName {
    ModelName::new("gpt-4o").expect("a name")
}

fn upstream(name: &str) -> UpstreamName {
    UpstreamName::new(name).expect("a name")
}

fn account() -> AccountName {
    AccountName::new("main").expect("a name")
}

fn call(name: &str, body: &'static str) -> Box<Call> {
    Box::new(Call {
        request_id: "r".into(),
        upstream: upstream(name),
        model: Some(model()),
        method: Method::POST,
        path: http::uri::PathAndQuery::from_static("/v1/chat/completions"),
        headers: Arc::default(),
        body: CallBody::from(Bytes::from_static(body.as_bytes())),
        stream: false,
        deadline: tokio::time::Instant::now() + Duration::from_secs(30),
        last_resort: false,
        allow_regions: Arc::from([]),
        caller: Caller::default(),
    })
}

/// Owns the rights of one node alone, as the node's own task does.
async fn own_rights(handle: LimitsHandle, clock: Clock, mut orders: mpsc::Receiver<LimitOrder>) {
    let own = NodeName::new("sgp").expect("a name");
    let seats = Seats::new(vec![own.clone()], &own).expect("one seat");
    let start = EscrowStart {
        wall: WallTime(clock::wall()),
        ..EscrowStart::default()
    };
    let mut escrow = Escrow::new(clock.now(), seats, start);
    // What is to be written is confirmed at once.
    let happen = |escrow: &mut Escrow, event: EscrowEvent| {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in escrow.handle(clock.now(), event) {
                if let EscrowEffect::Store(write) = effect {
                    events.push(EscrowEvent::Stored(write.number));
                }
            }
        }
    };
    let tick = |escrow: &mut Escrow| {
        let wall = WallTime(clock::wall());
        happen(escrow, EscrowEvent::Tick { wall });
    };
    tick(&mut escrow);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        let order = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => order,
                None => return,
            },
            _ = ticks.tick() => {
                tick(&mut escrow);
                handle.wake();
                continue;
            }
        };
        match order {
            LimitOrder::Empty(limit) => happen(&mut escrow, EscrowEvent::Empty(limit)),
            LimitOrder::Stop(_) => return,
            LimitOrder::Open {
                holder,
                specs,
                done,
            } => {
                let mut limits = KeyLimitsOf::default();
                for kind in LimitKind::ALL {
                    let Some(spec) = specs[kind as usize] else {
                        continue;
                    };
                    let id = holder.limit(kind, spec);
                    let purse = escrow.open(clock.now(), id, spec).expect("room");
                    limits[kind as usize] = Some(OpenLimit {
                        kind,
                        id,
                        purse,
                        opened_at: clock.now(),
                        refusals: Arc::default(),
                    });
                }
                // Of budgets a write is opened, and confirmed.
                for _ in 0..3 {
                    tick(&mut escrow);
                }
                let purses = Arc::new(KeyPurses::new(clock.now(), specs, limits));
                handle.publish(HashMap::from([(holder, Arc::clone(&purses))]));
                let _ = done.send(purses);
            }
        }
        handle.wake();
    }
}

type KeyLimitsOf = [Option<OpenLimit>; LimitKind::ALL.len()];

struct Bench {
    calls: AccountCalls<Fake>,
    answers: Fake,
}

impl Bench {
    /// A node whose upstream `paid` draws on an account with these limits, and `free` on none.
    async fn new(limits: &[(LimitKind, u64)]) -> Self {
        let clock = Clock::start();
        let identity = Identity {
            node: NodeName::new("sgp").expect("a name"),
            generation: Generation(1),
            region: RegionName::new("sgp").expect("a name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: grapevine_core::fact::Public::default(),
        };
        let (driver, handle, _outlets) = Driver::new(Engine::new(clock.now(), identity), clock);
        tokio::spawn(driver.run());
        let spec = UpstreamSpec {
            websocket: false,
            name: upstream("paid"),
            models: Models::Listed(vec![model()]),
            tier: Tier(1),
            weight: Weight::default(),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            attempts_max: 1,
            in_flight_max: 10,
            health: HealthPolicy::default(),
            probe: Probe::Off,
            probe_interval: Duration::from_secs(60),
            load_interval: None,
            account: Some(Arc::new(AccountSpec {
                name: account(),
                quota: QuotaScope::Account,
            })),
        };
        handle.send(Event::Configured(vec![spec])).await;
        let (rights, orders) = LimitsHandle::new();
        tokio::spawn(own_rights(rights.clone(), clock, orders));
        let mut specs = KeySpecs::default();
        for (kind, amount) in limits {
            specs[*kind as usize] = Some(LimitSpec {
                amount: *amount,
                window: match kind {
                    LimitKind::Money => LimitWindow::Day,
                    _ => LimitWindow::Minute,
                },
            });
        }
        let accounts = AccountTable::default();
        let settings = AccountSettings {
            name: account(),
            limits: (!limits.is_empty()).then(|| AccountLimits {
                specs,
                output_cap: 100,
                prices: Arc::default(),
            }),
        };
        accounts.replace(BTreeMap::from([(upstream("paid"), settings)]));
        let answers = Fake(Arc::default());
        let calls = AccountCalls {
            upstreams: answers.clone(),
            accounts,
            limits: rights,
            driver: handle,
            metrics: Metrics::new("sgp", "sgp").accounts(),
        };
        Self { calls, answers }
    }

    fn next(&self, status: u16, headers: &[(&'static str, &'static str)], body: &'static str) {
        let headers = headers.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let answer = Ok((status, headers.collect(), body));
        self.answers.0.lock().expect("no panic").push(answer);
    }

    async fn ask(&self, body: &'static str) -> Result<Answer, CallFailure> {
        self.calls.call(call("paid", body)).await
    }

    /// Waits until so much is left of the limit of `kind`: what is given back is there with the next tick.
    async fn is_left(&self, kind: LimitKind, expected: u64) {
        let holder = LimitHolder::Account("main".into());
        let purses = Arc::clone(&self.calls.limits.table()[&holder]);
        let left = || {
            let figures = purses.figures(self.calls.driver.now(), kind);
            figures.expect("a limit").remaining
        };
        let settled = async {
            while left() != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let limit = Duration::from_secs(30);
        let settled = tokio::time::timeout(limit, settled).await;
        assert!(settled.is_ok(), "{kind:?}: {} and not {expected}", left());
    }
}

async fn read(answer: Answer) -> String {
    let body = answer.body.collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

const PLAIN: &str = r#"{"model":"gpt-4o","max_tokens":50}"#;

#[tokio::test]
async fn call_takes_a_bound_before_and_keeps_what_its_answer_reported() {
    let bench = Bench::new(&[(LimitKind::Requests, 100), (LimitKind::Tokens, 1_000)]).await;
    bench.next(200, &[], USAGE);
    let answer = bench.ask(PLAIN).await.expect("an answer");
    let bound = PLAIN.len() as u64 + 50;
    bench.is_left(LimitKind::Tokens, 1_000 - bound).await;
    assert_eq!(read(answer).await, USAGE);
    bench.is_left(LimitKind::Tokens, 950).await;
    bench.is_left(LimitKind::Requests, 99).await;
}

#[tokio::test]
async fn answer_that_nobody_reads_to_its_end_is_settled_by_what_came() {
    let bench = Bench::new(&[(LimitKind::Tokens, 1_000)]).await;
    bench.next(200, &[], USAGE);
    drop(bench.ask(PLAIN).await.expect("an answer"));
    let bound = PLAIN.len() as u64 + 50;
    bench.is_left(LimitKind::Tokens, 1_000 - bound).await;
}

#[tokio::test]
async fn error_uses_a_request_and_no_tokens_and_what_reached_nobody_uses_nothing() {
    let bench = Bench::new(&[(LimitKind::Requests, 100), (LimitKind::Tokens, 1_000)]).await;
    bench.next(500, &[], "{}");
    drop(bench.ask(PLAIN).await.expect("an answer"));
    bench.is_left(LimitKind::Tokens, 1_000).await;
    bench.is_left(LimitKind::Requests, 99).await;
    let fail = |outcome| {
        let mut answers = bench.answers.0.lock().expect("no panic");
        answers.push(Err(outcome));
    };
    fail(Outcome::ConnectFailed);
    drop(bench.ask(PLAIN).await.expect_err("nobody"));
    bench.is_left(LimitKind::Requests, 99).await;
    // The upstream may have worked for it.
    fail(Outcome::Reset);
    drop(bench.ask(PLAIN).await.expect_err("broken"));
    bench.is_left(LimitKind::Requests, 98).await;
    let bound = PLAIN.len() as u64 + 50;
    bench.is_left(LimitKind::Tokens, 1_000 - bound).await;
}

#[tokio::test]
async fn call_beyond_a_limit_is_not_made_and_says_when_it_may_be() {
    let bench = Bench::new(&[(LimitKind::Requests, 1)]).await;
    bench.next(200, &[], USAGE);
    read(bench.ask(PLAIN).await.expect("an answer")).await;
    // No answer is there for a second call.
    let mut refused = bench.ask(PLAIN).await.expect("a refusal");
    let wait = headers::retry_after(&refused.headers, SystemTime::now()).expect("a wait");
    assert!(
        wait > Duration::from_secs(30) && wait <= Duration::from_secs(61),
        "{wait:?}"
    );
    let shown = shown::by_answer(&mut refused, &HeaderMap::new()).await;
    assert_eq!(shown.finding, Finding::AccountLimit);
    assert!(read(refused).await.contains("account_limit_reached"));
}

#[tokio::test]
async fn call_larger_than_a_whole_limit_takes_nothing_of_the_others() {
    let bench = Bench::new(&[(LimitKind::Requests, 5), (LimitKind::Tokens, 60)]).await;
    let refused = bench.ask(PLAIN).await.expect("a refusal");
    assert_eq!(
        headers::retry_after(&refused.headers, SystemTime::now()),
        None
    );
    bench.is_left(LimitKind::Requests, 5).await;
}

#[tokio::test]
async fn budget_is_settled_by_the_price_of_what_was_used() {
    let bench = Bench::new(&[(LimitKind::Money, 1_000_000)]).await;
    bench.next(200, &[], USAGE);
    let answer = bench.ask(PLAIN).await.expect("an answer");
    assert_eq!(answer.status, 200);
    read(answer).await;
    // 30 tokens at 2.50 and 20 at 10 US dollars a million.
    bench.is_left(LimitKind::Money, 1_000_000 - 275).await;
}

#[tokio::test]
async fn upstream_without_an_account_is_called_as_it_is() {
    let bench = Bench::new(&[(LimitKind::Requests, 1)]).await;
    for _ in 0..3 {
        let low = [("x-ratelimit-remaining-requests", "0")];
        bench.next(429, &low, "{}");
        let answer = bench.calls.call(call("free", PLAIN)).await.expect("one");
        assert!(!answer.headers.contains_key(headers::RETRY_AFTER_MS));
    }
}

#[tokio::test]
async fn answer_that_says_little_is_left_has_the_account_rest() {
    let bench = Bench::new(&[]).await;
    let low = [
        ("x-ratelimit-limit-requests", "1000"),
        ("x-ratelimit-remaining-requests", "3"),
        ("x-ratelimit-reset-requests", "40s"),
    ];
    bench.next(200, &low, USAGE);
    read(bench.ask(PLAIN).await.expect("an answer")).await;
    let driver = &bench.calls.driver;
    let mut changes = driver.changes();
    let rests = || {
        let view = driver.view();
        let tiers = view.routes(Some(&model()))?.tiers.iter();
        let mut behind = tiers.flat_map(|tier| tier.suspect.iter().chain(&tier.unusable));
        behind.find_map(|candidate| candidate.account_rests_for(driver.now()))
    };
    let resting = async {
        while rests().is_none() {
            changes.changed().await.expect("the driver runs");
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, resting).await.expect("a rest");
}

#[tokio::test]
async fn limit_that_says_no_wait_says_when_what_is_used_up_is_back() {
    let bench = Bench::new(&[]).await;
    let used_up = [
        ("x-ratelimit-remaining-requests", "20"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "12.5s"),
    ];
    bench.next(429, &used_up, "{}");
    let answer = bench.ask(PLAIN).await.expect("an answer");
    let wait = headers::retry_after(&answer.headers, SystemTime::now());
    assert_eq!(wait, Some(Duration::from_millis(12_500)));
    bench.next(429, &[("retry-after", "3"), used_up[2], used_up[3]], "{}");
    let answer = bench.ask(PLAIN).await.expect("an answer");
    let wait = headers::retry_after(&answer.headers, SystemTime::now());
    assert_eq!(wait, Some(Duration::from_secs(3)));
}
