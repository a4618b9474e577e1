//! Where a request may be answered: rules by the client's country, its key and the model.
//!
//! A rule says whom it concerns and which regions may answer them. A request that several rules concern
//! may go only where all of them permit; where no region is left it is refused, since a quiet fallback
//! would be worse than none. The same rules are asked at the entry node and at the serving node.
//!
//! Nodes publish their rules, and apply those of others where most nodes agree ([`agreement`]).
//!
//! Bound: [`RULES_MAX`] rules of [`REGIONS_MAX`] regions; a question is answered in one pass over them.

mod agreement;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::country::{Continent, CountryCode, CountryGroup};
use crate::ids::{ModelName, NodeName, RegionName};
use crate::random;

pub use agreement::{MeshRules, PeerRules};

/// Rules in all.
pub const RULES_MAX: usize = 256;

/// Regions of one rule: what a forwarded request can carry.
pub const REGIONS_MAX: usize = 64;

/// Countries that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// One country.
    Country(CountryCode),
    /// All countries of a continent.
    Continent(Continent),
    /// All countries of a group.
    Group(CountryGroup),
}

/// The text names no country, continent or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a known country, group or continent")]
pub struct AreaError;

/// What rules do with a client where it is unknown whether they concern it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They concern it: it could be from anywhere.
    #[default]
    Fenced,
    /// They do not concern it.
    Open,
}

/// Whom a rule concerns, and where they may be answered. It concerns a request for which each of its
/// lists that is not empty holds what the request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The clients' countries; empty is everywhere.
    pub clients: Vec<Area>,
    /// The names of keys; empty is every key, and none.
    pub keys: Vec<Arc<str>>,
    /// Models as clients name them; empty is every model, and requests without one.
    pub models: Vec<ModelName>,
    /// The regions that may answer. An empty list permits none.
    pub regions: Arc<[RegionName]>,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    rules: Vec<Rule>,
    unknown: Unknown,
}

/// Rules as they are published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesFact {
    /// The [`Residency::digest`] of the rules that the node applies.
    pub digest: u64,
    /// These rules, or stricter ones where they are too long to be published.
    pub rules: Residency,
}

/// What is known of where a client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientOrigin {
    /// Nothing.
    #[default]
    Unknown,
    /// The continent alone.
    Continent(Continent),
    /// The country.
    Country(CountryCode),
}

/// Whom the rules are asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResidencyQuestion<'a> {
    /// Where the client is.
    pub client: ClientOrigin,
    /// The name of its key; `None` when it showed none.
    pub key: Option<&'a str>,
    /// The model; `None` when the request names none.
    pub model: Option<&'a ModelName>,
}

/// Where a request may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// Anywhere: no rule concerns it.
    All,
    /// Within a fence.
    Only(Fence),
}

/// The regions that all rules permit which concern a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The regions; empty permits none.
    pub regions: Arc<[RegionName]>,
    /// The own rules, as numbers in the order of the configuration, from 0.
    pub rules: Vec<usize>,
    /// Peers with rules of their own that concern the request.
    pub peers: Vec<NodeName>,
}

impl Area {
    /// Whether `client` is in it; `None` when that is unknown.
    pub fn contains(self, client: ClientOrigin) -> Option<bool> {
        match (self, client) {
            (_, ClientOrigin::Unknown) => None,
            (Self::Continent(own), ClientOrigin::Continent(other)) => Some(own == other),
            // Groups have parts on other continents.
            (Self::Group(_), ClientOrigin::Continent(_)) => None,
            (Self::Country(own), ClientOrigin::Continent(other)) => {
                (own.continent() != Some(other)).then_some(false)
            }
            (Self::Country(own), ClientOrigin::Country(other)) => Some(own == other),
            (Self::Continent(own), ClientOrigin::Country(other)) => {
                Some(other.continent() == Some(own))
            }
            (Self::Group(own), ClientOrigin::Country(other)) => Some(own.contains(other)),
        }
    }
}

impl FromStr for Area {
    type Err = AreaError;

    /// `EU` is the group; a continent is written out.
    fn from_str(text: &str) -> Result<Self, AreaError> {
        if let Ok(group) = text.parse() {
            return Ok(Self::Group(group));
        }
        if let Ok(continent) = text.parse() {
            return Ok(Self::Continent(continent));
        }
        // A rule for a country that does not exist would be a fence with a hole.
        let country = CountryCode::new(text).map_err(|_| AreaError)?;
        country.continent().ok_or(AreaError)?;
        Ok(Self::Country(country))
    }
}

