//! The new file: upstreams out of routes, and its text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use grapevine_base::table::printable;
use grapevine_config::checked::{RoutingConfig, TimeoutConfig};
use grapevine_config::text::format_duration;

use super::deployment::Deployment;
use super::endpoint::Endpoint;
use super::groups::{Route, attempts};
use super::model::Serves;
use super::native::{Native, WrittenAuth};
use super::settings::{FIRST_BYTE_MAX, LitellmSettings};

/// Attempts within one request that can be written.
const ATTEMPTS_MAX: u32 = 32;

/// The shortest cooldown that can be written.
const COOLDOWN_MIN: Duration = Duration::from_millis(10);

/// An upstream of the new file.
#[derive(Debug)]
struct Upstream<'a> {
    name: String,
    endpoint: &'a Endpoint,
    tier: u32,
    weight: u32,
    models: Models<'a>,
}

/// What an upstream serves.
#[derive(Debug)]
enum Models<'a> {
    /// Names here, and the provider's names.
    Listed(Vec<(&'a str, &'a str)>),
    Any,
    Discovered,
}

/// The text of the new file, below its heading.
pub(super) fn text(
    routes: &[Route],
    deployments: &[Deployment],
    settings: &LitellmSettings,
) -> String {
    let upstreams = upstreams(routes, deployments);
    let mut text = String::new();
    if settings.logs_json {
        text.push_str("log: {format: json}\n\n");
    }
    text.push_str(if upstreams.is_empty() {
        "upstreams: []\n"
    } else {
        "upstreams:\n"
    });
    for upstream in &upstreams {
        upstream.write(&mut text);
    }
    let tried = attempts(routes, deployments).min(ATTEMPTS_MAX);
    let waits = upstreams
        .iter()
        .filter_map(|upstream| upstream.endpoint.wait);
    let default = RoutingConfig::default();
    let mut routing = Vec::new();
    routing.extend(
        settings
            .strategy
            .map(|strategy| format!("strategy: {strategy}")),
    );
    if settings.strategy.is_none() && upstreams.iter().any(|upstream| upstream.weight != 1_000) {
        routing.push("strategy: weighted".to_owned());
    }
    if tried > default.attempts_max {
        routing.push(format!("attempts: {tried}"));
    }
    if let Some(wait) = waits.max().filter(|wait| *wait > default.deadline) {
        routing.push(format!(
            "deadline: {}",
            format_duration(wait.min(FIRST_BYTE_MAX))
        ));
    }
    section(&mut text, "routing", &routing);
    let mut limits = Vec::new();
    limits.extend(settings.body_max.map(|size| format!("body: {size}MiB")));
    limits.extend(
        settings
            .requests_max
            .map(|count| format!("in_flight: {count}")),
    );
    section(&mut text, "limits", &limits);
    if let Some(hash) = &settings.master {
        text.push_str("\nkeys:\n  - name: master\n");
        line(&mut text, "    hash", hash);
    }
    text
}

fn section(text: &mut String, name: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n{name}:\n"));
    }
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
}

/// Routes of the same endpoint, tier and weight are one upstream, unless it serves the name already.
fn upstreams<'a>(routes: &'a [Route], deployments: &'a [Deployment]) -> Vec<Upstream<'a>> {
    let mut upstreams: Vec<Upstream<'a>> = Vec::new();
    let mut same: BTreeMap<(&Endpoint, u32, u32), Vec<usize>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for route in routes {
        let Some(deployment) = deployments.get(route.deployment) else {
            continue;
        };
        let endpoint = &deployment.endpoint;
        let candidates = same
            .entry((endpoint, route.tier, route.weight))
            .or_default();
        let model = match (&deployment.serves, &route.name) {
            (Serves::Model(own), Some(name)) => Models::Listed(vec![(name, own)]),
            (Serves::Any, _) => Models::Any,
            (Serves::Discovered, _) | (Serves::Model(_), None) => Models::Discovered,
        };
        let mut free = candidates.iter().filter(|index| {
            upstreams
                .get(**index)
                .is_some_and(|upstream| upstream.models.has_room_for(&model))
        });
        if let Some(upstream) = free.next().and_then(|index| upstreams.get_mut(*index)) {
            upstream.models.add(model);
            continue;
        }
        candidates.push(upstreams.len());
        let count = counts.entry(&endpoint.label).or_default();
        *count += 1;
        let name = match *count {
            1 => endpoint.label.clone(),
            count => format!("{}-{count}", endpoint.label),
        };
        let (tier, weight) = (route.tier, route.weight);
        upstreams.push(Upstream {
            name,
            endpoint,
            tier,
            weight,
            models: model,
        });
    }
    upstreams
}

impl<'a> Models<'a> {
    fn has_room_for(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listed(names), Self::Listed(more)) => more
                .iter()
                .all(|(name, _)| names.iter().all(|(taken, _)| taken != name)),
            _ => false,
        }
    }

    fn add(&mut self, other: Self) {
        if let (Self::Listed(names), Self::Listed(more)) = (self, other) {
            names.extend(more);
        }
    }
}

