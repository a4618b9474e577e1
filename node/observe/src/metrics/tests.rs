//! The table in `deploy/prometheus/METRICS.md` against what a node with something of everything shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_base::limits::LimitKind;
use grapevine_base::listener::metrics::Listener;
use grapevine_base::own_files::CertificateExpiry;
use grapevine_core::Instant;
use grapevine_core::account::{AccountFact, AccountSpec, QuotaScope};
use grapevine_core::cache_meter::CacheMeter;
use grapevine_core::fact::{
    AnswerFigures, FurtherFigures, Phase, ServicesFact, Standing, UpstreamFact,
};
use grapevine_core::ids::{
    AccountName, Generation, ModelName, NodeName, RegionName, ServiceKey, UpstreamName,
};
use grapevine_core::latency::ByClass;
use grapevine_core::notice::Notice;
use grapevine_core::reported::EngineMetrics;
use grapevine_core::units::{Share, Tier, Weight};
use grapevine_core::view::{NodeView, Reach, Routes, UpstreamStatus};

use super::*;
use crate::credentials::CredentialReport;
use crate::history::tests::record;
use crate::record::{Served, Tokens};

const TABLE: &str = include_str!("../../../../deploy/prometheus/METRICS.md");

const MODEL: &str = "gpt-4o";

fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

fn half_cached() -> CacheMeter {
    let cache = CacheMeter::default();
    cache.record(100, 50);
    cache
}

fn account() -> AccountName {
    AccountName::new("main").expect("a valid name")
}

fn node(name: &str) -> NodeView {
    let upstream = UpstreamStatus {
        fact: Arc::new(UpstreamFact {
            name: UpstreamName::new("primary").expect("a valid name"),
            models: BTreeMap::from([(model(MODEL), None)]),
            standing: Standing::Ready,
            ttft: Some(Duration::from_millis(310)),
            error_rate: Share::default(),
            break_rate: Share::ZERO,
            in_flight: 1,
            in_flight_max: 8,
            tier: Tier::default(),
            weight: Weight::default(),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            websocket: false,
            models_out: BTreeMap::new(),
            further: FurtherFigures {
                all: AnswerFigures {
                    whole: Some(Duration::from_millis(4_210)),
                    per_kib: Duration::ZERO,
                },
                load: Some(Box::default()),
                ..FurtherFigures::default()
            },
            account: Some(Box::new(AccountFact {
                spec: AccountSpec {
                    name: account(),
                    quota: QuotaScope::Account,
                },
                rests: BTreeMap::from([(Some(model(MODEL)), Duration::from_secs(60))]),
            })),
        }),
        reported_at: Instant::from_start(Duration::ZERO),
        stands_since: Instant::from_start(Duration::ZERO),
        again_at: None,
        in_flight: 1,
        engine: Some(EngineMetrics {
            running: 1,
            cache_usage: Some(Share::clamped(0.5)),
            ..EngineMetrics::default()
        }),
        cache: half_cached(),
        last_failure: None,
        percentiles: ByClass::default(),
        checks: None,
    };
    let service = ServiceKey::new("a:x").expect("a valid key");
    NodeView {
        name: NodeName::new(name).expect("a valid name"),
        fact: None,
        generation: Generation(1),
        phase: Phase::Ready,
        live: true,
        reach: Reach::Open,
        rtt: Some(Duration::from_millis(72)),
        services: Some(Arc::new(ServicesFact {
            serves: BTreeSet::new(),
            waiting: BTreeMap::from([(service, 2)]),
            store: None,
        })),
        upstreams: vec![upstream],
        rules_differ_since: Some(Instant::START),
    }
}

fn view() -> View {
    View {
        made_at: Instant::from_start(Duration::ZERO),
        node: NodeName::new("sgp").expect("a valid name"),
        region: RegionName::new("sgp").expect("a valid name"),
        place: None,
        phase: Phase::Ready,
        settled: true,
        models: BTreeMap::from([(model(MODEL), Routes::default())]),
        any_model: Routes::default(),
        no_model: Routes::default(),
        own: BTreeMap::new(),
        nodes: vec![node("sgp"), node("usa")],
        mesh_rules: Arc::default(),
    }
}

