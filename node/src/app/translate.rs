//! From the configuration to the options of each shell and of core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::listener::metrics::ConnectionMetrics;
use grapevine_config::Config;
use grapevine_config::checked::{CorsOrigins, ModelConfig, UpstreamConfig, UpstreamModels};
use grapevine_core::connection::Patience;
use grapevine_core::engine::{Identity, Models, Probe, UpstreamSpec};
use grapevine_core::fact::{Public, ServicesFact};
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::hedge_budget::HedgeBudget;
use grapevine_core::ids::{Generation, UpstreamName};
use grapevine_core::request::FailoverPolicy;
use grapevine_core::work;
use grapevine_http::dns;
use grapevine_http::ingress::{self, Cors, Keys, ListenSettings, ModelNotes, TlsHandle};
use grapevine_http::prober;
use grapevine_http::upstream;
use grapevine_keys::rights::{ClientKey, KeyRights, KeyScope, StaticKey};
use grapevine_keys::ring::KeyRing;
use grapevine_observe::metrics::Metrics;
use grapevine_observe::otlp::{Collector, SpanSender, Tracer};
use grapevine_observe::trace::Sampler;
use http::HeaderValue;

use super::{NodeStartError, accounts, capacity, seal};

/// A stream that is silent for this long gets a comment: below the 30 s after which common balancers
/// drop a connection.
const STREAM_PING_INTERVAL: std::time::Duration = std::time::Duration::from_secs(15);

/// How long a client may stall in reading an answer: nginx's `send_timeout`.
const STALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) fn identity(
    config: &Config,
    database: &grapevine_geo::Database,
    generation: Generation,
) -> Identity {
    Identity {
        node: config.node.name.clone(),
        generation,
        region: config.node.region.clone(),
        place: place(config, database),
        protocol: grapevine_proto::frame::VERSION,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        serves_requests: config.worker_mode.serves_requests(),
        public: public(config),
    }
}

/// What is published to clients about the node.
fn public(config: &Config) -> Public {
    let node = &config.node;
    Public {
        url: node.public_url.as_ref().map(|url| url.to_string().into()),
        addresses: node.public_addresses.as_slice().into(),
        answers_dns: config.dns.is_some(),
    }
}

/// The settings of the DNS server; `None` where there is none.
pub(super) fn dns(config: &Config) -> Option<dns::DnsSettings> {
    let dns = config.dns.as_ref()?;
    let (homes, residency) = (config.geo.homes.clone(), config.residency.clone());
    Some(dns::DnsSettings::new(
        &dns.zone,
        dns.ttl,
        &dns.name_servers,
        homes,
        residency,
    ))
}

/// Where the node is: as written, else by its region's code, else by its first public address that the
/// location database has.
fn place(config: &Config, database: &grapevine_geo::Database) -> Option<GeoPoint> {
    let node = &config.node;
    let by_address = || {
        let mut addresses = node.public_addresses.iter();
        addresses.find_map(|address| database.locate(*address).located()?.place)
    };
    node.place
        .or_else(|| grapevine_geo::region::place_of(&node.region))
        .or_else(by_address)
}

/// The background work of a node that keeps no tasks: a program beside it may serve what its mode names.
pub(super) fn services(config: &Config) -> ServicesFact {
    ServicesFact {
        serves: work::served(&config.worker_mode, []),
        waiting: BTreeMap::new(),
        store: None,
    }
}

/// Whether everyone may use the public address.
pub(super) fn is_open_to_all(config: &Config) -> bool {
    config.worker_mode.serves_requests() && config.needs_no_key()
}

pub(super) fn specs(config: &Config) -> Vec<UpstreamSpec> {
    let carried = capacity::in_flight(config);
    let spec = |upstream| spec(upstream, carried);
    config.upstreams.iter().map(spec).collect()
}

