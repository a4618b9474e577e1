//! Names of regions that are probably mistyped.
//!
//! A region may have any name, so that one nobody knows is no mistake by itself: what geography needs is a place. A
//! node without one is warned of; a region of the others only where its name is nearly that of a well-known one.

use grapevine_config::nearest::nearest;
use grapevine_config::{Config, ConfigProblem};
use grapevine_core::ids::RegionName;
use grapevine_core::route::Strategy;
use grapevine_geo::region::{codes, place_of};

/// The shortest word that is compared with known ones: shorter ones are near to many.
const WORD_LETTERS_MIN: usize = 5;

/// The warnings, where the configuration uses geography.
pub(crate) fn unknown(config: &Config) -> Vec<ConfigProblem> {
    let geo = &config.geo;
    let is_geo = geo.database.is_some() || !geo.homes.0.is_empty() || config.dns.is_some();
    if !is_geo && config.routing.strategy != Strategy::Geo {
        return Vec::new();
    }
    own(config).into_iter().chain(of_others(config)).collect()
}

/// Whether the node itself has a place.
fn own(config: &Config) -> Option<ConfigProblem> {
    let (node, region) = (&config.node, &config.node.region);
    // A database may know the place of a public address.
    let has_place = node.place.is_some() || !node.public_addresses.is_empty();
    if has_place || place_of(region).is_some() {
        return None;
    }
    let problem = format!("{region} is no region whose place is known, so that this node has none");
    let else_written = "write node.location: {lat: .., lon: ..}";
    let remedy = match near(region.as_str()) {
        Some((code, place)) => format!("did you mean {code} ({place})? Else {else_written}"),
        None => format!("name a known region, such as sgp or eu-west-1, or {else_written}"),
    };
    Some(ConfigProblem::of_value("node.region", problem, remedy))
}

/// Regions of other nodes, in the map, in rules and in keys.
fn of_others(config: &Config) -> Vec<ConfigProblem> {
    let homes = config.geo.homes.0.iter().enumerate();
    let homes = homes.map(|(index, home)| (format!("geo.map[{index}].region"), &home.region));
    let rules = config.residency.rules().iter();
    let regions = rules.flat_map(|rule| rule.regions.iter());
    let rules = regions.map(|region| ("residency".to_owned(), region));
    let keys = config.keys.iter().enumerate();
    let keys = keys.flat_map(|(index, key)| {
        let regions = key.regions.iter().flatten();
        regions.map(move |region| (format!("keys[{index}].regions"), region))
    });
    let named = homes.chain(rules).chain(keys);
    let foreign = named.filter(|(_, region)| **region != config.node.region);
    foreign
        .filter_map(|(key, region)| mistyped(&key, region))
        .collect()
}

fn mistyped(key: &str, region: &RegionName) -> Option<ConfigProblem> {
    let name = region.as_str();
    let is_word = name.len() >= WORD_LETTERS_MIN && name.bytes().all(|it| it.is_ascii_alphabetic());
    if !is_word || place_of(region).is_some() {
        return None;
    }
    let (code, place) = near(name)?;
    let problem = format!("{region} is no well-known region");
    let remedy = format!("did you mean {code} ({place})? A region of your own may have any name");
    Some(ConfigProblem::of_value(key, problem, remedy))
}

/// The known region whose code or place is nearest to `name`.
fn near(name: &str) -> Option<(&'static str, &'static str)> {
    let words = codes().flat_map(|(code, place)| [code, place]);
    let found = nearest(name, words)?;
    codes().find(|(code, place)| *code == found || *place == found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_config::{Sources, load_text};

    fn warnings(yaml: &str) -> Vec<String> {
        let loaded = load_text(yaml, &Sources::default()).expect("a configuration");
        let found = unknown(&loaded.config);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn region_without_a_place_is_warned_of_with_the_nearest_name() {
        let geo = "routing: {strategy: geo}\n";
        assert_eq!(
            warnings(&format!("node: {{region: singapur}}\n{geo}")),
            [
                "node.region: singapur is no region whose place is known, so that this node has none; \
                 did you mean sgp (Singapore)? Else write node.location: {lat: .., lon: ..}"
            ]
        );
        for good in [
            "node: {region: sgp}\n",
            "node: {region: ap-southeast-1}\n",
            "node: {region: singapur, location: {lat: 1.3, lon: 103.8}}\n",
        ] {
            assert_eq!(warnings(&format!("{good}{geo}")), [""; 0], "{good}");
        }
        assert_eq!(
            warnings("node: {region: singapur}\n"),
            [""; 0],
            "without geography"
        );
        let other = warnings(&format!("node: {{region: basement}}\n{geo}"));
        assert!(
            other[0].contains("; name a known region, such as sgp"),
            "{other:?}"
        );
    }

    #[test]
    fn mistyped_regions_of_others_are_warned_of_and_names_of_ones_own_are_not() {
        let head = "node: {region: sgp}\nrouting: {strategy: geo}\n";
        let map = "geo: {map: [{countries: [SG], region: frankfrut}, {countries: [JP], region: rack-7}]}\n";
        let found = warnings(&format!("{head}{map}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("geo.map[0].region: frankfrut is no well-known region; did you mean eu-central-1 (Frankfurt)?"),
            "{found:?}"
        );
    }
}
