//! From a scenario as written to one that can run: every problem is reported at once, with its key.

use std::path::Path;
use std::time::Duration;

use super::file::{MembershipFile, ScenarioFile};
use super::{Fault, MembershipKind, Scenario, ScenarioError, Upstream, What};
use crate::atlas::{Atlas, RegionIndex};
use crate::matrix;

pub(super) fn check(text: &str, folder: &Path) -> Result<Scenario, ScenarioError> {
    let file: ScenarioFile = serde_saphyr::from_str(text).map_err(|error| ScenarioError {
        problems: vec![error.to_string()],
    })?;
    let mut checker = Checker {
        atlas: matrix::azure(),
        nodes: Vec::new(),
        problems: Vec::new(),
    };
    checker.locations(&file, folder);
    let scenario = checker.scenario(&file);
    if checker.problems.is_empty() {
        Ok(scenario)
    } else {
        Err(ScenarioError {
            problems: checker.problems,
        })
    }
}

pub(super) struct Checker {
    pub(super) atlas: Atlas,
    pub(super) nodes: Vec<RegionIndex>,
    problems: Vec<String>,
}

impl Checker {
    fn scenario(&mut self, file: &ScenarioFile) -> Scenario {
        self.nodes = self.nodes(&file.nodes);
        let duration = self.span("duration", &file.duration);
        let warm_up = self.span_or("warm_up", file.warm_up.as_deref(), "8s");
        let settle = self.span_or("settle", file.settle.as_deref(), "10s");
        if warm_up + settle >= duration {
            self.problem(
                "duration",
                "must be longer than warm_up and settle together",
            );
        }
        let upstreams: Vec<Upstream> = (file.upstreams.iter().enumerate())
            .map(|(index, one)| self.upstream(index, one))
            .collect();
        if upstreams.is_empty() {
            self.problem("upstreams", "must name at least one");
        }
        let rules = self.rules("residency", &file.residency);
        let faults: Vec<Fault> = (file.faults.iter().enumerate())
            .map(|(index, fault)| self.fault(&format!("faults[{index}]"), fault))
            .collect();
        Scenario {
            name: file.name.clone(),
            about: file.about.trim().to_owned(),
            duration,
            warm_up,
            settle,
            membership: match file.membership {
                MembershipFile::Model => MembershipKind::Model,
                MembershipFile::Chitchat => MembershipKind::Chitchat,
            },
            nodes: self.nodes.clone(),
            processing: self.processing(&file.node),
            upstreams,
            jitter: self.share("network.jitter", file.network.jitter.unwrap_or(0.1)),
            loss: self.share("network.loss", file.network.loss.unwrap_or(0.0)),
            bandwidth: self.bandwidth(file.network.bandwidth.as_deref()),
            workload: self.workload(&file.workload),
            routing: self.routing(&file.routing),
            has_rules: rules.iter().any(|it| !it.rules().is_empty())
                || faults.iter().any(is_about_rules),
            rules,
            faults,
            expect: self.expect(&file.expect, &file.upstreams),
            atlas: self.atlas.clone(),
        }
    }

    pub(super) fn problem(&mut self, key: &str, text: impl AsRef<str>) {
        self.problems.push(format!("{key}: {}", text.as_ref()));
    }

    pub(super) fn span(&mut self, key: &str, text: &str) -> Duration {
        parse_span(text).unwrap_or_else(|| {
            self.problem(
                key,
                format!("{text:?} is not a span such as 250ms, 10s or 5m"),
            );
            Duration::ZERO
        })
    }

    pub(super) fn span_or(&mut self, key: &str, text: Option<&str>, default: &str) -> Duration {
        self.span(key, text.unwrap_or(default))
    }

    pub(super) fn share(&mut self, key: &str, value: f64) -> f64 {
        if !(0.0..=1.0).contains(&value) {
            self.problem(key, format!("{value} is not between 0 and 1"));
        }
        value
    }