/// An upstream without a limit of its own may take all that the node carries.
fn spec(upstream: &UpstreamConfig, carried: u32) -> UpstreamSpec {
    let models = match &upstream.models {
        UpstreamModels::Discovered => Models::Discovered,
        UpstreamModels::Listed(models) => {
            Models::Listed(models.iter().map(|model| model.name.clone()).collect())
        }
    };
    UpstreamSpec {
        name: upstream.name.clone(),
        models,
        tier: upstream.tier,
        weight: upstream.weight,
        dialects: upstream.provider.dialects,
        websocket: upstream.websocket,
        attempts_max: upstream.attempts_max,
        in_flight_max: upstream.in_flight_max.unwrap_or(carried),
        health: upstream.health.clone(),
        probe: upstream.probe.kind,
        probe_interval: upstream.probe.interval,
        load_interval: upstream.load.as_ref().map(|load| load.interval),
        account: accounts::spec(upstream),
    }
}

pub(super) fn upstreams(config: &Config) -> Vec<upstream::UpstreamSettings> {
    config.upstreams.iter().map(upstream_settings).collect()
}

fn upstream_settings(upstream: &UpstreamConfig) -> upstream::UpstreamSettings {
    let renamed = |model: &ModelConfig| Some((model.name.clone(), model.upstream_name.clone()?));
    let renames = match &upstream.models {
        UpstreamModels::Discovered => BTreeMap::new(),
        UpstreamModels::Listed(models) => models.iter().filter_map(renamed).collect(),
    };
    upstream::UpstreamSettings {
        name: upstream.name.clone(),
        base_url: upstream
            .base_url
            .to_string()
            .parse()
            .expect("a checked base URL is a URI"),
        provider: upstream.provider.clone(),
        auth: upstream.auth.clone(),
        headers: upstream.headers.clone(),
        renames,
        lossy: upstream.lossy.clone(),
        load_path: upstream.load.as_ref().and_then(|load| load.path.clone()),
        timeouts: upstream.timeout,
    }
}

pub(super) fn probes(config: &Config) -> BTreeMap<UpstreamName, prober::ProbeTarget> {
    let probed = config
        .upstreams
        .iter()
        .filter(|upstream| upstream.probe.kind != Probe::Off);
    probed
        .map(|upstream| (upstream.name.clone(), probe_target(upstream)))
        .collect()
}

fn probe_target(upstream: &UpstreamConfig) -> prober::ProbeTarget {
    let chat_model = match &upstream.models {
        UpstreamModels::Discovered => None,
        UpstreamModels::Listed(models) => {
            let first = models.iter().find(|model| !model.name.is_any());
            first.map(|model| {
                model
                    .upstream_name
                    .as_ref()
                    .unwrap_or(&model.name)
                    .to_string()
            })
        }
    };
    prober::ProbeTarget {
        timeout: upstream.probe.timeout,
        chat_model,
    }
}

pub(super) fn outgoing_client() -> Result<reqwest::Client, NodeStartError> {
    let builder = reqwest::Client::builder()
        .use_preconfigured_tls(outgoing_tls()?)
        .no_proxy();
    // Redirects could send the credential elsewhere, and an API has none.
    let builder = builder.redirect(reqwest::redirect::Policy::none());
    let client = builder.build();
    client.map_err(|error| NodeStartError::OutgoingTls(error.to_string()))
}

/// The authorities that the node trusts for outgoing calls.
pub(super) fn outgoing_tls() -> Result<rustls::ClientConfig, NodeStartError> {
    upstream::tls_config().map_err(|error| NodeStartError::OutgoingTls(error.to_string()))
}

/// Decides which requests are traced; `None` where nothing would export them.
fn sampler(config: &Config) -> Option<Sampler> {
    let tracing = &config.tracing;
    tracing.otlp.as_ref().map(|_| Sampler::new(tracing.sample))
}

