//! The content of a `/live` event, and how it stays small whatever the size of the mesh.
//!
//! Nodes are as in `/mesh` and requests as in `/requests`, so that one table documents both; what the
//! page does not show is left out, lists are cut, and sums cover everything.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_base::clock;
use grapevine_core::Instant;
use grapevine_core::ids::StoreName;
use grapevine_core::view::{MeshSummary, NodeState, NodeView, Reach, UpstreamStatus, View};
use grapevine_core::work;
use grapevine_observe::milliseconds;
use grapevine_observe::pulse::{self, Bucket, Crowd, Tally};
use grapevine_observe::record::RequestRecord;
use serde_json::{Map, Value, json};

use super::super::{Admin, limits, mesh, summary};

/// Nodes in an event: this one, those in trouble, the nearest.
const NODES_MAX: usize = 128;

/// Upstreams of all these nodes together.
const UPSTREAMS_MAX: usize = 256;

/// Regions with sums of their own.
const REGIONS_MAX: usize = 64;

/// Models listed per upstream.
const MODELS_MAX: usize = 4;

/// Services per node, in each list.
const SERVICES_MAX: usize = 4;

/// Warnings, and services that nobody serves.
const WARNINGS_MAX: usize = 16;

/// Requests in an event.
pub(super) const REQUESTS_MAX: usize = 50;

/// Attempts, and untried candidates, of one request.
const CHOICES_MAX: usize = 8;

/// Characters of any text in a request.
const TEXT_MAX: usize = 160;

/// Buckets that count as "now" for traffic: the last minute.
const RECENT: usize = 12;

/// The longest mesh event, with every list full and every name at its limit.
#[cfg(test)]
const MESH_BYTES_MAX: usize = 640 << 10;

/// The longest requests event.
#[cfg(test)]
const REQUESTS_BYTES_MAX: usize = 640 << 10;

/// The mesh as this node sees it.
pub(super) fn picture(admin: &Admin, view: &View) -> Value {
    let now = admin.driver.now();
    let buckets = admin.pulse.last(now);
    let recent = &buckets[buckets.len().saturating_sub(RECENT)..];
    let mut readiness = admin.readiness.reasons(view);
    readiness.warnings.truncate(WARNINGS_MAX);
    let mut picture = of_view(view, now);
    mesh::add_credentials(&mut picture, &(admin.losses)().credentials);
    summary::add_configured(&mut picture, &(admin.config)());
    for (key, value) in [
        ("time", json!(clock::wall().as_secs_f64())),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("worker_mode", json!(admin.mode.to_string())),
        ("readiness", readiness.to_json()),
        ("under_way", json!(admin.driver.budget().requests())),
        ("forwarded", forwarded(view, recent)),
        ("origins", origins(recent)),
        ("pulse", pulse_to_json(&buckets, now)),
        ("limits", limits::to_json(&admin.limits, now)),
    ] {
        picture[key] = value;
    }
    for (key, value) in admin.readiness.files().to_json(clock::wall()) {
        picture[key] = value;
    }
    picture
}

/// Requests, as in the operator's list.
pub(super) fn requests(records: &[RequestRecord], total: u64) -> Value {
    let shown = records.iter().map(|record| clipped(record.to_json()));
    json!({"total": total, "requests": shown.collect::<Vec<_>>()})
}

/// The part that the view alone contains.
fn of_view(view: &View, now: Instant) -> Value {
    let mut nodes: Vec<&NodeView> = view.nodes.iter().collect();
    nodes.sort_by_key(|node| sort_key(view, node));
    let mut room = UPSTREAMS_MAX;
    let shown: Vec<Value> = nodes
        .iter()
        .take(NODES_MAX)
        .map(|node| node_to_json(node, now, &mut room))
        .collect();
    let summed = MeshSummary::of(view);
    let unserved = work::unserved(view).into_iter().take(WARNINGS_MAX);
    let unserved = unserved.map(|tasks| {
        json!({
            "service": tasks.service.as_str(),
            "node": tasks.node.as_str(),
            "store": tasks.store.map(StoreName::as_str),
            "waiting": tasks.waiting,
        })
    });
    json!({
        "self": view.node.as_str(),
        "region": view.region.as_str(),
        "totals": totals(view, &summed),
        "summary": summary::to_json(&summed),
        "regions": regions(view),
        "nodes": shown,
        "unserved": unserved.collect::<Vec<_>>(),
    })
}

