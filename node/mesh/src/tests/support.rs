//! Meshes, nodes and peers for the tests.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::authority::{self, Authority, Issued, NODE_VALID};
use grapevine_base::bodies::BodyBudget;
use grapevine_base::clock::Clock;
use grapevine_base::driver::{Driver, DriverHandle};
use grapevine_base::exchange::{
    Answer, AnswerBody, Call, CallFailure, CallLocal, Caller, InsideSlot,
};
use grapevine_base::vital::Vital;
use grapevine_core::Engine;
use grapevine_core::engine::{Event, Identity, Models, Probe, UpstreamSpec};
use grapevine_core::fact::Phase;
use grapevine_core::health::HealthPolicy;
use grapevine_core::ids::{Generation, MeshName, ModelName, NodeName, RegionName, UpstreamName};
use grapevine_core::notice::Notice;
use grapevine_core::residency::ClientOrigin;
use grapevine_core::units::{Tier, Weight};
use grapevine_observe::metrics::Metrics;
use grapevine_proto::frame::{Greeting, RequestHead, TAG_GREETING, VERSION};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use quinn::{Connection, Endpoint};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::credentials::Credentials;
use crate::endpoint;
use crate::gossip::task::GOSSIP_INTERVAL;
use crate::{MeshHandle, MeshOptions, MeshParts, ServingRules, start};

/// Longer than anything here takes; only a failing test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn node_name(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

/// Awaits `future`, at most for [`PATIENCE`].
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

/// Awaits a condition that has no event of its own.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A mesh CA.
pub(super) struct TestMesh {
    name: MeshName,
    ca: Issued,
}

impl TestMesh {
    pub(super) fn new() -> Self {
        let name = MeshName::new("test").expect("a valid name");
        let ca = authority::create(&name).expect("a CA");
        Self { name, ca }
    }

    pub(super) fn credentials(&self, node: &str) -> Credentials {
        let authority = Authority::from_pem(&self.ca.certificate, &self.ca.key).expect("a CA");
        let issued = authority
            .issue(&node_name(node), &[], NODE_VALID)
            .expect("a certificate");
        Credentials::from_pem(
            self.name.clone(),
            self.ca.certificate.as_bytes(),
            issued.certificate.as_bytes(),
            issued.key.as_bytes(),
        )
        .expect("credentials")
    }

    pub(super) fn config(&self, node: &str) -> MeshOptions {
        MeshOptions {
            node: node_name(node),
            generation: Generation(1),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            seeds: Vec::new(),
            gossip_interval: GOSSIP_INTERVAL,
            credentials: self.credentials(node),
            rules: ServingRules::default(),
            metrics: Metrics::new(node, "test"),
            vital: Vital::default(),
            bodies: BodyBudget::new(256 << 20),
        }
    }

    pub(super) async fn node(&self, node: &str) -> Node {
        Node::start(self.config(node), Fake::echo()).await
    }

    /// A node that joins through `seeds` and answers with `local`.
    pub(super) async fn node_with(&self, node: &str, seeds: &[SocketAddr], local: Fake) -> Node {
        let mut config = self.config(node);
        config.seeds = seeds.iter().map(ToString::to_string).collect();
        Node::start(config, local).await
    }
}

/// The most reports that a test leaves unread.
pub(super) const REPORTS_MAX: usize = 64;

type Answering = Pin<Box<dyn Future<Output = Result<Answer, CallFailure>> + Send>>;

/// An upstream shell that answers as its test defines.
#[derive(Clone)]
pub(super) struct Fake(Arc<dyn Fn(Call) -> Answering + Send + Sync>);

impl Fake {
    pub(super) fn new<F>(answer: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Answer, CallFailure>> + Send + 'static,
    {
        Self(Arc::new(move |call| Box::pin(answer(call))))
    }

    /// Answers with the call's own body, path and headers.
    pub(super) fn echo() -> Self {
        Self::new(|call| async move {
            let mut headers = HeaderMap::clone(&call.headers);
            let path = call.path.as_str().parse().expect("a header value");
            headers.insert("x-path", path);
            Ok(Answer {
                status: StatusCode::CREATED,
                headers: headers.into(),
                body: whole(call.body.received().clone()),
                load: None,
                upload: None,
            })
        })
    }

    /// Never answers; reports when it was called and when its call was dropped.
    pub(super) fn hang() -> (Self, mpsc::Receiver<&'static str>) {
        let (report, reports) = mpsc::channel(REPORTS_MAX);
        let fake = Self::new(move |_| {
            let report = report.clone();
            async move {
                let _dropped = CallReport::new(&report);
                std::future::pending().await
            }
        });
        (fake, reports)
    }
}

/// Reports "called" when created and "dropped" when dropped.
pub(super) struct CallReport(mpsc::Sender<&'static str>);

impl CallReport {
    pub(super) fn new(reports: &mpsc::Sender<&'static str>) -> Self {
        reports.try_send("called").expect("room for the report");
        Self(reports.clone())
    }
}

impl Drop for CallReport {
    fn drop(&mut self) {
        // The test may have ended, and reads no more.
        let _ = self.0.try_send("dropped");
    }
}

impl CallLocal for Fake {
    async fn call(&self, call: Box<Call>) -> Result<Answer, CallFailure> {
        (self.0)(*call).await
    }
}

pub(super) fn whole(body: Bytes) -> AnswerBody {
    AnswerBody::new(Full::new(body).map_err(|never| match never {}))
}

pub(super) fn answer(body: AnswerBody) -> Answer {
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new().into(),
        body,
        load: None,
        upload: None,
    }
}

/// The most requests that the tests' upstream takes.
pub(super) const IN_FLIGHT_MAX: u32 = 2;

/// A node with one upstream, `primary`, that serves `gpt-4o`.
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) handle: MeshHandle,
    pub(super) parts: MeshParts,
    pub(super) driver: DriverHandle,
    pub(super) inside: InsideSlot,
    pub(super) bodies: BodyBudget,
    notices: mpsc::Receiver<Notice>,
}

