//! A node's request path on loopback, with everything around it scripted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::bodies::BodyBudget;
use grapevine_base::clock::Clock;
use grapevine_base::driver::{Driver, DriverHandle, Outlets};
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallPeer};
use grapevine_base::limits::LimitsHandle;
use grapevine_base::listener::metrics::ConnectionMetrics;
use grapevine_base::queue::QueueHandle;
use grapevine_base::readiness::Readiness;
use grapevine_base::vital::Vital;
use grapevine_config::checked::{AuthConfig, ProviderConfig, ProxyProtocol, TimeoutConfig};
use grapevine_core::dialect::PermittedLoss;
use grapevine_core::engine::{Engine, Event, Identity, Models, Probe, UpstreamSpec, Via};
use grapevine_core::escrow::growth::OverrunRule;
use grapevine_core::fact::{Fact, FurtherFigures, Load, NodeFact, Phase, Standing, UpstreamFact};
use grapevine_core::forwarding::Forwarding;
use grapevine_core::health;
use grapevine_core::homes::Homes;
use grapevine_core::ids::{Generation, ModelName, NodeName, RegionName, Stamp, UpstreamName};
use grapevine_core::outcome::RetryOn;
use grapevine_core::request::FailoverPolicy;
use grapevine_core::residency::Residency;
use grapevine_core::route::Strategy;
use grapevine_core::units::{Share, Tier, Weight};
use grapevine_http::ingress::{
    Context, Cors, IngressSettings, Keys, ListenSettings, Locate, SealKeys, UsageRefusals, Workers,
};
use grapevine_http::upstream::{self, UpstreamClient, UpstreamTargets};
use grapevine_keys::hash::KeyHash;
use grapevine_keys::rights::{ClientKey, StaticKey};
use grapevine_observe::history::History;
use grapevine_observe::record::{Recorder, RequestRecord};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

/// Nothing in these tests takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const MODEL_BODY: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;

/// The same, to be answered as a stream.
pub(crate) const STREAM_BODY: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// A key of the file; without models it may use every one.
pub(crate) fn static_key(name: &str, secret: &str, models: &[&str]) -> StaticKey {
    let mut key = ClientKey::named(name);
    if !models.is_empty() {
        key.rights.models = Some(Arc::new(models.iter().map(|name| model(name)).collect()));
    }
    StaticKey {
        hash: KeyHash::of(secret),
        key: Arc::new(key),
    }
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a valid name")
}

fn upstream_name(name: &str) -> UpstreamName {
    UpstreamName::new(name).expect("a valid name")
}

/// What a scripted upstream does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes and nothing else, where the request holds the text.
    Refuse(&'static str, Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Waits until the test lets it go on.
    Until(Arc<Semaphore>),
    /// Does nothing until the caller hangs up.
    Hang,
    /// Closes the connection.
    Close,
}

pub(crate) fn send(text: impl AsRef<[u8]>) -> Act {
    Act::Send(text.as_ref().to_vec())
}

/// A whole answer with a body of known length.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    vec![send(format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))]
}

/// A stream of two events, and a pause between them.
pub(crate) fn stream_with_a_pause(pause: Duration) -> Vec<Act> {
    vec![
        event_stream(),
        chunk("data: 1\n\n"),
        Act::Pause(pause),
        chunk("data: 2\n\n"),
        send("0\r\n\r\n"),
    ]
}

pub(crate) fn chunk(data: &str) -> Act {
    send(format!("{:x}\r\n{data}\r\n", data.len()))
}

/// A beginning of JSON that is longer than an answer that is held until it is whole.
pub(crate) fn long_beginning() -> String {
    format!("{{\"a\":{}", " ".repeat(70_000))
}

/// The head of a chunked answer.
pub(crate) fn head(content_type: &str) -> Act {
    send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    ))
}

pub(crate) fn event_stream() -> Act {
    head("text/event-stream; charset=utf-8")
}

/// An upstream that plays a script.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    hung_up: watch::Receiver<Option<Instant>>,
}

