//! The configuration for the operator's eyes: in the form of the file, defaults filled in, secrets out.

mod auth;
mod fallback;
mod hedge;
mod limits;
mod load;
mod oidc;

use grapevine_core::date::CalendarDay;
use grapevine_core::dialect::{Dialect, PermittedLoss};
use grapevine_core::engine::Probe;
use grapevine_core::forwarding::ExtraPath;
use grapevine_core::homes::Home;
use grapevine_core::residency::{Residency, Rule, Unknown};
use grapevine_keys::rights::KeyWeight;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::checked::{
    Concurrency, Config, CorsOrigins, DnsConfig, GeoConfig, IssuedKeysConfig, KeyConfig,
    LedgerConfig, LogFormat, MeshConfig, NodeConfig, RoutingConfig, SealSource, TracingConfig,
    UpstreamConfig, UpstreamModels,
};
use super::prices::PriceTable;
use super::secret::REDACTED;
use super::text::{ByteSize, format_duration};
use load::duration_or_off;

impl Config {
    /// The configuration as JSON, in the form of the file; every secret is `***`.
    pub fn dump(&self) -> Value {
        let keys: Vec<_> = self.keys.iter().map(key).collect();
        let upstreams: Vec<_> = self.upstreams.iter().map(upstream).collect();
        let dump = json!({
            "node": node(&self.node),
            "listen": self.listen.to_string(),
            "open": self.open,
            "tls": self.tls.as_ref().map(|tls| json!({"cert": tls.cert, "key": tls.key})),
            "trusted_proxies": texts(&self.trusted_proxies),
            "proxy_protocol": self.proxy_protocol.as_str(),
            "admin": {"listen": self.admin.listen.to_string(), "token": self.admin.token},
            "mesh": self.mesh.as_ref().map(mesh),
            "upstreams": upstreams,
            "accounts": self.accounts.iter().map(limits::account).collect::<Vec<_>>(),
            "forward": self.forwarding.extra().iter().map(extra_path).collect::<Vec<_>>(),
            "routing": routing(&self.routing),
            "geo": geo(&self.geo, &self.residency),
            "residency": self.residency.rules().iter().map(rule).collect::<Vec<_>>(),
            "dns": self.dns.as_ref().map(dns),
            "limits": limits::limits(&self.limits),
            "usage": {"ask": if self.usage.ask { "on" } else { "off" }},
            "keys": keys,
            "issued_keys": self.issued_keys.as_ref().map(issued_keys),
            "oidc": self.oidc.as_ref().map(oidc::shown),
            "prices": prices(&self.prices),
            "ledger": self.ledger.as_ref().map(ledger),
            "cors": {"origins": origins(&self.cors)},
            "tasks": {
                "queue": self.tasks.queue.shown(),
                "concurrency": concurrency(&self.tasks.concurrency),
                "retention": format_duration(self.tasks.retention),
                "batch_lines": self.tasks.batch_lines,
                "services": self.tasks.services.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "quota": {
                    "waiting": self.tasks.quota.waiting,
                    "files": self.tasks.quota.files,
                    "file_bytes": ByteSize::bytes(self.tasks.quota.file_bytes).to_string(),
                },
                "webhooks": self.tasks.webhooks.as_ref().map(|webhooks| json!({
                    "secret": REDACTED,
                    "hosts": webhooks.hosts.written().collect::<Vec<_>>(),
                })),
            },
            "drain": {"timeout": format_duration(self.drain.timeout)},
            "log": {"level": self.log.level, "format": match self.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }},
            "tracing": tracing(&self.tracing),
            "workers": self.workers,
            "worker_mode": self.worker_mode.to_string(),
        });
        without_nulls(dump)
    }

    /// [`Config::dump`] as YAML.
    pub fn dump_yaml(&self) -> String {
        yaml_of(&self.dump())
    }
}

/// A dump as YAML.
pub fn yaml_of(dump: &Value) -> String {
    // A tree of maps, lists, texts and numbers has a form in YAML always.
    serde_saphyr::to_string(dump).unwrap_or_default()
}

/// Leaves absent values out, as in a file.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn node(node: &NodeConfig) -> Value {
    json!({
        "name": node.name.as_str(),
        "region": node.region.as_str(),
        "location": node.place.map(|place| json!({"lat": place.latitude(), "lon": place.longitude()})),
        "public": {
            "url": node.public_url.as_ref().map(ToString::to_string),
            "addresses": texts(&node.public_addresses),
        },
    })
}

