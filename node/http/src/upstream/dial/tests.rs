use std::net::Ipv4Addr;

use grapevine_config::checked::{AuthConfig, ProviderConfig, TimeoutConfig};
use grapevine_core::ids::UpstreamName;
use tokio::net::{TcpListener, TcpSocket};

use super::super::connect::{Connector, tls_without_roots};
use super::super::target::UpstreamSettings;
use super::*;

/// Answers with the same addresses for every name.
struct FixedAddresses(Vec<SocketAddr>);

#[async_trait::async_trait]
impl ResolveHost for FixedAddresses {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(self.0.clone())
    }
}

const URL: &str = "http://upstream.example:8000/v1";

fn targets(timeouts: TimeoutConfig) -> UpstreamTargets {
    let settings = UpstreamSettings {
        name: UpstreamName::new("primary").expect("a valid name"),
        base_url: URL.parse().expect("a URL"),
        provider: ProviderConfig::default(),
        auth: AuthConfig::None,
        headers: vec![],
        renames: BTreeMap::new(),
        lossy: grapevine_core::dialect::PermittedLoss::Nothing,
        load_path: None,
        timeouts,
    };
    UpstreamTargets::new(vec![settings]).expect("usable settings")
}

fn dialer(addresses: &[SocketAddr]) -> TcpDialer {
    let targets = targets(TimeoutConfig::default());
    TcpDialer::new(targets, Arc::new(FixedAddresses(addresses.to_vec())))
}

fn authority() -> Authority {
    let uri: Uri = URL.parse().expect("a URL");
    uri.authority().cloned().expect("an authority")
}

async fn dialled(dialer: &TcpDialer) -> Result<SocketAddr, UnreachableHost> {
    let stream = dialer.dial(URL.parse().expect("a URL")).await?;
    Ok(stream.peer_addr().expect("an address"))
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address that drops handshakes, since its queue is full, and what keeps it so.
async fn black_hole() -> ((TcpListener, Vec<TcpStream>), SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(any).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut fillers = Vec::new();
    let wait = Duration::from_millis(200);
    while let Ok(Ok(filler)) = tokio::time::timeout(wait, TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    ((listener, fillers), address)
}

/// An address that nobody listens at.
async fn closed_port() -> SocketAddr {
    listener().await.1
}

#[tokio::test]
async fn address_that_drops_packets_does_not_keep_from_the_next() {
    let (_hole, silent) = black_hole().await;
    let (_listener, good) = listener().await;
    let dialer = dialer(&[silent, silent, good]);
    for _ in 0..3 {
        assert_eq!(dialled(&dialer).await.expect("a connection"), good);
    }
}

#[tokio::test]
async fn refused_address_and_address_without_a_route_lead_to_the_next() {
    let (_listener, good) = listener().await;
    let elsewhere = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
    let dialer = dialer(&[closed_port().await, elsewhere, good]);
    assert_eq!(dialled(&dialer).await.expect("a connection"), good);
}

#[tokio::test]
async fn address_that_worked_is_tried_first() {
    let (_first, worse) = listener().await;
    let (_second, better) = listener().await;
    let dialer = dialer(&[worse, better]);
    assert_eq!(dialled(&dialer).await.expect("a connection"), worse);
    // TLS failed there.
    dialer.remembered().failed(&authority());
    for _ in 0..2 {
        assert_eq!(dialled(&dialer).await.expect("a connection"), better);
        dialer.remembered().worked(&authority());
    }
}

#[tokio::test]
async fn address_whose_tls_hangs_comes_last_the_next_time() {
    // Nobody accepts there, so that the handshake of TLS is not answered.
    let (_hangs, hanging) = listener().await;
    let (other, address) = listener().await;
    let tls = tls_without_roots();
    let connect = Duration::from_millis(100);
    let targets = targets(TimeoutConfig {
        connect,
        ..TimeoutConfig::default()
    });
    let resolver = Arc::new(FixedAddresses(vec![hanging, address]));
    let connector = Connector::with_resolver(targets, tls, resolver);
    let uri: Uri = URL.replace("http:", "https:").parse().expect("a URL");
    let timed_out = connector.connect(uri.clone()).await;
    timed_out.expect_err("no time left");
    let called = tokio::spawn(async move { connector.connect(uri).await });
    other
        .accept()
        .await
        .expect("a connection to the other address");
    let hung_up = called.await.expect("no panic");
    assert!(hung_up.is_err(), "nobody speaks TLS there either");
}

#[tokio::test]
async fn failure_names_every_address_and_the_cause() {
    let (first, second) = (closed_port().await, closed_port().await);
    let error = dialled(&dialer(&[first, second]))
        .await
        .expect_err("refused");
    let text = grapevine_base::causes::joined(&error);
    for part in [&first.to_string(), &second.to_string(), "refused"] {
        assert!(text.contains(part), "{text}");
    }
    let error = dialled(&dialer(&[])).await.expect_err("no address");
    assert!(matches!(error, UnreachableHost::NoAddress(_)), "{error}");
}

#[tokio::test]
async fn name_that_is_an_address_needs_no_resolver() {
    for host in ["127.0.0.1", "::1"] {
        let addresses = SystemResolver.resolve(host, 80).await.expect("an address");
        let texts: Vec<_> = addresses.iter().map(|it| it.ip().to_string()).collect();
        assert_eq!(texts, [host]);
    }
}

#[test]
fn families_take_turns_and_eight_addresses_are_enough() {
    let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let four = |last: u8| SocketAddr::from(([192, 0, 2, last], 443));
    let remembered = RememberedAddresses::default();
    let listed = vec![
        parse("[2001:db8::1]:443"),
        parse("[2001:db8::2]:443"),
        parse("[2001:db8::3]:443"),
        four(1),
        four(1),
    ];
    assert_eq!(
        remembered.sorted(&authority(), listed.clone()),
        [listed[0], four(1), listed[1], listed[2]]
    );
    let many: Vec<_> = (0..=255).map(four).collect();
    assert_eq!(remembered.sorted(&authority(), many).len(), ADDRESSES_MAX);
    remembered.opened(&authority(), listed[2]);
    remembered.worked(&authority());
    assert_eq!(
        remembered.sorted(&authority(), listed.clone()),
        [listed[2], listed[0], four(1), listed[1]]
    );
}

#[test]
fn addresses_of_at_most_a_thousand_hosts_are_remembered() {
    let remembered = RememberedAddresses::default();
    for port in 1..=3_000_u16 {
        let authority = format!("h:{port}").parse().expect("an authority");
        remembered.opened(&authority, (Ipv4Addr::LOCALHOST, port).into());
    }
    assert!(remembered.0.lock().expect("no panic").len() <= HOSTS_MAX);
}