impl fmt::Display for Area {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(country) => country.fmt(formatter),
            Self::Continent(continent) => continent.fmt(formatter),
            Self::Group(group) => group.fmt(formatter),
        }
    }
}

impl Rule {
    /// All that it contains, each list after its name.
    fn words(&self) -> impl Iterator<Item = String> {
        let list = |name: &str| std::iter::once(format!("{name}:"));
        let clients = self.clients.iter().map(ToString::to_string);
        let keys = self.keys.iter().map(ToString::to_string);
        let models = self.models.iter().map(ToString::to_string);
        let regions = self.regions.iter().map(ToString::to_string);
        let client_and_key = list("clients")
            .chain(clients)
            .chain(list("keys"))
            .chain(keys);
        let model = list("models").chain(models);
        client_and_key
            .chain(model)
            .chain(list("regions"))
            .chain(regions)
    }

    fn concerns(&self, question: &ResidencyQuestion<'_>, unknown: Unknown) -> bool {
        let is_named = |model: &ModelName| {
            // Some servers take a model's name in any case.
            let text = model.as_str();
            let mut models = self.models.iter();
            models.any(|named| named.as_str().eq_ignore_ascii_case(text))
        };
        let model = self.models.is_empty() || question.model.is_some_and(is_named);
        model && self.concerns_caller(question, unknown)
    }

    fn concerns_caller(&self, question: &ResidencyQuestion<'_>, unknown: Unknown) -> bool {
        let client = self.clients.is_empty()
            || self.clients.iter().any(|area| {
                let contained = area.contains(question.client);
                contained.unwrap_or(unknown == Unknown::Fenced)
            });
        let key = self.keys.is_empty()
            || question
                .key
                .is_some_and(|key| self.keys.iter().any(|name| **name == *key));
        client && key
    }
}

impl Residency {
    /// These rules, in the order of the configuration.
    pub const fn new(rules: Vec<Rule>, unknown: Unknown) -> Self {
        Self { rules, unknown }
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What they do with a client whose country is not known.
    pub const fn unknown(&self) -> Unknown {
        self.unknown
    }

    /// Whether rules about models concern who asks `question`, whatever the model.
    fn asks_for_model(&self, question: &ResidencyQuestion<'_>) -> bool {
        let mut about_models = self.rules.iter().filter(|rule| !rule.models.is_empty());
        about_models.any(|rule| rule.concerns_caller(question, self.unknown))
    }

    /// A number that is equal for equal rules on every node and in every build, and hardly ever else.
    pub fn digest(&self) -> u64 {
        if self.rules.is_empty() {
            // Without a rule nothing else counts.
            return 0;
        }
        let is_open = u64::from(self.unknown == Unknown::Open);
        let start = random::mix(1 + is_open);
        self.rules.iter().fold(start, |digest, rule| {
            rule.words().fold(random::mix(digest), |digest, word| {
                random::mix(digest ^ random::hash(word.as_bytes()))
            })
        })
    }

    /// Where a request may be answered.
    // Invariant: a region that any rule leaves out which concerns the request is not permitted.
    pub fn permits(&self, question: &ResidencyQuestion<'_>) -> Permitted {
        let numbered = self.rules.iter().enumerate();
        let mut concerning = numbered.filter(|(_, rule)| rule.concerns(question, self.unknown));
        let Some((number, first)) = concerning.next() else {
            return Permitted::All;
        };
        let mut fence = Fence {
            regions: Arc::clone(&first.regions),
            rules: vec![number],
            peers: Vec::new(),
        };
        for (number, rule) in concerning {
            let both = fence.regions.iter();
            let both = both.filter(|region| rule.regions.contains(region));
            fence.regions = both.cloned().collect();
            fence.rules.push(number);
        }
        Permitted::Only(fence)
    }
}

impl Permitted {
    /// Whether `region` may answer.
    pub fn allows(&self, region: &RegionName) -> bool {
        self.regions()
            .is_none_or(|regions| regions.contains(region))
    }

    /// The regions; `None` permits all.
    pub fn regions(&self) -> Option<&[RegionName]> {
        self.fence().map(|fence| &*fence.regions)
    }

