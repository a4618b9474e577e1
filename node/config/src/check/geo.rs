//! Checks of geography: which regions serve whom, and where requests may be answered.

use std::sync::Arc;

use grapevine_core::homes::{Home, Homes};
use grapevine_core::ids::{NodeName, RegionName};
use grapevine_core::residency::{Area, REGIONS_MAX, RULES_MAX, Residency, Rule, Unknown};
use grapevine_core::route::Strategy;

use super::super::checked::{GeoConfig, KeyConfig};
use super::super::file::{ConfigFile, GeoFile, HomeFile, Item, ResidencyFile, UnknownWord};
use super::node::NAME_FORM;
use super::{Checker, items};

/// The remedy for countries.
const AREA_FORM: &str =
    "write a code of two letters such as SG or GB, a group (EU, EEA), or a continent such as asia";

/// The most lines of the map: each is examined for every request that is routed by geography.
const HOMES_MAX: usize = 256;

/// The names in the rest of the configuration that rules may refer to.
struct Known<'a> {
    /// This node's region.
    own: Option<&'a RegionName>,
    homes: &'a Homes,
    keys: &'a [KeyConfig],
    has_mesh: bool,
}

impl Known<'_> {
    /// Whether `region` may exist by the configuration. A node with a mesh and without a map does not know the
    /// other regions, so that any may exist.
    fn may_hold(&self, region: &RegionName) -> bool {
        let is_unknown = self.has_mesh && self.homes.0.is_empty();
        let mut mapped = self.homes.0.iter();
        is_unknown || self.own == Some(region) || mapped.any(|home| home.region == *region)
    }
}

impl Checker<'_> {
    pub(super) fn geography(
        &mut self,
        file: &ConfigFile,
        strategy: Strategy,
        own: Option<&RegionName>,
        keys: &[KeyConfig],
    ) -> (GeoConfig, Residency) {
        let is_used = strategy == Strategy::Geo || file.dns.is_some();
        let geo = self.geo(file.geo.as_ref(), is_used);
        let known = Known {
            own,
            homes: &geo.homes,
            keys,
            has_mesh: file.mesh.as_ref().is_some_and(|mesh| mesh.tls.is_some()),
        };
        let residency = self.residency(&file.residency, file.geo.as_ref(), &known);
        (geo, residency)
    }

    fn geo(&mut self, file: Option<&GeoFile>, is_map_used: bool) -> GeoConfig {
        let Some(file) = file else {
            return GeoConfig::default();
        };
        let database = file.database.as_deref();
        let database = database.map(|text| self.path("geo.database", text));
        if let Some(path) = &database
            && let Err(error) = std::fs::File::open(path)
        {
            let problem = format!("{} cannot be read: {error}", path.display());
            let remedy = "name an MMDB file, or remove the key for the built-in countries";
            self.problem("geo.database", problem, remedy);
        }
        let mut homes = Vec::new();
        for (key, file) in items("geo.map", &file.map) {
            homes.extend(self.home(&key, file));
        }
        self.at_most("geo.map", homes.len(), HOMES_MAX);
        if !homes.is_empty() && !is_map_used {
            let problem = "orders the nodes of /v1/mesh/nearest alone, without the geo strategy";
            let remedy = "write routing.strategy: geo, or remove the map";
            self.warning("geo.map", problem, remedy);
        }
        let homes = Homes(homes);
        GeoConfig { database, homes }
    }

    fn home(&mut self, key: &str, file: &HomeFile) -> Option<Home> {
        let region_key = format!("{key}.region");
        let region = self.parse(&region_key, file.region.as_deref(), NAME_FORM);
        let clients = self.areas(&format!("{key}.countries"), &file.countries);
        Some(Home {
            clients,
            region: region?,
        })
    }

    fn residency(
        &mut self,
        list: &Option<Vec<Item<ResidencyFile>>>,
        geo: Option<&GeoFile>,
        known: &Known<'_>,
    ) -> Residency {
        let mut rules = Vec::new();
        for (key, file) in items("residency", list) {
            rules.push(self.rule(&key, file, known));
        }
        self.at_most("residency", rules.len(), RULES_MAX);
        let unknown = match geo.and_then(|geo| geo.unknown) {
            None | Some(UnknownWord::Fenced) => Unknown::Fenced,
            Some(UnknownWord::Open) => Unknown::Open,
        };
        let residency = Residency::new(rules, unknown);
        self.rules_fit(&residency);
        residency
    }

    fn rule(&mut self, key: &str, file: &ResidencyFile, known: &Known<'_>) -> Rule {
        let at = |name: &str| format!("{key}.{name}");
        let (keys_key, models_key, regions_key) = (at("keys"), at("models"), at("regions"));
        let mut keys: Vec<Arc<str>> = Vec::new();
        for (key, text) in items(&keys_key, &file.keys) {
            let name: Option<NodeName> = self.parse(&key, Some(text), NAME_FORM);
            if !known.keys.iter().any(|known| known.name == *text) {
                let problem = format!("{} is not the name of a key here", self.shown(&key));
                let remedy = "check the name; the rule still holds for keys of other nodes";
                self.warning(&key, problem, remedy);
            }
            keys.extend(name.map(|name| Arc::from(name.as_str())));
        }
        let model_form =
            "write at most 256 bytes, without control characters, and without blanks at the ends";
        let models: Vec<_> = items(&models_key, &file.models)
            .filter_map(|(key, text)| self.parse(&key, Some(text), model_form))
            .collect();
        let regions = self.regions(&regions_key, &file.regions, known);
        self.not_empty(&keys_key, &file.keys);
        self.not_empty(&models_key, &file.models);
        Rule {
            clients: self.areas(&at("clients"), &file.clients),
            keys,
            models,
            regions: regions.into(),
        }
    }

    fn regions(
        &mut self,
        key: &str,
        list: &Option<Vec<Item<String>>>,
        known: &Known<'_>,
    ) -> Vec<RegionName> {
        let mut regions = Vec::new();
        for (key, text) in items(key, list) {
            let region: Option<RegionName> = self.parse(&key, Some(text), NAME_FORM);
            if let Some(region) = region.as_ref().filter(|region| !known.may_hold(region)) {
                let problem = format!("{region} is named neither by node.region nor in geo.map");
                self.warning(
                    &key,
                    problem,
                    "check the name, or add the region to the map",
                );
            }
            regions.extend(region);
        }
        self.not_empty(key, list);
        self.at_most(key, regions.len(), REGIONS_MAX);
        regions
    }

    fn areas(&mut self, key: &str, list: &Option<Vec<Item<String>>>) -> Vec<Area> {
        self.not_empty(key, list);
        items(key, list)
            .filter_map(|(key, text)| self.parse(&key, Some(text), AREA_FORM))
            .collect()
    }

    /// An empty list could mean none or all: it is refused.
    fn not_empty<T>(&mut self, key: &str, list: &Option<Vec<Item<T>>>) {
        if list.as_ref().is_some_and(Vec::is_empty) {
            let remedy = "list at least one, or remove the list where it may be left out";
            self.problem(key, "is empty", remedy);
        }
    }

    fn at_most(&mut self, key: &str, length: usize, max: usize) {
        if length > max {
            let problem = format!("has {length} items, over {max}");
            self.problem(key, problem, "merge some of them");
        }
    }
}
