//! Which deployment serves which name, in which tier, with which share: groups, fallbacks and aliases.
//!
//! A fallback from A to B is B's deployments under the name of A, one tier further down: they are asked when
//! nothing is left in the tiers before, as LiteLLM asks the next group.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_base::table::printable;

use super::super::finding::Kind;
use super::deployment::Deployment;
use super::model::Serves;
use super::reading::Reading;
use super::settings::{Fallback, LitellmSettings};

/// Names times deployments in the new file: far more than a node can serve, and the end of a file that
/// multiplies itself.
pub(super) const ROUTES_MAX: usize = 20_000;

/// The weight of a deployment that was given no share, beside others that were.
const WEIGHT_MIN: f64 = 0.001;

/// The largest weight that can be written.
const WEIGHT_MAX: f64 = 1_000.0;

/// A name, and a deployment that serves it.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// What clients ask for; `None` where the deployment serves no model in particular.
    pub(super) name: Option<String>,
    /// Its index in the list.
    pub(super) deployment: usize,
    /// 1 is asked first.
    pub(super) tier: u32,
    /// In thousandths, 1000 where nothing is written.
    pub(super) weight: u32,
}

/// More routes than can be written.
#[derive(Debug, thiserror::Error)]
#[error("holds more than {ROUTES_MAX} names of models times deployments; import it in parts")]
pub(in crate::cli::import) struct TooMany;

/// All routes by name, those of one in the order of their tiers.
type Groups = BTreeMap<String, Vec<Route>>;