    /// The fence, where there is one.
    pub const fn fence(&self) -> Option<&Fence> {
        match self {
            Self::All => None,
            Self::Only(fence) => Some(fence),
        }
    }
}

impl fmt::Display for Fence {
    /// The rules as the configuration's keys, such as `residency[0], residency[2], residency of eur-1`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.rules.iter().map(|rule| format!("residency[{rule}]"));
        let peers = self.peers.iter().map(|node| format!("residency of {node}"));
        for (index, name) in own.chain(peers).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use proptest::strategy::Strategy;

    use super::*;

    fn rule(clients: &[&str], keys: &[&str], models: &[&str], regions: &[&str]) -> Rule {
        Rule {
            clients: clients
                .iter()
                .map(|area| area.parse().expect("known"))
                .collect(),
            keys: keys.iter().map(|key| Arc::from(*key)).collect(),
            models: models.iter().map(|name| model(name)).collect(),
            regions: regions.iter().map(|name| region(name)).collect(),
        }
    }

    fn region(name: &str) -> RegionName {
        RegionName::new(name).expect("a valid name")
    }

    fn model(name: &str) -> ModelName {
        ModelName::new(name).expect("a valid name")
    }

    fn from(country: &str) -> ResidencyQuestion<'_> {
        ResidencyQuestion {
            client: match country {
                "" => ClientOrigin::Unknown,
                code => ClientOrigin::Country(code.parse().expect("a code")),
            },
            ..ResidencyQuestion::default()
        }
    }

    fn fence(permitted: &Permitted) -> Option<(Vec<&str>, &[usize])> {
        let fence = permitted.fence()?;
        let names = fence.regions.iter().map(RegionName::as_str).collect();
        Some((names, &fence.rules))
    }

    #[test]
    fn rule_concerns_members_of_the_group_and_nobody_else() {
        let rules = Residency::new(vec![rule(&["EU"], &[], &[], &["eur"])], Unknown::Fenced);
        for inside in ["DE", "FR", "RE"] {
            let permitted = rules.permits(&from(inside));
            assert_eq!(fence(&permitted), Some((vec!["eur"], &[0][..])), "{inside}");
        }
        for outside in ["GB", "US", "SG"] {
            assert_eq!(rules.permits(&from(outside)), Permitted::All, "{outside}");
        }
    }

    #[test]
    fn client_of_unknown_country_is_fenced_unless_configured_otherwise() {
        let list = vec![
            rule(&["EU"], &[], &[], &["eur", "usa"]),
            rule(&["asia"], &[], &[], &["sgp", "usa"]),
            rule(&[], &["app"], &[], &["usa"]),
        ];
        let fenced = Residency::new(list.clone(), Unknown::Fenced).permits(&from(""));
        assert_eq!(fence(&fenced), Some((vec!["usa"], &[0, 1][..])));
        let open = Residency::new(list, Unknown::Open);
        assert_eq!(open.permits(&from("")), Permitted::All);
        let app = ResidencyQuestion {
            key: Some("app"),
            ..from("")
        };
        assert_eq!(fence(&open.permits(&app)), Some((vec!["usa"], &[2][..])));
    }

    #[test]
    fn client_of_known_continent_is_fenced_where_its_country_may_be_named() {
        let europe = ResidencyQuestion {
            client: ClientOrigin::Continent(Continent::Europe),
            ..ResidencyQuestion::default()
        };
        let concerns = |area, unknown| {
            let rules = Residency::new(vec![rule(&[area], &[], &[], &["eur"])], unknown);
            rules.permits(&europe).fence().is_some()
        };
        assert!(concerns("europe", Unknown::Open));
        assert!(concerns("DE", Unknown::Fenced) && concerns("EU", Unknown::Fenced));
        assert!(!concerns("DE", Unknown::Open));
        assert!(!concerns("SG", Unknown::Fenced) && !concerns("asia", Unknown::Fenced));
    }

    #[test]
    fn rules_that_agree_on_no_region_permit_none() {
        let list = vec![
            rule(&["DE"], &[], &[], &["eur"]),
            rule(&["EU"], &[], &[], &["usa"]),
        ];
        let permitted = Residency::new(list, Unknown::Fenced).permits(&from("DE"));
        assert_eq!(fence(&permitted), Some((vec![], &[0, 1][..])));
        assert!(!permitted.allows(&region("eur")));
        let named = permitted.fence().map(ToString::to_string);
        assert_eq!(named.as_deref(), Some("residency[0], residency[1]"));
    }