    /// The nodes that `names` mean: `all`, a region, or `n` and a number.
    pub(super) fn group(&mut self, key: &str, names: &[String]) -> Vec<bool> {
        let mut group = vec![false; self.nodes.len()];
        for name in names {
            let number: Option<usize> = name.strip_prefix('n').and_then(|text| text.parse().ok());
            let fits = |node: usize| match number {
                Some(number) => node == number,
                None => name == "all" || self.atlas.find(name) == Some(self.nodes[node]),
            };
            let found: Vec<usize> = (0..group.len()).filter(|node| fits(*node)).collect();
            if found.is_empty() {
                self.problem(
                    key,
                    format!("{name:?} is neither all, nor a region with nodes, nor n0, n1, .."),
                );
            }
            found.into_iter().for_each(|node| group[node] = true);
        }
        group
    }
}

const fn is_about_rules(fault: &Fault) -> bool {
    matches!(fault.what, What::Rules { .. })
}

/// A span such as `60us`, `250ms`, `1.5s`, `2m` or `1h`.
fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 0.000_001,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
name: small
about: two nodes
duration: 30s
nodes: {count: 2, regions: [westeurope, japaneast]}
upstreams:
  - {name: primary, models: [gpt], first_byte: 300ms}
";

    #[test]
    fn scenario_with_defaults_is_accepted() {
        let scenario = check(GOOD, Path::new("")).expect("a good scenario");
        assert_eq!(scenario.nodes.len(), 2);
        assert_eq!(scenario.upstreams[0].at, [true, true]);
        assert_eq!(scenario.workload.clients.len(), 2);
    }

    #[test]
    fn every_problem_is_reported_with_its_key() {
        let text = format!(
            "{GOOD}workload: {{clients: {{atlantis: 1}}}}\nfaults:\n  - {{at: soon, what: crash, who: [n7]}}\n"
        );
        let error = check(&text, Path::new("")).expect_err("three problems");
        let text = error.to_string();
        for part in ["workload.clients", "faults[0].at", "faults[0].who", "n7"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn every_problem_of_what_can_be_wrong_with_answers_is_reported() {
        let text = format!(
            "{GOOD}workload: {{clients: {{westeurope: 1}}, \
             arrivals: [{{at: 5s, clients: 0, region: japaneast}}], \
             thinking: {{median: 1s, spread: 0, least: 9s, most: 1s}}, \
             faulty: [{{what: poison, share: 2}}]}}\n\
             faults:\n  - {{at: 9s, what: upstream_answers, status: 99}}\n  \
             - {{at: 9s, what: upstream_down, model: gpt}}\n\
             expect: {{upstream_share_min: {{secondary: 0.5}}}}\n"
        );
        let text = check(&text, Path::new(""))
            .expect_err("many problems")
            .to_string();
        for key in [
            "workload.arrivals.clients",
            "workload.arrivals.region",
            "workload.thinking.spread",
            "workload.thinking.most",
            "workload.faulty.share",
            "faults[0].status",
            "faults[1].model",
            "expect.upstream_share_min.secondary",
        ] {
            assert!(text.contains(key), "{key} is missing in {text}");
        }
    }

    #[test]
    fn key_of_another_fault_is_refused() {
        for (what, key) in [
            ("upstream_down", "status: 402"),
            ("upstream_slow", "code: insufficient_quota"),
            ("crash", "model: gpt"),
            ("upstream_hangs", "probes: true"),
            ("loss", "retry_after: 1s"),
        ] {
            let text = format!("{GOOD}faults:\n  - {{at: 9s, what: {what}, {key}}}\n");
            let error = check(&text, Path::new("")).expect_err("a key that does nothing");
            let (name, _) = key.split_once(':').expect("a key and its value");
            let named = format!("faults[0].{name}");
            assert!(error.to_string().contains(&named), "{error}");
        }
    }

    #[test]
    fn unknown_key_is_refused() {
        let error = check(&format!("{GOOD}speed: 7\n"), Path::new("")).expect_err("an unknown key");
        assert!(error.to_string().contains("speed"), "{error}");
    }

    #[test]
    fn span_needs_a_unit() {
        assert_eq!(parse_span("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(parse_span("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_span("54us"), Some(Duration::from_micros(54)));
        assert_eq!(parse_span("10"), None);
        assert_eq!(parse_span("10 parsecs"), None);
    }
}
