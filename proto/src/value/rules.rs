//! The payload of a node's residency rules.
//!
//! What does not fit in one value is published stricter, never looser: first without the keys and models that rules
//! name, then as one rule that permits nothing. Only a node whose own rules have another digest applies what is
//! published, so this matters while configurations differ and not afterwards.

use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::residency::{Area, REGIONS_MAX, Residency, Rule, RulesFact, Unknown};
use serde::{Deserialize, Serialize};

use crate::value::{Payload, ValueError, whole};

/// The names of keys of later versions are taken as they are, up to this length in bytes.
const KEY_BYTES_MAX: usize = 256;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RulesPayload {
    digest: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RulePayload>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct RulePayload {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    regions: Vec<String>,
}

/// The payload of `fact`, or of stricter rules where it is longer than `bytes_max`.
pub(crate) fn fitting(fact: &RulesFact, bytes_max: usize) -> Payload {
    let exact = payload(fact.digest, &fact.rules);
    if exact.json.len() <= bytes_max {
        return exact;
    }
    let merged = payload(fact.digest, &merged(&fact.rules));
    if merged.json.len() <= bytes_max {
        return merged;
    }
    let closed = Rule {
        clients: Vec::new(),
        keys: Vec::new(),
        models: Vec::new(),
        regions: [].into(),
    };
    payload(fact.digest, &Residency::new(vec![closed], Unknown::Fenced))
}

/// One rule for each list of regions, about the clients of all rules with that list whatever their key and
/// model.
fn merged(rules: &Residency) -> Residency {
    let mut all: Vec<Rule> = Vec::new();
    for rule in rules.rules() {
        let Some(same) = all.iter_mut().find(|one| one.regions == rule.regions) else {
            all.push(Rule {
                keys: Vec::new(),
                models: Vec::new(),
                ..rule.clone()
            });
            continue;
        };
        // An empty list is everybody.
        if same.clients.is_empty() || rule.clients.is_empty() {
            same.clients.clear();
        } else {
            same.clients.extend(&rule.clients);
            same.clients.sort();
            same.clients.dedup();
        }
    }
    Residency::new(all, rules.unknown())
}

fn payload(digest: u64, rules: &Residency) -> Payload {
    let one = |rule: &Rule| RulePayload {
        clients: rule.clients.iter().map(ToString::to_string).collect(),
        keys: rule.keys.iter().map(ToString::to_string).collect(),
        models: rule.models.iter().map(ToString::to_string).collect(),
        regions: rule.regions.iter().map(ToString::to_string).collect(),
    };
    whole(&RulesPayload {
        digest,
        open: rules.unknown() == Unknown::Open && !rules.rules().is_empty(),
        rules: rules.rules().iter().map(one).collect(),
    })
}

impl RulesPayload {
    pub(crate) fn into_fact(self) -> Result<RulesFact, ValueError> {
        let rules = self.rules.into_iter().map(RulePayload::into_rule);
        let rules = rules.collect::<Result<_, _>>()?;
        let unknown = match self.open {
            true => Unknown::Open,
            false => Unknown::Fenced,
        };
        Ok(RulesFact {
            digest: self.digest,
            rules: Residency::new(rules, unknown),
        })
    }
}

impl RulePayload {
    fn into_rule(self) -> Result<Rule, ValueError> {
        if self.regions.len() > REGIONS_MAX {
            return Err(ValueError::Field("regions"));
        }
        if self.keys.iter().any(|key| key.len() > KEY_BYTES_MAX) {
            return Err(ValueError::Field("keys"));
        }
        // A group of a later version may hold anybody: then the rule is about everybody.
        let clients: Result<Vec<Area>, _> = self.clients.iter().map(|area| area.parse()).collect();
        let models: Result<Vec<ModelName>, _> = self
            .models
            .iter()
            .map(|name| ModelName::new(name))
            .collect();
        let regions: Result<Vec<RegionName>, _> = self
            .regions
            .iter()
            .map(|name| RegionName::new(name))
            .collect();
        Ok(Rule {
            clients: clients.unwrap_or_default(),
            keys: self.keys.into_iter().map(Into::into).collect(),
            models: models?,
            regions: regions?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_core::fact::{Fact, FactKey};
    use grapevine_core::ids::RegionName;
    use grapevine_core::residency::{ClientOrigin, Permitted, ResidencyQuestion};

    use super::*;
    use crate::value::{PAYLOAD_BYTES_MAX, decode, encode};

    fn rule(clients: &[&str], keys: &[&str], models: &[&str], regions: &[&str]) -> Rule {
        let region = |name: &&str| RegionName::new(name).expect("a valid name");
        Rule {
            clients: clients
                .iter()
                .map(|area| area.parse().expect("known"))
                .collect(),
            keys: keys.iter().map(|key| Arc::from(*key)).collect(),
            models: models
                .iter()
                .map(|name| ModelName::new(name).expect("a valid name"))
                .collect(),
            regions: regions.iter().map(region).collect(),
        }
    }

    fn published(rules: Residency) -> (String, RulesFact) {
        let digest = rules.digest();
        let fact = Fact::Rules(Arc::new(RulesFact { digest, rules }));
        let json = encode(&fact, PAYLOAD_BYTES_MAX).expect("fits").json;
        let Ok(Fact::Rules(fact)) = decode(&FactKey::Rules, &json) else {
            panic!("not rules: {json}");
        };
        (json, Arc::unwrap_or_clone(fact))
    }

    #[test]
    fn rules_have_these_bytes_and_come_back_as_they_were() {
        let rules = vec![
            rule(&["EU", "europe", "GB"], &[], &[], &["eur", "gbr"]),
            rule(&[], &["app"], &["gpt-4o"], &["eur"]),
        ];
        let rules = Residency::new(rules, Unknown::Open);
        let (json, fact) = published(rules.clone());
        let digest = rules.digest();
        let expected = format!(
            r#"{{"digest":{digest},"open":true,"rules":[{{"clients":["EU","europe","GB"],"regions":["eur","gbr"]}},{{"keys":["app"],"models":["gpt-4o"],"regions":["eur"]}}]}}"#
        );
        assert_eq!(json, expected);
        assert_eq!(fact, RulesFact { digest, rules });
        assert_eq!(published(Residency::default()).0, r#"{"digest":0}"#);
    }

    #[test]
    fn rules_too_long_to_be_published_are_published_stricter() {
        let key = |index| format!("a-key-with-a-long-name-{index}");
        let by_key = |index| rule(&["DE"], &[&key(index)], &[], &["eur"]);
        let mut rules: Vec<Rule> = (0..40).map(by_key).collect();
        rules.push(rule(&["FR"], &[], &[], &["eur"]));
        let rules = Residency::new(rules, Unknown::Fenced);
        let (_, fact) = published(rules.clone());
        assert_eq!(fact.digest, rules.digest());
        assert_eq!(
            fact.rules.rules(),
            [rule(&["DE", "FR"], &[], &[], &["eur"])]
        );

        let by_region = |index| rule(&["DE"], &[], &[], &[&format!("a-long-region-{index}")]);
        let many = Residency::new((0..60).map(by_region).collect(), Unknown::Open);
        let (_, fact) = published(many);
        let nobody = ResidencyQuestion {
            client: ClientOrigin::Country("US".parse().expect("a code")),
            ..ResidencyQuestion::default()
        };
        let permitted = fact.rules.permits(&nobody);
        assert_eq!(permitted.regions(), Some(&[][..]));
    }

    #[test]
    fn area_of_a_later_version_is_everybody() {
        let json = r#"{"digest":7,"rules":[{"clients":["LUNAR"],"regions":["eur"]}],"more":1}"#;
        let Ok(Fact::Rules(fact)) = decode(&FactKey::Rules, json) else {
            panic!("not rules");
        };
        assert_ne!(
            fact.rules.permits(&ResidencyQuestion::default()),
            Permitted::All
        );
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for wrong in [
            r#"{"digest":-1}"#,
            r#"{"digest":7,"rules":[{"regions":["a b"]}]}"#,
            r#"{"digest":7,"rules":[{"models":[""],"regions":["eur"]}]}"#,
            r#"{"digest":7,"rules":7}"#,
        ] {
            assert!(decode(&FactKey::Rules, wrong).is_err(), "{wrong}");
        }
    }
}