impl Node {
    pub(super) async fn start(config: MeshOptions, local: Fake) -> Self {
        Self::start_serving(config, local, true).await
    }

    /// A node that answers requests or does not.
    pub(super) async fn start_serving(
        config: MeshOptions,
        local: Fake,
        serves_requests: bool,
    ) -> Self {
        let (name, bodies) = (config.node.clone(), config.bodies.clone());
        let clock = Clock::start();
        let identity = Identity {
            node: name.clone(),
            generation: config.generation,
            region: RegionName::new("sgp").expect("a valid name"),
            place: None,
            protocol: VERSION,
            build: "test".into(),
            serves_requests,
            public: grapevine_core::fact::Public::default(),
        };
        let (task, driver, mut outlets) = Driver::new(Engine::new(clock.now(), identity), clock);
        tokio::spawn(task.run());
        tokio::spawn(async move { while outlets.publications.recv().await.is_some() {} });
        tokio::spawn(async move { while outlets.probes.recv().await.is_some() {} });
        tokio::spawn(async move { while outlets.loads.recv().await.is_some() {} });
        driver.send(Event::Configured(vec![spec()])).await;
        driver.send(Event::PhaseChanged(Phase::Ready)).await;
        let ready = || {
            let view = driver.view();
            view.phase == Phase::Ready && view.own.len() == 1
        };
        until("start", ready).await;
        let inside = InsideSlot::default();
        let parts = start(config, driver.clone(), local, Arc::new(inside.clone()))
            .await
            .expect("the mesh starts");
        Self {
            name,
            handle: parts.handle.clone(),
            parts,
            driver,
            inside,
            bodies,
            notices: outlets.notices,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.local_address().expect("a bound socket")
    }

    /// Waits for a notice; skips others before it.
    pub(super) async fn until_notice(&mut self, wanted: Notice) {
        let found = async {
            while let Some(notice) = self.notices.recv().await {
                if notice == wanted {
                    return;
                }
            }
            panic!("driver ended");
        };
        soon(&format!("{wanted:?}"), found).await;
    }

    pub(super) async fn until_up(&mut self, peer: &str) {
        let peer = node_name(peer);
        self.until_notice(Notice::LinkUp { peer }).await;
    }

    pub(super) async fn until_down(&mut self, peer: &str) {
        let peer = node_name(peer);
        self.until_notice(Notice::LinkDown { peer }).await;
    }

    pub(super) fn own_in_flight(&self) -> u32 {
        let view = self.driver.view();
        let upstream = UpstreamName::new("primary").expect("a valid name");
        view.own[&upstream].in_flight.count()
    }
}

/// The one upstream.
pub(super) fn spec() -> UpstreamSpec {
    UpstreamSpec {
        name: UpstreamName::new("primary").expect("a valid name"),
        models: Models::Listed(vec![ModelName::new("gpt-4o").expect("a valid name")]),
        tier: Tier::default(),
        weight: Weight::default(),
        dialects: grapevine_core::dialect::DialectSet::ALL,
        websocket: false,
        attempts_max: 1,
        in_flight_max: IN_FLIGHT_MAX,
        health: HealthPolicy::default(),
        probe: Probe::Off,
        probe_interval: Duration::from_secs(30),
        load_interval: None,
        account: None,
    }
}

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// A body that names the model of the tests' upstream.
pub(super) const CHAT: &[u8] = b"{\"model\":\"gpt-4o\"}";

/// A call with `body`, whose request id is its own.
pub(super) fn call(body: &'static [u8]) -> Call {
    let serial = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let mut headers = HeaderMap::new();
    headers.insert("x-test", "1".parse().expect("a header value"));
    Call {
        request_id: format!("request-{serial}").into(),
        upstream: UpstreamName::new("primary").expect("a valid name"),
        model: Some(ModelName::new("gpt-4o").expect("a valid name")),
        method: Method::POST,
        path: "/v1/chat/completions?a=b".parse().expect("a path"),
        headers: Arc::new(headers),
        body: Bytes::from_static(body).into(),
        stream: false,
        deadline: Instant::now() + PATIENCE,
        last_resort: false,
        allow_regions: [].into(),
        caller: Caller::default(),
    }
}

/// The head of a request whose body of `body_bytes` names the model as [`CHAT`] does.
pub(super) fn chat_head(request_id: &str, body_bytes: usize) -> RequestHead<'_> {
    RequestHead {
        model: Some(ModelName::new("gpt-4o").expect("a valid name")),
        ..head(request_id, body_bytes)
    }
}