    #[test]
    fn all_lists_of_a_rule_must_hold_what_the_request_has() {
        let list = vec![rule(&["DE"], &["app"], &["gpt"], &["eur"])];
        let rules = Residency::new(list, Unknown::Fenced);
        let gpt = model("gpt");
        let whole = ResidencyQuestion {
            key: Some("app"),
            model: Some(&gpt),
            ..from("DE")
        };
        assert!(rules.permits(&whole).fence().is_some());
        for part in [
            ResidencyQuestion { key: None, ..whole },
            ResidencyQuestion {
                key: Some("other"),
                ..whole
            },
            ResidencyQuestion {
                model: None,
                ..whole
            },
            ResidencyQuestion {
                client: from("US").client,
                ..whole
            },
        ] {
            assert_eq!(rules.permits(&part), Permitted::All, "{part:?}");
        }
    }

    #[test]
    fn digests_differ_where_rules_do() {
        let set = |clients: &[&str], keys: &[&str], models: &[&str], regions: &[&str]| {
            Residency::new(vec![rule(clients, keys, models, regions)], Unknown::Fenced)
        };
        let rules = [
            Residency::default(),
            set(&["DE"], &[], &[], &["eur"]),
            set(&[], &["DE"], &[], &["eur"]),
            set(&[], &[], &["DE"], &["eur"]),
            set(&[], &[], &[], &["DE", "eur"]),
            set(&["DE"], &[], &[], &["eur", "usa"]),
            Residency::new(vec![rule(&["DE"], &[], &[], &["eur"])], Unknown::Open),
        ];
        for (index, one) in rules.iter().enumerate() {
            assert_eq!(one.digest(), one.clone().digest());
            for other in &rules[index + 1..] {
                assert_ne!(one.digest(), other.digest(), "{one:?} {other:?}");
            }
        }
        let open = Residency::new(Vec::new(), Unknown::Open);
        assert_eq!(open.digest(), Residency::default().digest());
    }

    #[test]
    fn area_that_does_not_exist_is_refused() {
        for wrong in ["", "ZZ", "D", "Germany", "EUR", "UK"] {
            assert_eq!(wrong.parse::<Area>(), Err(AreaError), "{wrong}");
        }
        assert_eq!("eu".parse(), Ok(Area::Group(CountryGroup::Eu)));
        assert_eq!("Asia".parse(), Ok(Area::Continent(Continent::Asia)));
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let pick = |names: &'static [&'static str], max| {
            prop::collection::vec(prop::sample::select(names), 0..max)
        };
        let lists = (
            pick(&["EU", "EEA", "DE", "US", "NO", "asia", "europe"], 4),
            pick(&["app", "web"], 2),
            pick(&["gpt", "claude"], 2),
            pick(&["eur", "usa", "sgp", "jpn"], 5),
        );
        lists.prop_map(|(clients, keys, models, regions)| rule(&clients, &keys, &models, &regions))
    }

    proptest! {
        /// A region is permitted exactly when each rule that by itself concerns the request permits it.
        #[test]
        fn no_region_is_permitted_outside_any_rule_that_concerns_the_request(
            rules in prop::collection::vec(any_rule(), 0..6),
            country in prop_oneof![Just(""), Just("DE"), Just("NO"), Just("US"), Just("SG"), Just("ZZ")],
            key in prop::option::of(prop_oneof![Just("app"), Just("web"), Just("other")]),
            named in prop::option::of(prop_oneof![Just("gpt"), Just("claude"), Just("llama")]),
            is_open in any::<bool>(),
        ) {
            let unknown = if is_open { Unknown::Open } else { Unknown::Fenced };
            let named = named.map(model);
            let question = ResidencyQuestion { key, model: named.as_ref(), ..from(country) };
            let permitted = Residency::new(rules.clone(), unknown).permits(&question);
            for name in ["eur", "usa", "sgp", "jpn"] {
                let region = region(name);
                let each = rules.iter().all(|rule| {
                    Residency::new(vec![rule.clone()], unknown).permits(&question).allows(&region)
                });
                prop_assert_eq!(permitted.allows(&region), each, "{}", name);
            }
            let is_fenced = permitted.fence().is_some();
            prop_assert!(is_fenced || permitted.allows(&region("elsewhere")));
        }
    }
}