/// This node first, then those in trouble, then the nearest.
fn sort_key(view: &View, node: &NodeView) -> (bool, bool, Duration) {
    let is_other = node.name != view.node;
    let rtt = node.rtt.unwrap_or(Duration::MAX);
    (is_other, !is_in_trouble(node), rtt)
}

fn is_in_trouble(node: &NodeView) -> bool {
    let is_unusable = |it: &UpstreamStatus| !node.may_use(it);
    node.state() != NodeState::Ready || node.upstreams.iter().any(is_unusable)
}

/// As in `/mesh`, without what the page does not show; lists at most `room` upstreams, and subtracts them from it.
fn node_to_json(node: &NodeView, now: Instant, room: &mut usize) -> Value {
    let mut shown = mesh::node_to_json(node, now);
    if let Some(fields) = shown.as_object_mut() {
        for key in ["generation", "protocol", "public"] {
            fields.remove(key);
        }
    }
    shown["upstreams_total"] = json!(node.upstreams.len());
    if let Some(upstreams) = shown["upstreams"].as_array_mut() {
        upstreams.truncate(*room);
        *room -= upstreams.len();
        for upstream in upstreams {
            upstream["models_total"] = json!(upstream["models"].as_array().map_or(0, Vec::len));
            cut(&mut upstream["models"], MODELS_MAX);
        }
    }
    cut(&mut shown["services"], SERVICES_MAX);
    cut(&mut shown["tasks_waiting"], SERVICES_MAX);
    shown
}

fn cut(list: &mut Value, max: usize) {
    match list {
        Value::Array(entries) => entries.truncate(max),
        Value::Object(entries) => {
            *entries = std::mem::take(entries).into_iter().take(max).collect()
        }
        _ => {}
    }
}

/// Counts of everything, whatever is left out below.
fn totals(view: &View, summed: &MeshSummary) -> Value {
    let peers = || view.nodes.iter().filter(|node| node.name != view.node);
    let is_expected =
        |node: &&NodeView| node.live && !matches!(node.reach, Reach::Closed | Reach::Unlinked);
    json!({
        "nodes": summed.nodes.all(),
        "live": view.nodes.iter().filter(|node| node.live).count(),
        "links": peers().filter(is_expected).count(),
        "links_open": peers().filter(|node| node.reach == Reach::Open).count(),
        "upstreams": summed.upstreams,
        "usable": summed.upstreams_usable,
    })
}

/// Usable upstreams of a node.
fn usable(node: &NodeView) -> usize {
    let is_usable = |status: &&UpstreamStatus| node.may_use(status);
    node.upstreams.iter().filter(is_usable).count()
}

/// Sums of one region.
#[derive(Default)]
struct Region {
    nodes: u32,
    live: u32,
    reachable: u32,
    upstreams: usize,
    usable: usize,
    in_flight: u64,
    in_flight_max: u64,
    rtt: Option<Duration>,
    ttft: Option<Duration>,
}

fn regions(view: &View) -> Value {
    let mut regions: BTreeMap<&str, Region> = BTreeMap::new();
    for node in &view.nodes {
        let Some(fact) = &node.fact else { continue };
        let name = fact.region.as_str();
        if regions.len() == REGIONS_MAX && !regions.contains_key(name) {
            continue;
        }
        regions.entry(name).or_default().add(node);
    }
    let shown = regions.iter().map(|(name, region)| {
        json!({
            "name": name,
            "nodes": region.nodes,
            "live": region.live,
            "reachable": region.reachable,
            "upstreams": region.upstreams,
            "usable": region.usable,
            "in_flight": region.in_flight,
            "in_flight_max": region.in_flight_max,
            "rtt_ms": region.rtt.map(milliseconds),
            "ttft_ms": region.ttft.map(milliseconds),
        })
    });
    shown.collect::<Vec<_>>().into()
}

impl Region {
    fn add(&mut self, node: &NodeView) {
        let sooner =
            |one: Option<Duration>, other: Option<Duration>| one.into_iter().chain(other).min();
        self.nodes += 1;
        self.live += u32::from(node.live);
        self.reachable += u32::from(node.reach.takes_work());
        self.upstreams += node.upstreams.len();
        self.usable += usable(node);
        self.rtt = sooner(self.rtt, node.rtt);
        for status in &node.upstreams {
            self.in_flight += u64::from(status.in_flight);
            self.in_flight_max += u64::from(status.fact.in_flight_max);
            self.ttft = sooner(self.ttft, status.fact.ttft);
        }
    }
}