/// A streamed request for `name` that was answered by an own upstream.
fn answered(name: &str) -> RequestRecord {
    RequestRecord {
        model: Some(model(name)),
        stream: true,
        served: Some(Served {
            node: NodeName::new("sgp").expect("a valid name"),
            region: RegionName::new("sgp").expect("a valid name"),
            upstream: UpstreamName::new("primary").expect("a valid name"),
            account: Some(account()),
        }),
        tokens: Tokens {
            input: Some(12),
            output: Some(300),
            ..Tokens::default()
        },
        cost: Some(grapevine_core::price::NanoUsd(1)),
        ..record(1)
    }
}

/// A configuration that was refused, and a certificate.
fn files() -> OwnFiles {
    let files = OwnFiles::default();
    let certificate = CertificateExpiry {
        used_for: "mesh",
        not_after: Duration::from_secs(1_800_000_000),
    };
    let (hash, at) = (Some("0123456789ab".to_owned()), Duration::from_secs(5));
    files.loaded(hash, vec!["mesh".to_owned()], vec![certificate], at);
    files.refused(None, "listen: is wrong", Duration::from_secs(9));
    files
}

/// Metrics of which every one has a value.
fn filled() -> Metrics {
    let metrics = Metrics::new("sgp", "sgp");
    metrics.request(&answered(MODEL), &view());
    metrics.dns().count("A", "NOERROR");
    metrics.connections().of(Listener::Public, 8);
    metrics.show_keys(KeyRing::default());
    metrics.show_files(files());
    metrics.accounts().refused(&account(), LimitKind::Requests);
    let tasks = metrics.tasks();
    tasks.enqueued("a:x", Duration::ZERO);
    tasks.began_again("a:x");
    tasks.ended("a:x", "completed", Duration::ZERO);
    tasks.lost(1);
    tasks.refused("waiting");
    tasks.counted(None, [("a:x".to_owned(), [("waiting", 1); 4])]);
    metrics
}

fn losses() -> Losses {
    Losses {
        counts: vec![("records", 3)],
        quarantined: vec![(
            NodeName::new("jpn").expect("a valid name"),
            Duration::from_secs(7),
        )],
        credentials: vec![CredentialReport {
            upstream: UpstreamName::new("azure").expect("a valid name"),
            kind: "entra",
            expires_at: Some(SystemTime::now()),
            renewed_at: None,
            last_failure: None,
            renewals: (1, 2),
        }],
    }
}

fn scraped(metrics: &Metrics) -> String {
    metrics.scrape(&view(), &losses(), Form::Prometheus)
}

/// Rows of the table as the text shows them: name, type, labels, help.
fn rows(text: &str) -> BTreeSet<[String; 4]> {
    let mut rows = BTreeSet::new();
    let mut help = "";
    for line in text.lines() {
        if let Some((_, text)) = line
            .strip_prefix("# HELP ")
            .and_then(|it| it.split_once(' '))
        {
            help = text.trim_end_matches('.');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split_once(' '))
        {
            let labels = labels(text, name);
            rows.insert([name, kind, &labels, help].map(str::to_owned));
        }
    }
    rows
}

#[test]
fn model_of_any_name_is_one_label() {
    let metrics = Metrics::new("sgp", "sgp");
    let name = "two \"wörter\" \\";
    let listed = View {
        models: BTreeMap::from([(model(name), Routes::default())]),
        ..view()
    };
    metrics.request(&answered(name), &listed);
    let text = metrics.scrape(&listed, &losses(), Form::Prometheus);
    let label = r#"gen_ai_request_model="two \"wörter\" \\""#;
    assert!(text.contains(label), "{text}");
}

/// The labels of `name`'s values.
fn labels(text: &str, name: &str) -> String {
    let mut labels = BTreeSet::new();
    for line in text.lines() {
        let Some((sample, rest)) = line.split_once('{') else {
            continue;
        };
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|it| sample.strip_suffix(it));
        if sample == name || base == Some(name) {
            let names = rest
                .split("=\"")
                .filter_map(|part| part.rsplit([',', '"', ' ']).next());
            let names = names.filter(|label| !label.is_empty() && *label != "le");
            labels.extend(names.filter(|label| {
                label
                    .bytes()
                    .all(|it| it.is_ascii_lowercase() || it == b'_')
            }));
        }
    }
    Vec::from_iter(labels).join(", ")
}

/// Rows of the table as written.
fn written() -> BTreeSet<[String; 4]> {
    let cells = TABLE.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .strip_prefix("| `")?
            .trim_end_matches(" |")
            .split(" | ")
            .collect();
        let cells: [&str; 4] = cells.try_into().expect("four cells in a row");
        Some(cells.map(|cell| cell.replace('`', "")))
    });
    cells.collect()
}