impl Reading {
    /// All routes, in the order of the names' first deployments.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn routes(
        &mut self,
        deployments: &[Deployment],
        settings: &LitellmSettings,
    ) -> Result<Vec<Route>, TooMany> {
        let mut groups = self.groups(deployments, settings);
        let own = groups.clone();
        let mut count: usize = groups.values().map(Vec::len).sum();
        self.check_fallbacks(settings, &own);
        for (name, routes) in &mut groups {
            let fallback = fallback_of(name, settings);
            let Some(fallback) = fallback else { continue };
            self.extend(name, routes, fallback, (&own, deployments));
            count += routes.len();
            if count > ROUTES_MAX {
                return Err(TooMany);
            }
        }
        self.alias(&mut groups, settings, &mut count)?;
        let mut routes: Vec<Route> = groups.into_values().flatten().collect();
        self.add_patterns(&mut routes, deployments);
        routes.sort_by_key(|route| (route.deployment, route.tier));
        Ok(routes)
    }

    /// Appends the deployments that serve no model in particular. As with LiteLLM, those that list a name go before
    /// them, and those that take any name come last.
    fn add_patterns(&mut self, routes: &mut Vec<Route>, deployments: &[Deployment]) {
        for pattern in [Serves::Discovered, Serves::Any] {
            let last = routes.iter().map(|route| route.tier).max().unwrap_or(0);
            let members = deployments.iter().enumerate();
            let members = members.filter(|(_, one)| one.serves == pattern);
            let mut first = None;
            for (index, one) in members {
                let position = (one.key.as_str(), one.line);
                if one.order.is_some() || one.shares.iter().any(Option::is_some) {
                    let problem = "is a pattern, whose order and share of requests are left out";
                    let remedy = "write priority and weight of its upstream";
                    self.findings.put(Kind::Lost, position, problem, remedy);
                }
                let label = *first.get_or_insert(one.endpoint.label.as_str());
                if pattern == Serves::Any && label != one.endpoint.label {
                    let problem = format!(
                        "takes any name, as {label} does: which of them is asked does not depend on the name"
                    );
                    let remedy = "list the models of all but one of them";
                    self.findings.put(Kind::Changed, position, problem, remedy);
                }
                routes.push(Route {
                    name: None,
                    deployment: index,
                    tier: last.saturating_add(1),
                    weight: 1_000,
                });
            }
        }
    }

    /// The deployments of each name, with the tiers that `order` gives them, and their weights.
    fn groups(&mut self, deployments: &[Deployment], settings: &LitellmSettings) -> Groups {
        let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, deployment) in deployments.iter().enumerate() {
            if matches!(deployment.serves, Serves::Model(_)) {
                members.entry(&deployment.name).or_default().push(index);
            }
        }
        let mut groups = Groups::new();
        for (name, members) in members {
            let of = |index: &usize| deployments.get(*index);
            let orders: BTreeSet<i64> = members
                .iter()
                .filter_map(of)
                .filter_map(|one| one.order)
                .collect();
            let weights = if settings.is_weighted() {
                self.weights(&members.iter().filter_map(of).collect::<Vec<_>>())
            } else {
                vec![1_000; members.len()]
            };
            let routes = members.iter().zip(weights).map(|(index, weight)| {
                let order = of(index).and_then(|one| one.order);
                // One without an order comes after all that have one.
                let lower = order.map_or(orders.len(), |order| orders.range(..order).count());
                let tier = u32::try_from(lower).unwrap_or(u32::MAX).saturating_add(1);
                Route {
                    name: Some(name.to_owned()),
                    deployment: *index,
                    tier,
                    weight,
                }
            });
            let mut routes: Vec<Route> = routes.collect();
            routes.sort_by_key(|route| route.tier);
            groups.insert(name.to_owned(), routes);
        }
        groups
    }

    /// Thousandths by the first of weight, rpm and tpm that one of `group` has; the smallest share is 1.
    fn weights(&mut self, group: &[&Deployment]) -> Vec<u32> {
        let kinds = 0..3_usize;
        let mut written =
            kinds.map(|kind| group.iter().map(|one| one.shares[kind]).collect::<Vec<_>>());
        let Some(shares) = written.find(|shares| {
            shares
                .iter()
                .any(|share| share.is_some_and(|share| share > 0.0))
        }) else {
            return vec![1_000; group.len()];
        };
        let positive = || {
            shares
                .iter()
                .flatten()
                .copied()
                .filter(|share| *share > 0.0)
        };
        let (least, most) = (
            positive().fold(f64::MAX, f64::min),
            positive().fold(0.0, f64::max),
        );
        let scale = (WEIGHT_MAX / (most / least)).min(1.0) / least;
        let mut weights = Vec::new();
        for (one, share) in group.iter().zip(&shares) {
            let share = share.filter(|share| *share > 0.0);
            if share.is_none() {
                let problem =
                    "has no share beside others that have one, and keeps the smallest weight";
                let position = (one.key.as_str(), one.line);
                self.findings.put(
                    Kind::Changed,
                    position,
                    problem,
                    "give it a weight, or a later tier (priority)",
                );
            }
            let weight = share
                .map_or(WEIGHT_MIN, |share| share * scale)
                .clamp(WEIGHT_MIN, WEIGHT_MAX);
            weights.push((weight * 1e3).round() as u32);
        }
        weights
    }

    /// Appends to a name's `routes` those of its fallbacks, each group in later tiers than the one before.
    fn extend(
        &mut self,
        name: &str,
        routes: &mut Vec<Route>,
        fallback: &Fallback,
        (own, deployments): (&Groups, &[Deployment]),
    ) {
        for (target, (key, line)) in &fallback.targets {
            if target == name {
                continue;
            }
            let last = routes.iter().map(|route| route.tier).max().unwrap_or(0);
            let by_id = || {
                let is_it =
                    |one: &Deployment| one.id == *target && matches!(one.serves, Serves::Model(_));
                let index = deployments.iter().position(is_it)?;
                Some(vec![Route {
                    name: None,
                    deployment: index,
                    tier: 1,
                    weight: 1_000,
                }])
            };
            let Some(others) = own.get(target).cloned().or_else(by_id) else {
                let problem = format!(
                    "{} is served by no deployment that was carried over",
                    printable(target)
                );
                self.findings
                    .put(Kind::Lost, (key, *line), problem, "see what happened to it");
                continue;
            };
            routes.extend(others.into_iter().map(|route| Route {
                name: Some(name.to_owned()),
                tier: last.saturating_add(route.tier),
                ..route
            }));
        }
    }

    /// Reports fallbacks that nothing leads to, and those that would have had fallbacks themselves.
    fn check_fallbacks(&mut self, settings: &LitellmSettings, own: &Groups) {
        for fallback in &settings.fallbacks {
            let (key, line) = (fallback.position.0.as_str(), fallback.position.1);
            let is_alias = settings
                .aliases
                .iter()
                .any(|alias| alias.name == fallback.model);
            if fallback.model != "*" && !own.contains_key(&fallback.model) {
                let (kind, problem) = match is_alias {
                    true => (Kind::Lost, "is an alias: the fallbacks of its model apply"),
                    false => (
                        Kind::Lost,
                        "is served by no deployment that was carried over",
                    ),
                };
                let problem = format!("{} {problem}", printable(&fallback.model));
                self.findings
                    .put(kind, (key, line), problem, "see what happened to it");
                continue;
            }
            for (target, _) in &fallback.targets {
                let further = settings
                    .fallbacks
                    .iter()
                    .find(|other| other.model == *target);
                if further.is_some() && fallback.model != *target {
                    let target = printable(target);
                    let problem = format!(
                        "ends with {target}, without going on to the fallbacks of {target}"
                    );
                    self.findings
                        .put(Kind::Changed, (key, line), problem, "list those here too");
                }
            }
        }
    }

    fn alias(
        &mut self,
        groups: &mut Groups,
        settings: &LitellmSettings,
        count: &mut usize,
    ) -> Result<(), TooMany> {
        for alias in &settings.aliases {
            let position = (alias.position.0.as_str(), alias.position.1);
            let is_taken = groups.contains_key(&alias.name);
            let routes = groups.get(&alias.model).filter(|_| !is_taken);
            let is_name =
                grapevine_core::ids::ModelName::new(&alias.name).is_ok_and(|name| !name.is_any());
            let Some(routes) = routes.filter(|_| is_name) else {
                let (name, model) = (printable(&alias.name), printable(&alias.model));
                let problem = match is_taken {
                    true => {
                        format!("{name} is the name of a model too, which goes before the alias")
                    }
                    false => format!(
                        "{model} is served by no deployment that was carried over, or {name} is no name"
                    ),
                };
                self.findings
                    .put(Kind::Lost, position, problem, "see what happened to it");
                continue;
            };
            *count += routes.len();
            if *count > ROUTES_MAX {
                return Err(TooMany);
            }
            let name = Some(alias.name.clone());
            let routes = routes
                .iter()
                .map(|route| Route {
                    name: name.clone(),
                    ..route.clone()
                })
                .collect();
            groups.insert(alias.name.clone(), routes);
        }
        Ok(())
    }
}

