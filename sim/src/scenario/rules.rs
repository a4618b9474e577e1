//! Residency rules of each node, from as written to as checked.

use std::sync::Arc;

use grapevine_core::ids::RegionName;
use grapevine_core::residency::{Residency, Rule, Unknown};

use super::What;
use super::checked::Checker;
use super::file::{FaultFile, ResidencyFile};

impl Checker {
    /// Each node's rules: those that name it, or no node.
    pub(super) fn rules(&mut self, key: &str, files: &[ResidencyFile]) -> Vec<Arc<Residency>> {
        let mut by_node: Vec<Vec<Rule>> = vec![Vec::new(); self.nodes.len()];
        for (index, file) in files.iter().enumerate() {
            let key = format!("{key}[{index}]");
            let rule = self.rule(&key, file);
            let at = match file.at.is_empty() {
                true => vec![true; self.nodes.len()],
                false => self.group(&format!("{key}.at"), &file.at),
            };
            let named = by_node.iter_mut().zip(at).filter(|(_, is_named)| *is_named);
            named.for_each(|(rules, _)| rules.push(rule.clone()));
        }
        let residency = |rules| Arc::new(Residency::new(rules, Unknown::Fenced));
        by_node.into_iter().map(residency).collect()
    }

    fn rule(&mut self, key: &str, file: &ResidencyFile) -> Rule {
        let areas = file.clients.iter().filter_map(|text| text.parse().ok());
        let clients: Vec<_> = areas.collect();
        if clients.len() != file.clients.len() {
            self.problem(key, "clients must be countries, continents or groups");
        }
        let names = file.regions.iter();
        let regions: Arc<[RegionName]> = names
            .filter_map(|text| RegionName::new(text).ok())
            .collect();
        if regions.len() != file.regions.len() {
            self.problem(key, "regions must be names of regions");
        }
        Rule {
            clients,
            keys: Vec::new(),
            models: Vec::new(),
            regions,
        }
    }

    /// Other rules for some nodes.
    pub(super) fn new_rules(&mut self, key: &str, file: &FaultFile, who: Vec<bool>) -> What {
        if file.lasts.is_some() {
            let text = "does not apply to rules: they hold until another entry changes them";
            self.problem(&format!("{key}.for"), text);
        }
        let rules = file.rules.as_deref();
        if rules.is_none() {
            let text = "must be the new rules; [] removes all";
            self.problem(&format!("{key}.rules"), text);
        }
        let rules = self.rules(&format!("{key}.rules"), rules.unwrap_or_default());
        What::Rules { who, rules }
    }
}