/// Attempts of the last minute at each peer.
fn forwarded(view: &View, recent: &[Bucket]) -> Value {
    let mut sums: BTreeMap<&str, Tally> = BTreeMap::new();
    for (node, tally) in recent.iter().flat_map(|bucket| &bucket.attempts) {
        if *node != view.node {
            let sum = sums.entry(node.as_str()).or_default();
            sum.made += tally.made;
            sum.failed += tally.failed;
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.made));
    let shown = sums.into_iter().take(pulse::NAMED_MAX);
    let shown = shown
        .map(|(node, tally)| json!({"node": node, "attempts": tally.made, "failed": tally.failed}));
    shown.collect::<Vec<_>>().into()
}

/// Where the clients of the last minute are, to a degree.
fn origins(recent: &[Bucket]) -> Value {
    let mut sums: BTreeMap<&str, Crowd> = BTreeMap::new();
    for (area, crowd) in recent.iter().flat_map(|bucket| &bucket.areas) {
        let none = Crowd {
            place: None,
            requests: 0,
        };
        let sum = sums.entry(area.as_str()).or_insert(none);
        sum.requests += crowd.requests;
        sum.place = crowd.place.or(sum.place);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, crowd)| std::cmp::Reverse(crowd.requests));
    let shown = sums
        .into_iter()
        .take(pulse::NAMED_MAX)
        .map(|(area, crowd)| {
            let place = crowd.place.map(
                |place| json!({"lat": place.latitude().round(), "lon": place.longitude().round()}),
            );
            json!({"area": area, "location": place, "requests": crowd.requests})
        });
    shown.collect::<Vec<_>>().into()
}

/// The last ten minutes; the last interval is still open, and this much of it has passed.
fn pulse_to_json(buckets: &[Bucket], now: Instant) -> Value {
    let interval = pulse::INTERVAL.as_secs_f64();
    let first_byte = |share: f64| -> Vec<Option<f64>> {
        let each = buckets.iter().map(|bucket| bucket.first_byte(share));
        each.map(|span| span.map(|span| milliseconds(span).round()))
            .collect()
    };
    json!({
        "interval_s": interval,
        "elapsed_s": now.since_start().as_secs_f64() % interval,
        "requests": buckets.iter().map(|bucket| bucket.requests).collect::<Vec<_>>(),
        "failed": buckets.iter().map(|bucket| bucket.failed).collect::<Vec<_>>(),
        "p50_ms": first_byte(0.5),
        "p99_ms": first_byte(0.99),
    })
}

