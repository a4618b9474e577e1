//! Reading the configuration again while a node runs.

use std::time::Duration;

use super::*;
use crate::watch::{ConfigWatch, Trigger, reload};

const LOOK: Duration = Duration::from_millis(20);

/// Far more than a change takes to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

const GOOD: &str = "listen: 127.0.0.1:8080\nupstreams: [{name: a, base_url: 'http://a'}]\n";

fn start(folder: &Folder) -> (Sources, Config) {
    let file = Some(folder.write("grapevine.yaml", GOOD));
    let sources = Sources {
        file,
        ..Sources::default()
    };
    let config = load(&sources).expect("a good configuration").config;
    (sources, config)
}

#[test]
fn broken_file_leaves_the_old_configuration() {
    let folder = Folder::new("reload-broken");
    let (sources, config) = start(&folder);
    folder.write("grapevine.yaml", GOOD.replace("http://a", "nowhere"));
    let problems = reload(&config, &sources).expect_err("a broken file");
    assert_eq!(problems.iter().count(), 1);
    let (tried, runs) = (problems.file_hash(), config.file_hash.as_deref());
    assert!(tried.is_some() && tried != runs, "{tried:?} {runs:?}");
    folder.write("grapevine.yaml", GOOD.replace("http://a", "http://b"));
    let loaded = reload(&config, &sources).expect("a mended file");
    assert_eq!(loaded.config.upstreams[0].base_url.host(), "b");
}

#[test]
fn ledger_and_holders_of_rights_are_taken_at_the_start_alone() {
    let folder = Folder::new("reload-start");
    let (sources, config) = start(&folder);
    folder.write(
        "grapevine.yaml",
        format!("{GOOD}ledger: {{file: usage.jsonl}}\nlimits: {{file: rights.json, nodes: [a]}}\n"),
    );
    let loaded = reload(&config, &sources).expect("a good file");
    assert_eq!(
        loaded.pending_restart,
        ["ledger", "limits.nodes", "limits.file"]
    );
    assert_eq!(loaded.config.ledger, None);
    assert_eq!(loaded.config.limits, config.limits);
}

#[test]
fn hash_is_the_beginning_of_what_sha256sum_prints() {
    let folder = Folder::new("reload-hash");
    let file = Some(folder.write("grapevine.yaml", "listen: 127.0.0.1:8080\n"));
    let sources = Sources {
        file,
        ..Sources::default()
    };
    let config = load(&sources).expect("a good configuration").config;
    assert_eq!(config.file_hash.as_deref(), Some("d39d0ff40a9b"));
    let config = load(&Sources::default())
        .expect("a good configuration")
        .config;
    assert_eq!(config.file_hash, None, "there is no file");
}

#[test]
fn what_cannot_change_keeps_its_value_with_a_warning() {
    let folder = Folder::new("reload-fixed");
    let (sources, config) = start(&folder);
    let changed = "node: {name: other}\nlisten: 127.0.0.1:9999\nrouting: {attempts: 2}\n\
                   upstreams: [{name: a, base_url: 'http://a'}]\n";
    folder.write("grapevine.yaml", changed);
    let loaded = reload(&config, &sources).expect("a good file");
    assert_eq!(
        (loaded.config.node.name, loaded.config.listen),
        (config.node.name, config.listen)
    );
    assert_eq!(loaded.config.routing.attempts_max, 2);
    assert_eq!(loaded.pending_restart, ["node.name", "listen"]);
    let warnings: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| warning.key.as_str())
        .collect();
    assert_eq!(warnings, ["node.name", "listen"]);
    assert!(
        loaded.warnings[1].to_string().ends_with(
            "grapevine.yaml: listen: cannot change while the node runs, and stays as it was; \
             restart the node to change it"
        ),
        "{}",
        loaded.warnings[1]
    );
}

#[test]
fn answers_of_dns_may_change_but_not_its_address_nor_what_is_published_to_clients() {
    let folder = Folder::new("reload-dns");
    let text = |url: &str, listen: &str, ttl: &str| {
        let node = format!("node: {{public: {{url: '{url}', addresses: [203.0.113.5]}}}}\n");
        format!("{GOOD}{node}dns: {{listen: '{listen}', zone: a.example, ttl: {ttl}}}\n")
    };
    let first = text("http://a", "127.0.0.1:5353", "30s");
    let file = Some(folder.write("grapevine.yaml", first));
    let sources = Sources {
        file,
        ..Sources::default()
    };
    let config = load(&sources).expect("a good configuration").config;
    let keys = |loaded: &Loaded| -> Vec<String> {
        let warnings = loaded.warnings.iter();
        warnings.map(|warning| warning.key.clone()).collect()
    };

    folder.write("grapevine.yaml", text("http://b", "127.0.0.1:5353", "5s"));
    let loaded = reload(&config, &sources).expect("a good file");
    assert_eq!(keys(&loaded), ["node.public.url"]);
    assert_eq!(loaded.config.node.public_url, config.node.public_url);
    let ttl = |config: &Config| config.dns.as_ref().map(|dns| dns.ttl.as_secs());
    assert_eq!(ttl(&loaded.config), Some(5));

    folder.write("grapevine.yaml", text("http://a", "127.0.0.1:5354", "5s"));
    let loaded = reload(&config, &sources).expect("a good file");
    assert_eq!(
        (keys(&loaded), loaded.config.dns),
        (vec!["dns".into()], config.dns)
    );
}

/// One test, since the signal reaches every watch of the process.
#[tokio::test]
async fn hangup_and_changed_replaced_and_removed_files_are_seen() {
    let folder = Folder::new("watch");
    let (sources, config) = start(&folder);
    let mut watch = ConfigWatch::new(files(&sources, &config), LOOK).expect("a watch");
    let quiet = tokio::time::timeout(LOOK * 10, watch.changed()).await;
    assert!(quiet.is_err(), "nothing changed: {quiet:?}");

    let pid = std::process::id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    assert_eq!(triggered(&mut watch).await, Trigger::Signal);

    folder.write("grapevine.yaml", "listen: 127.0.0.1:1\n");
    assert_eq!(triggered(&mut watch).await, Trigger::File);
    let next = folder.write("next.yaml", "listen: 127.0.0.1:2\n");
    let path = sources.file.expect("a file");
    std::fs::rename(next, &path).expect("a file can be replaced");
    assert_eq!(triggered(&mut watch).await, Trigger::File);
    std::fs::remove_file(path).expect("a file can be removed");
    assert_eq!(triggered(&mut watch).await, Trigger::File);
}

#[test]
fn certificates_are_watched_too() {
    let mut config = good(GOOD);
    config.tls = Some(checked::TlsConfig {
        cert: "c.pem".into(),
        key: "k.pem".into(),
    });
    let sources = Sources {
        file: Some("f.yaml".into()),
        ..Sources::default()
    };
    let names: Vec<_> = files(&sources, &config)
        .into_iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(names, ["c.pem", "f.yaml", "k.pem"]);
}

async fn triggered(watch: &mut ConfigWatch) -> Trigger {
    tokio::time::timeout(PATIENCE, watch.changed())
        .await
        .expect("a change is seen")
}