/// The head of a request with a body of `body_bytes`.
pub(super) fn head(request_id: &str, body_bytes: usize) -> RequestHead<'_> {
    RequestHead {
        lossy: None,
        request_id,
        upstream: UpstreamName::new("primary").expect("a valid name"),
        model: None,
        method: "POST",
        path: "/v1/chat/completions",
        headers: vec![],
        body_bytes,
        remaining: PATIENCE,
        hops: 1,
        last_resort: false,
        allow_regions: vec![],
        traceparent: None,
        client: ClientOrigin::Unknown,
        key: None,
        mark: 0,
    }
}

/// A peer that speaks frames by hand.
pub(super) struct RawPeer {
    pub(super) connection: Connection,
    _endpoint: Endpoint,
}

impl RawPeer {
    /// Connects with the certificate of `certified` and greets as `greeted`.
    pub(super) async fn connect(
        mesh: &TestMesh,
        to: SocketAddr,
        certified: &str,
        greeted: &str,
    ) -> Self {
        let credentials = mesh.credentials(certified);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = endpoint::open(any, &credentials).expect("an endpoint");
        let config = endpoint::client_config(&credentials).expect("a configuration");
        let connecting = endpoint
            .connect_with(config, to, &mesh.name.common_dns_name())
            .expect("a dial");
        let connection = soon("connection", connecting).await.expect("a connection");
        let greeting = Greeting {
            node: node_name(greeted),
            generation: Generation(1),
            address: endpoint.local_addr().expect("a bound socket"),
            host: "raw:1".into(),
            version_min: VERSION,
            version_max: VERSION,
        };
        let frame = greeting.encode().expect("a frame");
        let mut stream = connection.open_uni().await.expect("a stream");
        stream.write_all(&[TAG_GREETING]).await.expect("a write");
        stream.write_all(&frame).await.expect("a write");
        stream.finish().expect("an open stream");
        Self {
            connection,
            _endpoint: endpoint,
        }
    }
}

/// Relays datagrams between its clients and one address, until it is cut.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    cut: Arc<AtomicBool>,
    cut_back: Arc<AtomicBool>,
}

impl Relay {
    pub(super) async fn to(target: SocketAddr) -> Self {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (front, back) = (bind().await.expect("a port"), bind().await.expect("a port"));
        let address = front.local_addr().expect("a bound socket");
        let cut = Arc::new(AtomicBool::new(false));
        let cut_back = Arc::new(AtomicBool::new(false));
        let (is_cut, is_cut_back) = (Arc::clone(&cut), Arc::clone(&cut_back));
        tokio::spawn(async move {
            let mut client = target;
            let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                // What cannot be sent is lost, as on any network.
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        client = from;
                        if !is_cut.load(Ordering::Relaxed) {
                            let _ = back.send_to(&there[..length], target).await;
                        }
                    }
                    Ok((length, _)) = back.recv_from(&mut here) => {
                        if !is_cut_back.load(Ordering::Relaxed) {
                            let _ = front.send_to(&here[..length], client).await;
                        }
                    }
                    else => return,
                }
            }
        });
        Self {
            address,
            cut,
            cut_back,
        }
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.cut_back.store(true, Ordering::Relaxed);
    }

    /// Drops only what goes to the address.
    pub(super) fn cut_there(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Relays everything again.
    pub(super) fn heal(&self) {
        self.cut.store(false, Ordering::Relaxed);
        self.cut_back.store(false, Ordering::Relaxed);
    }
}

/// Ends the capture of a [`Log`] when dropped.
pub(super) struct Captured {
    _default: tracing::subscriber::DefaultGuard,
    /// With a single subscriber alive, a line that a thread without one reaches first would be disabled
    /// for all.
    _second: tracing::Dispatch,
}

/// What is logged on this thread until its [`Captured`] is dropped.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn capture() -> (Self, Captured) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let captured = Captured {
            _default: tracing::subscriber::set_default(subscriber),
            _second: tracing::Dispatch::new(tracing_subscriber::registry()),
        };
        (log, captured)
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    pub(super) fn count(&self, text: &str) -> usize {
        let log = self.0.lock().expect("no writer panicked");
        String::from_utf8_lossy(&log).matches(text).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().expect("no writer panicked");
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