#[test]
fn table_has_every_metric_and_none_besides() {
    let (shown, written) = (rows(&scraped(&filled())), written());
    let line = |row: &[String; 4]| {
        let [name, kind, labels, help] = row;
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels: Vec<String> = labels.map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
    };
    let missing: Vec<String> = shown.difference(&written).map(line).collect();
    let left_over: Vec<String> = written.difference(&shown).map(line).collect();
    assert!(
        missing.is_empty() && left_over.is_empty(),
        "deploy/prometheus/METRICS.md misses\n{}\nand has besides\n{}",
        missing.join("\n"),
        left_over.join("\n")
    );
}

#[test]
fn test_above_knows_every_metric_there_is() {
    let metrics = filled();
    let text = metrics.scrape(&view(), &losses(), Form::OpenMetrics);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let shown: Vec<&str> = types
        .filter_map(|line| Some(line.split_once(' ')?.0))
        .collect();
    assert_eq!(shown, metrics.0.families.names());
}

#[test]
fn model_that_nobody_lists_shares_a_label() {
    let metrics = filled();
    metrics.request(&answered("made-up-by-a-client"), &view());
    let text = scraped(&metrics);
    assert!(!text.contains("made-up"), "{text}");
    let count = "gen_ai_server_request_duration_seconds_count";
    let counted = text.lines().filter(|line| line.starts_with(count));
    let counted: Vec<&str> = counted.collect();
    assert_eq!(counted.len(), 2, "{counted:?}");
    assert!(
        counted
            .iter()
            .any(|line| line.contains("gen_ai_request_model=\"other\"")),
        "{counted:?}"
    );
}

#[test]
fn losses_are_what_was_lost_and_not_their_sum() {
    let metrics = filled();
    let (first, second) = (scraped(&metrics), scraped(&metrics));
    let line = "grapevine_lost_total{kind=\"records\"} 3";
    assert!(first.contains(line) && second.contains(line), "{second}");
}

#[test]
fn files_show_the_last_reload_and_the_end_of_certificates() {
    let text = scraped(&filled());
    for line in [
        "grapevine_config_last_reload_success 0",
        "grapevine_config_last_reload_timestamp_seconds 9",
        "grapevine_config_pending_restart 1",
        "grapevine_config_info{hash=\"0123456789ab\"} 1",
        "grapevine_certificate_expiry_timestamp_seconds{use=\"mesh\"} 1800000000.0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

#[test]
fn kind_of_a_notice_is_one_that_is_shown_from_the_start() {
    let peer = NodeName::new("usa").expect("a valid name");
    let upstream = UpstreamName::new("primary").expect("a valid name");
    let fresh = scraped(&Metrics::new("sgp", "sgp"));
    for notice in [
        Notice::PeerDied { peer: peer.clone() },
        Notice::LinkSilent { peer },
        Notice::UpstreamRecovered { upstream },
    ] {
        let line = format!(
            "grapevine_transitions_total{{kind=\"{}\"}} 0",
            notices::kind(&notice)
        );
        assert!(fresh.contains(&line), "{line}");
    }
}

#[test]
fn answer_that_broke_off_is_counted_as_such_beside_its_status() {
    let metrics = Metrics::new("sgp", "singapore");
    let broken = RequestRecord {
        error: Some("upstream_broken_off"),
        ..answered(MODEL)
    };
    metrics.request(&broken, &view());
    let text = scraped(&metrics);
    for line in [
        "grapevine_requests_total{status=\"2xx\"} 1",
        "grapevine_requests_ended_total{end=\"broken_off\"} 1",
        "grapevine_requests_ended_total{end=\"failed\"} 0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn client_without_a_good_key_is_counted() {
    let metrics = filled();
    for error in [
        "missing_api_key",
        "invalid_api_key",
        "invalid_api_key",
        "overloaded",
    ] {
        let refused = RequestRecord {
            error: Some(error),
            ..record(1)
        };
        metrics.request(&refused, &view());
    }
    let text = scraped(&metrics);
    for (reason, count) in [("missing", 1), ("wrong", 2), ("blocked", 0)] {
        let labels = format!("listener=\"public\",reason=\"{reason}\"");
        let line = format!("grapevine_unauthorized_total{{{labels}}} {count}");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}