fn mesh(mesh: &MeshConfig) -> Value {
    json!({
        "name": mesh.name.as_str(),
        "listen": mesh.listen.to_string(),
        "advertise": mesh.advertise.as_ref().map(ToString::to_string),
        "seeds": texts(&mesh.seeds),
        "tls": {"ca": mesh.tls.ca, "cert": mesh.tls.cert, "key": mesh.tls.key},
        "gossip_interval": format_duration(mesh.gossip_interval),
    })
}

fn upstream(upstream: &UpstreamConfig) -> Value {
    let provider = &upstream.provider;
    let (api_key, auth) = auth::shown(&upstream.auth);
    let paths = &provider.written_paths;
    json!({
        "name": upstream.name.as_str(),
        "provider": provider.provider.as_str(),
        "base_url": upstream.base_url.to_string(),
        "api_key": api_key,
        "auth": auth,
        "api_version": provider.api_version,
        "aws_region": provider.aws_region,
        "project": provider.project,
        "location": provider.location,
        "paths": (!paths.is_empty()).then_some(paths),
        "dialects": provider.dialects.iter().map(Dialect::name).collect::<Vec<_>>(),
        "websocket": upstream.websocket,
        "lossy": lossy(&upstream.lossy),
        "models": models(&upstream.models),
        "priority": upstream.tier.0,
        "weight": upstream.weight.get(),
        "max_retries": upstream.attempts_max,
        "max_in_flight": upstream.in_flight_max,
        "timeout": {
            "connect": format_duration(upstream.timeout.connect),
            "first_byte": format_duration(upstream.timeout.first_byte),
            "answer": format_duration(upstream.timeout.answer),
            "idle": duration_or_off(upstream.timeout.idle),
            "total": duration_or_off(upstream.timeout.total),
        },
        "health": {
            "probe": match upstream.probe.kind {
                Probe::Models => "models",
                Probe::Health => "health",
                Probe::Chat => "chat",
                Probe::Off => "off",
            },
            "interval": format_duration(upstream.probe.interval),
            "timeout": format_duration(upstream.probe.timeout),
            "failure_threshold": upstream.health.failure_threshold,
            "recovery_threshold": upstream.health.recovery_threshold,
            "cooldown": format_duration(upstream.health.cooldown),
            "cooldown_max": format_duration(upstream.health.cooldown_max),
        },
        "load": load::shown(upstream.load.as_ref()),
        "headers": headers(&upstream.headers),
        "account": upstream.account.as_ref().map(ToString::to_string),
    })
}

/// Names alone.
fn headers(headers: &[(HeaderName, HeaderValue)]) -> Map<String, Value> {
    let shown = headers
        .iter()
        .map(|(name, _)| (name.as_str().to_owned(), json!(REDACTED)));
    shown.collect()
}

fn tracing(tracing: &TracingConfig) -> Option<Value> {
    let otlp = tracing.otlp.as_ref()?;
    Some(json!({
        "otlp": {"endpoint": otlp.endpoint.to_string(), "headers": headers(&otlp.headers)},
        "sample": tracing.sample,
    }))
}

fn models(models: &UpstreamModels) -> Option<Value> {
    let UpstreamModels::Listed(models) = models else {
        return None;
    };
    let items = models.iter().map(|model| {
        let more = [
            (
                "upstream_name",
                model
                    .upstream_name
                    .as_ref()
                    .map(|name| json!(name.as_str())),
            ),
            (
                "context_length",
                model.context_length.map(|tokens| json!(tokens)),
            ),
        ];
        let mut shown = Map::from_iter([("name".to_owned(), json!(model.name.as_str()))]);
        let more = more
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        shown.extend(more);
        match shown.len() {
            1 => json!(model.name.as_str()),
            _ => Value::Object(shown),
        }
    });
    Some(items.collect())
}

fn extra_path(path: &ExtraPath) -> Value {
    json!({
        "path": path.to_string(),
        "methods": path.methods().names().collect::<Vec<_>>(),
    })
}

fn routing(routing: &RoutingConfig) -> Value {
    let retry_on = &routing.retry_on;
    let words = [
        ("connect", retry_on.connect),
        ("timeout", retry_on.timeout),
        ("answer_timeout", retry_on.answer_timeout),
        ("5xx", retry_on.server_errors),
    ];
    let words = words
        .into_iter()
        .filter(|(_, is_on)| *is_on)
        .map(|(word, _)| json!(word));
    json!({
        "strategy": routing.strategy.as_str(),
        "attempts": routing.attempts_max,
        "deadline": format_duration(routing.deadline),
        "retry_on": words.chain(retry_on.statuses.iter().map(|status| json!(status))).collect::<Vec<_>>(),
        "hedge": hedge::shown(routing.hedge),
        "cache_weight": routing.cache_weight,
        "seal_keys": match &routing.seal {
            SealSource::Written(secrets) => Some(vec![REDACTED; secrets.len()]),
            SealSource::Authority(_) | SealSource::Kept(_) => None,
        },
        "fallback_models": routing.fallback_models.iter().map(fallback::shown).collect::<Map<_, _>>(),
    })
}