/// `value` with every text and list cut to the limits of a request.
fn clipped(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > TEXT_MAX => {
            let begin: String = text.chars().take(TEXT_MAX - 1).collect();
            Value::String(begin + "…")
        }
        Value::Array(entries) => entries.into_iter().take(CHOICES_MAX).map(clipped).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, clipped(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_core::engine::{Engine, Event, Identity, Via};
    use grapevine_core::fact::{
        Fact, FurtherFigures, NodeFact, Public, ServicesFact, Standing, UpstreamFact,
    };
    use grapevine_core::health::EjectionReason;
    use grapevine_core::ids::{
        Generation, ModelName, NodeName, RegionName, ServiceKey, Stamp, UpstreamName,
    };
    use grapevine_core::units::{Share, Tier, Weight};
    use std::collections::BTreeSet;

    use grapevine_base::entropy;

    /// The longest permitted name, ending in `number`.
    fn name(number: usize, bytes: usize) -> String {
        format!("{number:n>bytes$}")
    }

    fn region(number: usize) -> RegionName {
        RegionName::new(&name(number, 63)).expect("a region")
    }

    fn node_fact(number: usize) -> NodeFact {
        NodeFact {
            region: region(number % 100),
            place: grapevine_core::geo_point::GeoPoint::new(-12.345_678_9, -123.456_789_1),
            protocol: 1,
            build: name(number, 64),
            serves_requests: true,
            public: Public::default(),
        }
    }

    fn services() -> ServicesFact {
        let key = |number| ServiceKey::new(&name(number, 60)).expect("a service");
        ServicesFact {
            serves: (0..8).map(key).collect::<BTreeSet<_>>(),
            waiting: (0..8).map(|number| (key(number), 1_000_000)).collect(),
            store: None,
        }
    }

    fn upstream(number: usize) -> UpstreamFact {
        let model = |number| ModelName::new(&name(number, 128)).expect("a model");
        let span = Duration::from_micros(123_456_789);
        UpstreamFact {
            name: UpstreamName::new(&name(number, 63)).expect("an upstream"),
            models: (0..6).map(|number| (model(number), Some(span))).collect(),
            standing: Standing::Ejected {
                reason: EjectionReason::Credential,
            },
            ttft: Some(span),
            error_rate: Share::of(1, 3),
            break_rate: Share::ZERO,
            in_flight: 1_000_000,
            in_flight_max: 1_000_000,
            tier: Tier(1),
            weight: Weight::default(),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            websocket: false,
            models_out: BTreeMap::new(),
            further: FurtherFigures::default(),
            account: None,
        }
    }

    /// A mesh of `count` nodes with two upstreams each, with names at their limit.
    fn mesh(count: usize) -> View {
        let identity = Identity {
            node: NodeName::new("self").expect("a name"),
            generation: Generation(1),
            region: region(0),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: Public::default(),
        };
        let (mut engine, mut rng) = (Engine::new(Instant::START, identity), entropy::generator());
        for number in 1..count {
            let node = NodeName::new(&name(number, 63)).expect("a name");
            let facts = [
                Fact::Node(node_fact(number)),
                Fact::Services(services()),
                Fact::Upstream(upstream(1)),
                Fact::Upstream(upstream(2)),
            ];
            for (version, fact) in (1..).zip(facts) {
                let received = Event::FactReceived {
                    node: node.clone(),
                    stamp: Stamp {
                        generation: Generation(1),
                        version,
                    },
                    fact,
                    via: Via::Gossip,
                };
                engine.handle(Instant::START, received, &mut rng);
            }
        }
        engine.view(Instant::START)
    }

    #[test]
    fn picture_of_a_thousand_nodes_is_bounded_and_counts_them_all() {
        let view = mesh(1_000);
        let picture = of_view(&view, Instant::START);
        let bytes = picture.to_string().len();
        assert!(bytes < MESH_BYTES_MAX, "{bytes} bytes");
        assert_eq!(picture["totals"]["nodes"], 1_000);
        assert_eq!(picture["totals"]["upstreams"], 1_998);
        assert_eq!(picture["nodes"].as_array().map(Vec::len), Some(NODES_MAX));
        assert_eq!(picture["nodes"][0]["name"], "self");
        assert_eq!(
            picture["regions"].as_array().map(Vec::len),
            Some(REGIONS_MAX)
        );
    }

    #[test]
    fn small_mesh_is_shown_whole() {
        let picture = of_view(&mesh(4), Instant::START);
        let upstreams = |node: &Value| node["upstreams"].as_array().map_or(0, Vec::len);
        let nodes = picture["nodes"].as_array().expect("nodes");
        assert_eq!(
            nodes.iter().map(upstreams).collect::<Vec<_>>(),
            [0, 2, 2, 2]
        );
        assert_eq!(nodes[1]["upstreams"][0]["models_total"], 6);
    }

    #[test]
    fn long_texts_and_lists_of_a_request_are_cut() {
        let attempt = json!({"detail": "ö".repeat(10_000), "node": name(1, 63)});
        let record = json!({"path": "/".repeat(10_000), "attempts": vec![attempt; 100]});
        let cut = clipped(record);
        assert_eq!(
            cut["path"].as_str().map(|path| path.chars().count()),
            Some(TEXT_MAX)
        );
        assert_eq!(cut["attempts"].as_array().map(Vec::len), Some(CHOICES_MAX));
        assert!(
            cut["attempts"][0]["detail"]
                .as_str()
                .is_some_and(|text| text.ends_with('…'))
        );
        assert_eq!(cut["attempts"][0]["node"], name(1, 63));
    }

    #[test]
    fn event_of_the_longest_requests_is_bounded() {
        let text = "\"".repeat(10_000);
        let span = 123_456.789;
        let cost = json!({"rtt": span, "ttft": span, "load": span, "staleness": span, "breaks": span, "total": span});
        let mut choice = json!({
            "node": name(1, 63), "region": name(1, 63), "upstream": name(1, 63),
            "outcome": "deadline_passed", "ms": span, "reason": "preferred-region", "cost_ms": cost,
        });
        let untried = vec![choice.clone(); 100];
        choice["detail"] = json!(text);
        // Those that a client chooses: id, path, model; and those of the configuration: key, residency.
        let long: Map<String, Value> = (0..6).map(|n| (name(n, 12), json!(text))).collect();
        let mut record = Value::Object(long);
        record["attempts"] = json!(vec![choice; 100]);
        record["untried"] = json!(untried);
        let bytes = clipped(record).to_string().len() * REQUESTS_MAX;
        assert!(bytes < REQUESTS_BYTES_MAX, "{bytes} bytes");
    }
}