/// The fallbacks of a name: its own, else those for any.
fn fallback_of<'a>(name: &str, settings: &'a LitellmSettings) -> Option<&'a Fallback> {
    let of = |model: &str| {
        settings
            .fallbacks
            .iter()
            .find(|fallback| fallback.model == model)
    };
    of(name).or_else(|| of("*"))
}

/// Attempts within one request that reach every tier of every name, and each upstream of the first tier as
/// often as LiteLLM retries.
pub(super) fn attempts(routes: &[Route], deployments: &[Deployment]) -> u32 {
    let mut needs: BTreeMap<&str, (u32, BTreeSet<u32>, u32)> = BTreeMap::new();
    for route in routes {
        let Some(name) = &route.name else { continue };
        let retries = deployments
            .get(route.deployment)
            .and_then(|one| one.endpoint.attempts)
            .unwrap_or(1);
        let need = needs.entry(name).or_default();
        need.0 += 1;
        need.1.insert(route.tier);
        need.2 = need.2.max(retries);
    }
    let needs = needs.values().map(|(all, tiers, retries)| {
        let later = u32::try_from(tiers.len())
            .unwrap_or(u32::MAX)
            .saturating_sub(1);
        (*all).max(retries.saturating_add(later))
    });
    needs.max().unwrap_or(1)
}
