//! Where nodes and clients are, from as written to as checked.

use std::fmt;
use std::io::Read;
use std::path::Path;

use super::NODES_MAX;
use super::checked::Checker;
use super::file::{NodesFile, ScenarioFile};
use crate::atlas::RegionIndex;
use crate::matrix::{self, BYTES_MAX};

impl Checker {
    /// Takes the scenario's own regions and round trips, where it names some.
    pub(super) fn locations(&mut self, file: &ScenarioFile, folder: &Path) {
        let (regions, round_trips) = match (&file.regions, &file.round_trips) {
            (None, None) => return,
            (Some(regions), Some(round_trips)) => (folder.join(regions), folder.join(round_trips)),
            (Some(_), None) => {
                return self.problem("round_trips", "must be named together with regions");
            }
            (None, Some(_)) => {
                return self.problem("regions", "must be named together with round_trips");
            }
        };
        let Some(read) = self.table("regions", &regions, matrix::regions) else {
            return;
        };
        let atlas = |text: &str| matrix::atlas(read, text);
        if let Some(atlas) = self.table("round_trips", &round_trips, atlas) {
            self.atlas = atlas;
        }
    }

    /// Parses the file at `path`.
    fn table<T, E: fmt::Display>(
        &mut self,
        key: &str,
        path: &Path,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => {
                self.problem(key, format!("{}: {error}", path.display()));
                return None;
            }
        };
        if text.len() as u64 > BYTES_MAX {
            let problem = format!(
                "{}: must not have more than {BYTES_MAX} bytes",
                path.display()
            );
            self.problem(key, problem);
            return None;
        }
        let parsed = parse(&text).map_err(|error| format!("{}: {error}", path.display()));
        parsed.map_err(|problem| self.problem(key, problem)).ok()
    }

    pub(super) fn region(&mut self, key: &str, name: &str) -> RegionIndex {
        self.atlas.find(name).unwrap_or_else(|| {
            self.problem(
                key,
                format!("{name:?} is not a region of the scenario's table, by default sim/data/azure-regions.csv"),
            );
            RegionIndex(0)
        })
    }

    pub(super) fn nodes(&mut self, file: &NodesFile) -> Vec<RegionIndex> {
        if file.count == 0 || file.count > NODES_MAX {
            self.problem("nodes.count", format!("must be between 1 and {NODES_MAX}"));
        }
        let named = file.regions.iter();
        let mut regions: Vec<_> = named
            .map(|name| self.region("nodes.regions", name))
            .collect();
        if regions.is_empty() {
            regions = self.atlas.indices().collect();
        }
        let count = file.count.min(NODES_MAX);
        (0..count)
            .map(|node| regions[node % regions.len()])
            .collect()
    }
}

/// The text of a file, or enough of it to see that it is too long.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::Scenario;
    use super::*;

    fn text(more: &str) -> String {
        format!(
            "name: small\nabout: small\nduration: 30s\n{more}\n\
             nodes: {{count: 2, regions: [harbour, cape]}}\n\
             upstreams: [{{name: one, models: [gpt], first_byte: 300ms}}]\n"
        )
    }

    fn parsed(more: &str) -> Result<Scenario, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        Scenario::parse_in(&text(more), &folder).map_err(|error| error.to_string())
    }

    #[test]
    fn tables_are_found_in_the_folder_of_the_scenario() {
        let scenario = parsed("regions: ring-regions.csv\nround_trips: ring-rtt.csv");
        let scenario = scenario.expect("both tables are there");
        let trip = scenario
            .atlas
            .round_trip(scenario.nodes[0], scenario.nodes[1]);
        assert_eq!(trip.as_millis(), 118);
    }

    #[test]
    fn problem_of_a_table_names_key_file_and_cell() {
        let problem = |more: &str| parsed(more).expect_err("a problem");
        let swapped = problem("regions: ring-rtt.csv\nround_trips: ring-rtt.csv");
        for part in ["regions:", "ring-rtt.csv", "line 1, column 1"] {
            assert!(swapped.contains(part), "{part} is missing in {swapped}");
        }
        let missing = problem("regions: nowhere.csv\nround_trips: ring-rtt.csv");
        assert!(missing.contains("nowhere.csv"), "{missing}");
        let alone = problem("regions: ring-regions.csv");
        assert!(alone.contains("round_trips: must be named"), "{alone}");
    }
}