impl Upstream<'_> {
    fn write(&self, text: &mut String) {
        let endpoint = self.endpoint;
        line(text, "  - name", &self.name);
        if let Some(provider) = endpoint.native.provider {
            line(text, "    provider", provider);
        }
        if let Some(base_url) = &endpoint.base_url {
            line(text, "    base_url", base_url);
        }
        endpoint.native.write(text);
        if let Some(key) = &endpoint.api_key {
            line(text, "    api_key", key);
        }
        self.write_models(text);
        if self.tier != 1 {
            line(
                text,
                "    priority",
                &self.tier.min(u32::from(u16::MAX)).to_string(),
            );
        }
        if self.weight != 1_000 {
            line(
                text,
                "    weight",
                &(f64::from(self.weight) / 1e3).to_string(),
            );
        }
        if let Some(attempts) = endpoint.attempts {
            line(
                text,
                "    max_retries",
                &attempts.clamp(1, ATTEMPTS_MAX).to_string(),
            );
        }
        if let Some(in_flight) = endpoint.in_flight {
            line(text, "    max_in_flight", &in_flight.to_string());
        }
        self.write_waits(text);
        self.write_health(text);
        if !endpoint.headers.is_empty() {
            text.push_str("    headers:\n");
        }
        for (name, value) in &endpoint.headers {
            line(text, &format!("      {}", scalar(name.as_ref())), value);
        }
    }

    fn write_models(&self, text: &mut String) {
        let models = match &self.models {
            Models::Discovered => return,
            Models::Any => {
                text.push_str("    models: [\"*\"]\n");
                return;
            }
            Models::Listed(models) => models,
        };
        text.push_str("    models:\n");
        for (name, own) in models {
            if name == own {
                let _ = writeln!(text, "      - {}", scalar(&escaped(name)));
            } else {
                line(text, "      - name", &escaped(name));
                line(text, "        upstream_name", &escaped(own));
            }
        }
    }

    fn write_waits(&self, text: &mut String) {
        let total = self.endpoint.wait;
        let mut waits = Vec::new();
        if let Some(total) = total {
            let wait = format_duration(total.min(FIRST_BYTE_MAX));
            waits.push(format!("first_byte: {wait}, answer: {wait}"));
        }
        if let Some(idle) = self.endpoint.idle {
            let longest = total.or(TimeoutConfig::default().total);
            let idle = longest.map_or(idle, |longest| idle.min(longest));
            waits.push(format!("idle: {}", format_duration(idle)));
        }
        if let Some(total) = total {
            waits.push(format!("total: {}", format_duration(total)));
        }
        if !waits.is_empty() {
            let _ = writeln!(text, "    timeout: {{{}}}", waits.join(", "));
        }
    }

    fn write_health(&self, text: &mut String) {
        let mut health = Vec::new();
        if !self.endpoint.is_probed {
            health.push("probe: off".to_owned());
        }
        if let Some(threshold) = self.endpoint.failure_threshold {
            health.push(format!("failure_threshold: {threshold}"));
        }
        if let Some(cooldown) = self.endpoint.cooldown {
            // The same each time, as with LiteLLM; else it would double.
            let cooldown = format_duration(cooldown.max(COOLDOWN_MIN));
            health.push(format!("cooldown: {cooldown}, cooldown_max: {cooldown}"));
        }
        if !health.is_empty() {
            let _ = writeln!(text, "    health: {{{}}}", health.join(", "));
        }
    }
}

impl Native {
    fn write(&self, text: &mut String) {
        for (key, value) in &self.parameters {
            line(text, &format!("    {key}"), value);
        }
        if let Some(dialect) = self.dialect {
            let _ = writeln!(text, "    dialects: [{dialect}]");
        }
        match &self.auth {
            None => {}
            Some(WrittenAuth::Bearer) => text.push_str("    auth: bearer\n"),
            Some(WrittenAuth::Parts(way, parts)) => {
                let _ = writeln!(text, "    auth:\n      {way}:");
                for (key, value) in parts {
                    line(text, &format!("        {key}"), value);
                }
            }
        }
    }
}

/// A name of a model holds no variable.
fn escaped(name: &str) -> String {
    super::reading::escaped(name)
}

fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key}: {}", scalar(value));
}

/// A text in YAML, in quotes unless it cannot be taken for something else.
fn scalar(text: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-${}".contains(&byte);
    let mut bytes = text.bytes();
    let begins = bytes
        .clone()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'$');
    let is_url = text.split_once("://").is_some_and(|(scheme, rest)| {
        let is_rest = |byte: u8| is_word(byte) || byte == b':';
        scheme.bytes().all(|byte| byte.is_ascii_lowercase())
            && rest.bytes().all(is_rest)
            && !rest.ends_with(':')
    });
    let is_reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    if begins && !is_reserved && (is_url || bytes.all(is_word)) {
        return text.to_owned();
    }
    // JSON's quoted texts are YAML's too.
    serde_json::Value::String(text.to_owned()).to_string()
}

/// A text fit for a comment: one line, whatever YAML takes for the end of one.
pub(super) fn comment(text: &str) -> String {
    let is_break =
        |letter: &char| !matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    printable(text).chars().filter(is_break).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_mean_something_else_is_quoted() {
        for plain in [
            "gpt-4o",
            "https://h:1/v1",
            "${A}/openai/v1",
            "facebook/opt-125m",
            "1.5",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        for (text, quoted) in [
            ("no", "\"no\""),
            ("a: b", "\"a: b\""),
            ("sha256:ab", "\"sha256:ab\""),
            ("- x", "\"- x\""),
            ("a\"b\n#", "\"a\\\"b\\n#\""),
            ("", "\"\""),
            ("ft:gpt", "\"ft:gpt\""),
        ] {
            assert_eq!(scalar(text), quoted);
        }
    }

    #[test]
    fn comment_has_no_end_of_line() {
        assert_eq!(comment("a\nb\u{2028}c\r\u{85}d"), "abcd");
    }
}