impl Scripted {
    /// Plays `script` for every request.
    pub(crate) async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (hang_up, hung_up) = watch::channel(None);
        let (script, hang_up) = (Arc::new(script), Arc::new(hang_up));
        let scripted = Self {
            address,
            seen: seen.clone(),
            hung_up,
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, hang_up) = (script.clone(), seen.clone(), hang_up.clone());
                tokio::spawn(async move {
                    let end = play(stream, &script, &seen).await;
                    if end == End::CallerHungUp {
                        hang_up.send_replace(Some(Instant::now()));
                    }
                });
            }
        });
        scripted
    }

    /// Plays `script` for every connection as soon as something arrived, and then keeps reading.
    pub(crate) async fn answering_early(script: Vec<Act>) -> Self {
        let scripted = Self::start(vec![]).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 1_024];
                stream.read_exact(&mut bytes).await.expect("a beginning");
                for act in &script {
                    if let Act::Send(bytes) = act {
                        stream.write_all(bytes).await.expect("sent");
                    }
                }
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
            }
        });
        Self {
            address,
            ..scripted
        }
    }

    /// The requests that came, as bytes.
    pub(crate) fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("no test panics here");
        seen.iter()
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect()
    }

    pub(crate) async fn first_request_came(&self) {
        until(|| !self.seen().is_empty()).await;
    }

    /// When the caller hung up within [`Act::Hang`] or while something was sent.
    pub(crate) async fn hung_up_at(&self) -> Instant {
        let mut hung_up = self.hung_up.clone();
        let when = timeout(PATIENCE, hung_up.wait_for(Option::is_some));
        let when = when
            .await
            .expect("the caller hangs up")
            .expect("the script runs");
        when.expect("waited for")
    }
}

#[derive(PartialEq)]
enum End {
    CallerHungUp,
    Played,
}

async fn play(mut stream: TcpStream, script: &[Act], seen: &Mutex<Vec<Vec<u8>>>) -> End {
    stream.set_nodelay(true).expect("a socket");
    while let Some(request) = read_request(&mut stream).await {
        let holds = |text: &str| find(&request, text.as_bytes()).is_some();
        let refusal = script.iter().find_map(|act| match act {
            Act::Refuse(text, bytes) if holds(text) => Some(bytes),
            _ => None,
        });
        let refusal = refusal.map(|bytes| [Act::Send(bytes.clone())]);
        seen.lock().expect("no test panics here").push(request);
        for act in refusal.as_ref().map_or(script, |refusal| &refusal[..]) {
            match act {
                Act::Send(bytes) => {
                    if stream.write_all(bytes).await.is_err() {
                        return End::CallerHungUp;
                    }
                }
                Act::Refuse(..) => {}
                Act::Pause(span) => tokio::time::sleep(*span).await,
                Act::Until(signal) => signal.acquire().await.expect("never closed").forget(),
                Act::Hang => {
                    let mut byte = [0];
                    // Ends with the end of the stream or an error: both are a hang-up.
                    let _ = stream.read(&mut byte).await;
                    return End::CallerHungUp;
                }
                Act::Close => return End::Played,
            }
        }
    }
    End::Played
}

