//! A running node whose files change.

use grapevine_base::authority::{Authority, Issued, create};
use grapevine_base::readiness::Readiness;
use grapevine_config::{Environment, Flags, load};
use grapevine_core::ids::{MeshName, NodeName};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// A folder with the files of one node; it is removed at the end.
struct NodeFolder {
    path: PathBuf,
    ca: Issued,
}

impl NodeFolder {
    /// With certificates that are valid for `days`.
    fn new(name: &str, days: u32) -> Self {
        let path = std::env::temp_dir().join(format!("grapevine-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        let ca = create(&MeshName::new("m").expect("a name")).expect("an authority");
        let folder = Self { path, ca };
        folder.write("ca.pem", &folder.ca.certificate);
        folder.write_config("");
        folder.issue(days);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path.join(name), text).expect("a file");
    }

    /// The configuration, with further lines.
    fn write_config(&self, further: &str) {
        let file = "node: {name: sgp}\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n\
                    tasks: {queue: off}\ntls: {cert: node.pem, key: node.key}\n\
                    mesh:\n  listen: 127.0.0.1:0\n  tls: {ca: ca.pem, cert: node.pem, key: node.key}\n";
        self.write("grapevine.yaml", &format!("{file}{further}"));
    }

    /// Replaces the certificate of the mesh, which is that of the public address too.
    fn issue(&self, days: u32) {
        let authority = Authority::from_pem(&self.ca.certificate, &self.ca.key);
        let name = NodeName::new("sgp").expect("a name");
        let names = ["localhost".to_owned()];
        let issued = authority
            .and_then(|ca| ca.issue(&name, &names, days * DAY))
            .expect("a certificate");
        self.write("node.pem", &issued.certificate);
        self.write("node.key", &issued.key);
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path.join("node.pem")).expect("a certificate")
    }

    async fn start(&self) -> (App, Reloads) {
        let sources = Sources {
            file: Some(self.path.join("grapevine.yaml")),
            environment: Environment::default(),
            flags: Flags::default(),
        };
        let config = load(&sources).expect("a configuration").config;
        let reloads = Reloads::of(&sources, &config);
        let app = App::start(config, sources).await.expect("a node");
        (app, reloads)
    }

    /// The certificate that the public address presents to a new client.
    async fn presented(&self, app: &App) -> CertificateDer<'static> {
        let workers = app.workers.as_ref().expect("a public address");
        let (address, ca) = (workers.address(), self.path.join("ca.pem"));
        let asked = tokio::task::spawn_blocking(move || handshake(address, &ca));
        asked.await.expect("a handshake")
    }
}

impl Drop for NodeFolder {
    fn drop(&mut self) {
        // A folder that stays behind harms no other test.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn handshake(address: SocketAddr, ca: &Path) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).expect("a CA"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut socket = TcpStream::connect(address).expect("a connection");
    while session.is_handshaking() {
        session.complete_io(&mut socket).expect("a handshake");
    }
    let chain = session.peer_certificates().expect("certificates");
    chain[0].clone().into_owned()
}

/// The warnings about files.
fn warnings(readiness: &Readiness) -> Vec<String> {
    let warnings = readiness.files().warnings(clock::wall()).into_iter();
    warnings
        .map(|(code, text)| format!("{code}: {text}"))
        .collect()
}

#[tokio::test]
async fn renewed_certificates_are_taken_up_and_their_dates_shown() {
    let folder = NodeFolder::new("renewed", 3);
    let (mut app, mut reloads) = folder.start().await;
    let before = folder.certificate();
    assert_eq!(folder.presented(&app).await, before);
    let found = warnings(&app.readiness);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("certificate: mesh expires on ")
            && found[1].starts_with("certificate: public expires on "),
        "{found:?}"
    );
    folder.issue(300);
    assert_eq!(app.reload(&mut reloads), Ok(()));
    assert_eq!(warnings(&app.readiness), [""; 0]);
    let after = folder.certificate();
    assert!(after != before);
    assert_eq!(folder.presented(&app).await, after);
    let dates = app.readiness.files().certificates();
    let uses: Vec<_> = dates.iter().map(|it| it.used_for).collect();
    assert_eq!(uses, ["mesh", "mesh_ca", "public"]);
}

#[tokio::test]
async fn broken_file_and_changes_that_wait_are_said_until_they_are_gone() {
    let folder = NodeFolder::new("broken", 300);
    let (mut app, mut reloads) = folder.start().await;
    let files = app.readiness.files().clone();
    let started = files.config();
    assert!(started.file_hash.is_some() && started.failed.is_none());
    folder.write_config("routing: {attempts: many}\n");
    assert!(app.reload(&mut reloads).is_err());
    let found = warnings(&app.readiness);
    assert!(
        found.len() == 1 && found[0].starts_with("config: the last reload failed"),
        "{found:?}"
    );
    assert!(found[0].contains("routing.attempts"), "{found:?}");
    let (status, failed) = (files.config(), files.config().failed.clone());
    let failed = failed.expect("a failure");
    assert_eq!(status.file_hash, started.file_hash, "the one that runs");
    assert!(failed.file_hash.is_some() && failed.file_hash != started.file_hash);
    folder.write_config("workers: 1023\nlimits: {waiting: 7}\n");
    assert_eq!(app.reload(&mut reloads), Ok(()));
    assert_eq!(
        warnings(&app.readiness),
        ["config: changes on disk wait for a restart: limits.waiting, workers"]
    );
    folder.write_config("");
    assert_eq!(app.reload(&mut reloads), Ok(()));
    assert_eq!(warnings(&app.readiness), [""; 0]);
    assert_eq!(files.config().file_hash, started.file_hash);
}

#[tokio::test]
async fn refused_configuration_is_tried_again_though_what_it_lacks_is_not_watched() {
    let folder = NodeFolder::new("retried", 300);
    let (mut app, mut reloads) = folder.start().await;
    // Time alone is the reason to try again.
    reloads.watch = None;
    // A file that the running configuration does not name.
    let text = std::fs::read_to_string(folder.path.join("grapevine.yaml")).expect("a file");
    folder.write(
        "grapevine.yaml",
        &text.replace("tls: {cert: node.pem", "tls: {cert: new.pem"),
    );
    assert!(app.reload(&mut reloads).is_err());
    assert!(warnings(&app.readiness)[0].contains("new.pem"));
    let is_set = |reloads: &Reloads| matches!(reloads.retry, Retry::At(_));
    assert!(is_set(&reloads), "it is tried again");
    reloads.retry = Retry::At(Instant::now());
    reloads.next().await;
    assert!(reloads.retry == Retry::Due, "time has passed, nothing else");
    assert!(app.reload(&mut reloads).is_err());
    assert!(is_set(&reloads), "it is refused again");
    folder.write(
        "new.pem",
        &std::fs::read_to_string(folder.path.join("node.pem")).expect("a file"),
    );
    reloads.retry = Retry::At(Instant::now());
    reloads.next().await;
    assert_eq!(app.reload(&mut reloads), Ok(()));
    assert!(reloads.retry == Retry::No);
    assert_eq!(warnings(&app.readiness), [""; 0]);
}