fn lossy(lossy: &PermittedLoss) -> Value {
    match lossy {
        PermittedLoss::Nothing => json!("refuse"),
        PermittedLoss::Anything => json!("allow"),
        PermittedLoss::Listed(paths) => json!(texts(paths)),
    }
}

fn geo(geo: &GeoConfig, residency: &Residency) -> Value {
    let home =
        |home: &Home| json!({"countries": texts(&home.clients), "region": home.region.as_str()});
    json!({
        "database": geo.database,
        "map": geo.homes.0.iter().map(home).collect::<Vec<_>>(),
        "unknown": match residency.unknown() {
            Unknown::Fenced => "fenced",
            Unknown::Open => "open",
        },
    })
}

fn rule(rule: &Rule) -> Value {
    // An empty list in the file would mean none.
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    json!({
        "clients": some(texts(&rule.clients)),
        "keys": some(texts(&rule.keys)),
        "models": some(texts(&rule.models)),
        "regions": texts(&rule.regions),
    })
}

fn dns(dns: &DnsConfig) -> Value {
    // An empty list in the file would be refused.
    let servers = (!dns.name_servers.is_empty()).then(|| texts(&dns.name_servers));
    json!({
        "listen": dns.listen.to_string(),
        "zone": dns.zone.as_str(),
        "ttl": format_duration(dns.ttl),
        "name_servers": servers,
    })
}

/// A number where no service has one of its own.
fn concurrency(concurrency: &Concurrency) -> Value {
    if concurrency.services.is_empty() {
        return json!(concurrency.default);
    }
    let services = concurrency.services.iter();
    let mut each: Map<String, Value> = services
        .map(|(service, count)| (service.to_string(), json!(count)))
        .collect();
    if let Some(default) = concurrency.default {
        each.insert("default".to_owned(), json!(default));
    }
    Value::Object(each)
}

fn key(key: &KeyConfig) -> Value {
    json!({
        "name": key.name,
        "hash": REDACTED,
        "models": key.models.as_ref().map(|models| texts(models)),
        "regions": key.regions.as_ref().map(|regions| texts(regions)),
        "services": key.services.as_ref().map(|services| texts(services)),
        "upstreams": key.upstreams.as_ref().map(|upstreams| texts(upstreams)),
        "rpm": key.limits.rpm,
        "tpm": key.limits.tpm,
        "budget": key.limits.budget.map(|budget| budget.to_string()),
        "concurrency": key.limits.concurrency,
        "limits": limits::of_models(&key.model_limits),
        "weight": key.weight.map(KeyWeight::get),
        "hedge": hedge::of_key(key.hedge),
        "expires": key.expires_at.map(|at| CalendarDay::of(at).to_string()),
    })
}

fn issued_keys(issued: &IssuedKeysConfig) -> Value {
    let issuers = &issued.issuers;
    json!({
        "public_keys": texts(&issuers.public_keys),
        "mesh": issuers.mesh.as_str(),
        "file": issued.file,
        "stale_after": issuers.stale_after.map(format_duration),
    })
}

/// Those of the file: the built-in ones are documented.
fn prices(table: &PriceTable) -> Vec<Value> {
    let built_in = PriceTable::default();
    let written = table.iter().filter(|(model, price)| {
        let before = built_in.iter().find(|(name, _)| name == model);
        before.is_none_or(|(_, before)| before != *price)
    });
    let written = written.map(|(model, price)| {
        json!({
            "model": model.as_str(),
            "input": price.input.to_string(),
            "cached_input": price.cached_input.to_string(),
            "cache_write": price.cache_write.to_string(),
            "output": price.output.to_string(),
            "request": price.request.to_string(),
        })
    });
    written.collect()
}

fn ledger(ledger: &LedgerConfig) -> Value {
    json!({
        "file": ledger.file,
        "size": ledger.size.to_string(),
        "age": format_duration(ledger.age),
        "retention": format_duration(ledger.retention),
    })
}

fn origins(origins: &CorsOrigins) -> Vec<String> {
    match origins {
        CorsOrigins::Off => Vec::new(),
        CorsOrigins::Any => vec!["*".to_owned()],
        CorsOrigins::Listed(list) => list
            .iter()
            .map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
            .collect(),
    }
}