/// A whole HTTP/1.1 message with a known length; `None` at the end of the stream.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if let Some(end) = find(&message, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |text| text.trim().parse().expect("a length"));
            if message.len() >= end + 4 + length {
                return Some(message);
            }
        }
        if stream.read_buf(&mut message).await.ok()? == 0 {
            return None;
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

type Called = Pin<Box<dyn Future<Output = Result<Answer, CallFailure>> + Send>>;

/// A peer with scripted answers.
#[derive(Clone)]
pub(crate) struct FakePeers(Arc<dyn Fn(NodeName, Call) -> Called + Send + Sync>);

impl FakePeers {
    pub(crate) fn new<F>(answer: impl Fn(NodeName, Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Answer, CallFailure>> + Send + 'static,
    {
        Self(Arc::new(move |peer, call| Box::pin(answer(peer, call))))
    }

    pub(crate) fn none() -> Self {
        Self::new(|_, _| async { unreachable!("no peer is known") })
    }
}

impl CallPeer for FakePeers {
    async fn call(&self, peer: &NodeName, call: Call) -> Result<Answer, CallFailure> {
        (self.0)(peer.clone(), call).await
    }
}

/// A peer's successful answer with `text`.
pub(crate) fn successful_answer(text: &'static str, load: Option<Load>) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new().into(),
        body: AnswerBody::new(body.map_err(|never| match never {})),
        load,
        upload: None,
    }
}

/// The configuration of a node.
pub(crate) struct Plan {
    pub(crate) targets: Vec<upstream::UpstreamSettings>,
    pub(crate) specs: Vec<UpstreamSpec>,
    pub(crate) settings: IngressSettings,
    pub(crate) listen: ListenSettings,
    pub(crate) peers: FakePeers,
    pub(crate) locate: Locate,
    pub(crate) body_memory: u64,
    /// (node, tier) of peers with an upstream called `theirs`.
    pub(crate) known_peers: Vec<(&'static str, u16)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            targets: vec![],
            specs: vec![],
            settings: IngressSettings {
                node: node("usa-1"),
                region: region("usa"),
                body_bytes_max: 1 << 20,
                body_timeout: Duration::from_secs(5),
                websocket_idle: Duration::from_secs(60),
                output_cap: 4_096,
                overrun: OverrunRule::End,
                asks_usage: false,
                in_flight_max: 1_000,
                polls_max: 100,
                trusted_proxies: vec![],
                proxy_protocol: ProxyProtocol::Off,
                forwarding: Forwarding::default(),
                strategy: Strategy::Latency,
                cache_weight: 0.0,
                seal_keys: SealKeys::of_secrets([b"tests".as_slice()]),
                homes: Homes::default(),
                residency: Residency::default(),
                failover: Arc::new(FailoverPolicy {
                    attempts_max: 4,
                    retry_on: RetryOn::default(),
                }),
                hedge: None,
                fallbacks: Arc::default(),
                model_notes: Arc::default(),
                deadline: Duration::from_secs(5),
                keys: Keys::default(),
                cors: Cors::Any,
                ping_interval: Duration::from_secs(15),
                passed: HeaderValue::from_static("grapevine"),
                sampler: None,
            },
            listen: ListenSettings {
                address: (Ipv4Addr::LOCALHOST, 0).into(),
                workers: NonZeroUsize::MIN,
                tls: None,
                header_count_max: 100,
                header_bytes_max: 16 * 1_024,
                header_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(60),
                stall_timeout: Duration::from_secs(60),
                connections_max: 1_000,
                metrics: ConnectionMetrics::default(),
            },
            peers: FakePeers::none(),
            locate: Locate::default(),
            body_memory: 64 << 20,
            known_peers: vec![],
        }
    }
}

impl Plan {
    /// Upstreams in tiers of their own, so that they are tried in this order.
    pub(crate) fn with(upstreams: &[&Scripted]) -> Self {
        let mut plan = Self::default();
        for (index, upstream) in upstreams.iter().enumerate() {
            plan.add(&format!("up{}", index + 1), upstream.address);
        }
        plan
    }

    pub(crate) fn add(&mut self, name: &str, address: SocketAddr) {
        let tier = Tier(u16::try_from(self.specs.len()).expect("few") + 1);
        self.targets.push(upstream::UpstreamSettings {
            name: upstream_name(name),
            base_url: format!("http://{address}/v1").parse().expect("a URL"),
            provider: ProviderConfig::default(),
            auth: AuthConfig::key(&format!("{name}-secret")),
            headers: vec![],
            renames: BTreeMap::new(),
            lossy: PermittedLoss::Nothing,
            load_path: None,
            timeouts: TimeoutConfig::default(),
        });
        self.specs.push(UpstreamSpec {
            name: upstream_name(name),
            models: Models::Listed(vec![model("gpt-4o"), model("claude")]),
            tier,
            weight: Weight::default(),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            websocket: false,
            attempts_max: 1,
            in_flight_max: 100,
            health: health::HealthPolicy::default(),
            probe: Probe::Off,
            probe_interval: Duration::from_secs(60),
            load_interval: None,
            account: None,
        });
    }

    /// Starts the node and waits until it knows its upstreams and peers.
    pub(crate) async fn start(self) -> Node {
        let clock = Clock::start();
        let identity = Identity {
            node: self.settings.node.clone(),
            generation: Generation(1),
            region: self.settings.region.clone(),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: grapevine_core::fact::Public::default(),
        };
        let (driver, handle, outlets) = Driver::new(Engine::new(clock.now(), identity), clock);
        tokio::spawn(driver.run());
        handle.send(Event::Configured(self.specs.clone())).await;
        handle.send(Event::PhaseChanged(Phase::Ready)).await;
        introduce(&handle, &self.known_peers).await;
        let (recorder, batches) = Recorder::new(handle.clone());
        let history = History::default();
        tokio::spawn(history.clone().run(batches, |_| {}));
        let readiness = Readiness::default();
        readiness.set_alone(true);
        let targets = UpstreamTargets::new(self.targets).expect("usable settings");
        let kept_targets = targets.clone();
        let passed = self.settings.passed.clone();
        let settings = Arc::new(ArcSwap::from_pointee(self.settings));
        let bodies = BodyBudget::seeded(self.body_memory, 1);
        let kept_bodies = bodies.clone();
        let (peers, locate, driver) = (self.peers, self.locate, handle.clone());
        let usage_refusals = UsageRefusals::default();
        let make = move |_| Context {
            settings: settings.clone(),
            driver: driver.clone(),
            recorder: recorder.clone(),
            bodies: bodies.clone(),
            limits: LimitsHandle::out_of_use(),
            queue: QueueHandle::off(),
            tunnels: Default::default(),
            usage_refusals: usage_refusals.clone(),
            local: UpstreamClient::new(
                targets.clone(),
                passed.clone(),
                upstream::tls_config().expect("TLS"),
            ),
            peers: peers.clone(),
            readiness: readiness.clone(),
            locate: locate.clone(),
            background: grapevine_http::ingress::Background::default(),
        };
        let workers = Workers::start(self.listen, &Vital::default(), make).expect("a listener");
        Node {
            address: workers.address(),
            workers,
            driver: handle,
            bodies: kept_bodies,
            history,
            targets: kept_targets,
            _outlets: outlets,
        }
    }
}

async fn introduce(driver: &DriverHandle, peers: &[(&'static str, u16)]) {
    let names: BTreeSet<NodeName> = peers.iter().map(|(name, _)| node(name)).collect();
    driver.send(Event::MembersChanged(names)).await;
    for (name, tier) in peers {
        let facts = [
            Fact::Node(NodeFact {
                region: region(name),
                place: None,
                protocol: 1,
                build: String::new(),
                serves_requests: true,
                public: grapevine_core::fact::Public::default(),
            }),
            Fact::Phase(Phase::Ready),
            Fact::Upstream(UpstreamFact {
                name: upstream_name("theirs"),
                models: BTreeMap::from([(model("gpt-4o"), None)]),
                standing: Standing::Ready,
                ttft: None,
                error_rate: Share::ZERO,
                break_rate: Share::ZERO,
                in_flight: 0,
                in_flight_max: 100,
                tier: Tier(*tier),
                weight: Weight::default(),
                dialects: grapevine_core::dialect::DialectSet::ALL,
                websocket: false,
                models_out: BTreeMap::new(),
                further: FurtherFigures::default(),
                account: None,
            }),
        ];
        for (version, fact) in (1..).zip(facts) {
            let stamp = Stamp {
                generation: Generation(1),
                version,
            };
            let (node, via) = (node(name), Via::Gossip);
            driver
                .send(Event::FactReceived {
                    node,
                    stamp,
                    fact,
                    via,
                })
                .await;
        }
        driver.send(Event::LinkUp { peer: node(name) }).await;
    }
    let names = peers.iter().map(|(name, _)| node(name)).collect();
    driver.send(Event::MembersChanged(names)).await;
    let known = peers.len();
    until(|| {
        let view = driver.view();
        let usable = view.no_model.tiers.iter().flat_map(|tier| &tier.usable);
        let theirs = usable.filter(|it| it.upstream.name.as_str() == "theirs");
        view.phase == Phase::Ready && theirs.count() == known
    })
    .await;
}

/// A running node.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) workers: Workers,
    pub(crate) driver: DriverHandle,
    pub(crate) bodies: BodyBudget,
    pub(crate) history: History,
    pub(crate) targets: UpstreamTargets,
    _outlets: Outlets,
}

impl Node {
    /// Waits until what the node does not know does not exist.
    pub(crate) async fn until_settled(&self) {
        until(|| self.driver.view().settled).await;
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// Sends a request on a connection of its own and reads until the node closes it.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut stream = self.connect().await;
        let request = request(method, path, headers, body);
        stream.write_all(request.as_bytes()).await.expect("sent");
        read_reply(&mut stream).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, "", body).await
    }

    pub(crate) async fn chat(&self) -> Reply {
        self.post(CHAT, MODEL_BODY).await
    }

    /// The record of the only request so far.
    pub(crate) async fn record(&self) -> RequestRecord {
        until(|| !self.history.last(1).is_empty()).await;
        let mut records = self.history.last(2);
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    /// The outcomes of the attempts of the only request so far.
    pub(crate) async fn outcomes(&self) -> Vec<&'static str> {
        let record = self.record().await;
        record.attempts.iter().map(|it| it.outcome).collect()
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// An answer as a raw client sees it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the body ended as HTTP requires.
    pub(crate) is_whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(it, _)| it.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }
}

/// Reads from `stream` until what was read holds `part`; returns all of it.
pub(crate) async fn read_until(stream: &mut TcpStream, part: &str) -> String {
    let mut bytes = Vec::new();
    while find(&bytes, part.as_bytes()).is_none() {
        let count = stream
            .read_buf(&mut bytes)
            .await
            .expect("more of an answer");
        assert!(
            count > 0,
            "no {part:?} in {:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
    String::from_utf8(bytes).expect("text")
}

pub(crate) async fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let ended = timeout(PATIENCE, reading)
        .await
        .expect("the node ends the answer");
    parse(&bytes, ended.is_ok())
}

pub(crate) fn parse(bytes: &[u8], ended_cleanly: bool) -> Reply {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let (body, is_whole) = if lower.contains("transfer-encoding: chunked") {
        unchunk(body)
    } else {
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        (body.to_owned(), length.is_none_or(|it| it == body.len()))
    };
    Reply {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body,
        is_whole: is_whole && ended_cleanly,
    }
}

fn unchunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            return (body, true);
        }
        let Some((data, after)) = after.split_at_checked(size) else {
            break;
        };
        body.push_str(data);
        rest = after.strip_prefix("\r\n").unwrap_or(after);
    }
    (body, false)
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, polling)
        .await
        .expect("the condition comes true");
}