/// Sends spans, where a collector is configured.
pub(super) fn tracer(
    config: &Config,
) -> Result<Option<(Tracer, impl Future<Output = ()> + use<>)>, NodeStartError> {
    let Some(otlp) = &config.tracing.otlp else {
        return Ok(None);
    };
    let collector = Collector {
        url: format!("{}/v1/traces", otlp.endpoint),
        headers: otlp.headers.iter().cloned().collect(),
        client: outgoing_client()?,
    };
    let sender = SpanSender {
        node: config.node.name.to_string(),
        region: config.node.region.to_string(),
    };
    Ok(Some(Tracer::new(collector, &sender)))
}

/// The mark of this mesh's requests in `CDN-Loop`.
pub(super) fn passed(config: &Config) -> HeaderValue {
    let mesh = config
        .mesh
        .as_ref()
        .map_or("alone", |mesh| mesh.name.as_str());
    let name = match &config.mesh {
        Some(_) => format!("grapevine-{mesh}"),
        // Two nodes without a mesh may be chained.
        None => format!("grapevine-{mesh}-{}", config.node.name),
    };
    HeaderValue::from_str(&name).expect("names of meshes and nodes are visible ASCII")
}

/// The memory budget of request bodies, observed by `metrics`.
pub(super) fn bodies(config: &Config, metrics: &Metrics) -> BodyBudget {
    let bodies = BodyBudget::new(config.limits.body_memory.get());
    metrics.show_bodies(bodies.clone());
    bodies
}

/// The rules that the mesh applies to requests that peers forward.
pub(super) fn serving_rules(config: &Config) -> grapevine_mesh::ServingRules {
    grapevine_mesh::ServingRules {
        residency: config.residency.clone(),
        forwarding: config.forwarding.clone(),
    }
}

/// The keys of the file.
pub(super) fn filed_keys(config: &Config) -> Vec<StaticKey> {
    fn set<T: Ord + Clone>(list: Option<&Vec<T>>) -> Option<Arc<BTreeSet<T>>> {
        Some(Arc::new(list?.iter().cloned().collect()))
    }
    let filed = config.keys.iter().map(|key| {
        let scopes = match key.services {
            Some(_) => BTreeSet::from([KeyScope::Services]),
            None => KeyRights::default().scopes,
        };
        let known = ClientKey {
            expires_at: key.expires_at,
            rights: KeyRights {
                scopes,
                models: set(key.models.as_ref()),
                regions: set(key.regions.as_ref()),
                services: set(key.services.as_ref()),
                upstreams: key.upstreams.as_deref().map(Into::into),
                limits: key.limits,
                model_limits: (!key.model_limits.is_empty())
                    .then(|| Arc::new(key.model_limits.clone())),
                weight: key.weight,
                hedge: key.hedge,
            },
            ..ClientKey::named(&key.name)
        };
        StaticKey {
            hash: key.hash,
            key: Arc::new(known),
        }
    });
    filed.collect()
}

pub(super) fn ingress_settings(config: &Config, ring: &KeyRing) -> ingress::IngressSettings {
    ingress::IngressSettings {
        node: config.node.name.clone(),
        region: config.node.region.clone(),
        body_bytes_max: config.limits.body.as_usize(),
        body_timeout: config.limits.body_timeout,
        websocket_idle: config.limits.websocket_idle,
        in_flight_max: capacity::in_flight(config),
        polls_max: config.limits.polls,
        trusted_proxies: config.trusted_proxies.clone(),
        proxy_protocol: config.proxy_protocol,
        forwarding: config.forwarding.clone(),
        strategy: config.routing.strategy,
        cache_weight: config.routing.cache_weight,
        hedge: config.routing.hedge.map(HedgeBudget::of),
        seal_keys: seal::keys(&config.routing.seal),
        homes: config.geo.homes.clone(),
        residency: config.residency.clone(),
        failover: Arc::new(FailoverPolicy {
            attempts_max: config.routing.attempts_max,
            retry_on: config.routing.retry_on.clone(),
        }),
        fallbacks: Arc::new(config.routing.fallback_models.clone()),
        model_notes: Arc::new(model_notes(config)),
        deadline: config.routing.deadline,
        output_cap: config.limits.max_tokens,
        overrun: config.limits.overrun,
        asks_usage: config.usage.ask,
        keys: Keys::new(filed_keys(config)).beside(ring.clone()),
        cors: match &config.cors {
            CorsOrigins::Off => Cors::Off,
            CorsOrigins::Any => Cors::Any,
            CorsOrigins::Listed(origins) => Cors::Listed(origins.clone()),
        },
        ping_interval: STREAM_PING_INTERVAL,
        passed: passed(config),
        sampler: sampler(config),
    }
}

/// What is written about models. Where several upstreams have one, the shortest context holds for all of them.
fn model_notes(config: &Config) -> ModelNotes {
    let mut context_lengths = BTreeMap::new();
    let models = config.upstreams.iter().map(|upstream| &upstream.models);
    let listed = models.filter_map(|models| match models {
        UpstreamModels::Discovered => None,
        UpstreamModels::Listed(models) => Some(models),
    });
    for model in listed.flatten() {
        if let Some(length) = model.context_length {
            let known = context_lengths.entry(model.name.clone()).or_insert(length);
            *known = length.min(*known);
        }
    }
    ModelNotes {
        context_lengths,
        prices: config.prices.clone(),
    }
}

/// How long to wait for connections.
pub(super) fn patience(config: &Config) -> Patience {
    Patience {
        head: config.limits.header_timeout,
        idle: config.limits.idle_timeout,
    }
}

pub(super) fn listen(
    config: &Config,
    tls: Option<TlsHandle>,
    connections_max: usize,
    metrics: ConnectionMetrics,
) -> ListenSettings {
    ListenSettings {
        address: config.listen,
        workers: config.workers,
        tls,
        header_count_max: config.limits.header_count,
        header_bytes_max: config.limits.header_size.as_usize(),
        header_timeout: config.limits.header_timeout,
        idle_timeout: config.limits.idle_timeout,
        stall_timeout: STALL_TIMEOUT,
        connections_max,
        metrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_config::{Sources, load_text};

    fn latitude(node: &str) -> Option<f64> {
        latitude_of(&format!("node: {{name: one, {node}}}\n"))
    }

    fn latitude_of(text: &str) -> Option<f64> {
        let loaded = load_text(text, &Sources::default());
        let config = loaded.expect("a good configuration").config;
        let database = match &config.geo.database {
            Some(path) => grapevine_geo::Database::open(path).expect("a good database"),
            None => grapevine_geo::Database::embedded(),
        };
        place(&config, &database).map(GeoPoint::latitude)
    }

    #[test]
    fn written_location_wins_then_region_then_address() {
        let written = "location: {lat: 10, lon: 20}";
        let in_japan = "public: {addresses: [10.0.0.1, 133.11.0.1]}";
        assert_eq!(
            latitude(&format!("region: sgp, {written}, {in_japan}")),
            Some(10.0)
        );
        assert_eq!(latitude(&format!("region: sgp, {in_japan}")), Some(1.3521));
        let japan = latitude(&format!("region: rack-7, {in_japan}"));
        assert!(
            japan.is_some_and(|latitude| (30.0..40.0).contains(&latitude)),
            "{japan:?}"
        );
        assert_eq!(
            latitude("region: rack-7, public: {addresses: [10.0.0.1]}"),
            None
        );
    }

    #[test]
    fn configured_database_locates_the_node_by_its_address() {
        let database = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/geo/tests/geo/city-nested.mmdb"
        );
        let text = format!(
            "node: {{name: one, region: rack-7, public: {{addresses: [81.2.69.142]}}}}\n\
             geo: {{database: {database}}}\n"
        );
        // The city's, not the middle of the country.
        assert_eq!(latitude_of(&text), Some(51.5142));
    }
}
