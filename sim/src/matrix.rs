//! Reads the two tables of an atlas: the regions, and the round trips between them. `sim/data/README.md` describes
//! their form.
//!
//! Bound: [`REGIONS_MAX`] regions, and files of [`BYTES_MAX`].

use std::time::Duration;

use grapevine_core::country::CountryCode;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;

use crate::atlas::{Atlas, Region};

/// Regions of an atlas at most.
pub(crate) const REGIONS_MAX: usize = 512;

/// Bytes of one of its files at most.
pub(crate) const BYTES_MAX: u64 = 4 << 20;

/// A longer round trip is a mistake in the unit.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);

/// The first line of the regions.
const HEAD: [&str; 5] = ["region", "name", "lat", "lon", "country"];

const AZURE_REGIONS: &str = include_str!("../data/azure-regions.csv");
const AZURE_ROUND_TRIPS: &str = include_str!("../data/azure-rtt.csv");

/// The regions of the tables that are compiled in.
pub(crate) fn azure() -> Atlas {
    let regions = regions(AZURE_REGIONS).expect("the file is compiled in");
    atlas(regions, AZURE_ROUND_TRIPS).expect("the file is compiled in")
}

/// What is wrong with a table, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {text}")]
pub(crate) struct MatrixError {
    /// From 1.
    line: usize,
    /// The cell in its line, from 1.
    column: usize,
    /// The problem and how to solve it.
    text: String,
}

/// The regions of a table.
///
/// # Errors
/// The first problem.
pub(crate) fn regions(text: &str) -> Result<Vec<Region>, MatrixError> {
    let mut rows = rows(text);
    let head = rows.next().map(|(_, cells)| cells).unwrap_or_default();
    if head != HEAD {
        let text = format!("the first line must be {:?}", HEAD.join(","));
        return Err(problem((1, 1), text));
    }
    let mut regions: Vec<Region> = Vec::new();
    for (line, cells) in rows {
        let region = region(line, &cells)?;
        if regions.iter().any(|other| other.name == region.name) {
            let text = format!("{:?} appears twice; each region has one line", cells[0]);
            return Err(problem((line, 1), text));
        }
        regions.push(region);
        if regions.len() > REGIONS_MAX {
            let text = format!("at most {REGIONS_MAX} regions are allowed");
            return Err(problem((line, 1), text));
        }
    }
    match regions.is_empty() {
        true => Err(problem((2, 1), "there must be at least one region")),
        false => Ok(regions),
    }
}

fn region(line: usize, cells: &[&str]) -> Result<Region, MatrixError> {
    let &[name, _, latitude, longitude, country] = cells else {
        let text = format!(
            "a line must have {} cells; this one has {}",
            HEAD.len(),
            cells.len()
        );
        return Err(problem((line, cells.len()), text));
    };
    let wrong = |column: usize, what: &str| {
        let text = format!("{:?} is not {what}", cells[column - 1]);
        problem((line, column), text)
    };
    let degrees = |text: &str| text.parse::<f64>().ok();
    let latitude =
        degrees(latitude).ok_or_else(|| wrong(3, "a latitude in degrees, such as 52.37"))?;
    let longitude =
        degrees(longitude).ok_or_else(|| wrong(4, "a longitude in degrees, such as 4.9"))?;
    Ok(Region {
        name: RegionName::new(name).map_err(|error| wrong(1, &format!("a region: {error}")))?,
        place: GeoPoint::new(latitude, longitude)
            .ok_or_else(|| wrong(3, "within 90 degrees, or the longitude not within 180"))?,
        country: CountryCode::new(country)
            .map_err(|_| wrong(5, "a country's code of two letters, such as NL"))?,
    })
}

/// The atlas of `regions` with the round trips of a table: a row for each region of origin and a column for each
/// destination, in the order of the regions, in milliseconds. An empty cell is filled with the other direction's,
/// else with an estimate from the distance.
///
/// # Errors
/// The first problem.
pub(crate) fn atlas(regions: Vec<Region>, text: &str) -> Result<Atlas, MatrixError> {
    let mut rows = rows(text);
    let (_, head) = rows.next().unwrap_or_default();
    let count = regions.len();
    if head.len() != count + 1 {
        let text = format!("the first line must have a cell and then each of the {count} regions");
        return Err(problem((1, head.len().max(1)), text));
    }
    for (index, (cell, region)) in head.iter().skip(1).zip(&regions).enumerate() {
        is_named((1, index + 2), cell, region)?;
    }
    let mut round_trips = vec![None; count * count];
    let mut line_count = 0;
    for (from, (line, cells)) in rows.enumerate() {
        line_count += 1;
        let Some(region) = regions.get(from) else {
            let text = format!("there are {count} regions; this is one more line");
            return Err(problem((line, 1), text));
        };
        if cells.len() != count + 1 {
            let text = format!(
                "a line must have {} cells; this one has {}",
                count + 1,
                cells.len()
            );
            return Err(problem((line, cells.len()), text));
        }
        is_named((line, 1), cells[0], region)?;
        for (to, cell) in cells.iter().skip(1).enumerate() {
            round_trips[from * count + to] = round_trip((line, to + 2), cell)?;
        }
    }
    if line_count < count {
        let text = format!(
            "the line of {:?} is missing",
            regions[line_count].name.as_str()
        );
        return Err(problem((line_count + 2, 1), text));
    }
    Ok(Atlas::new(regions, &round_trips))
}

fn is_named(at: (usize, usize), cell: &str, region: &Region) -> Result<(), MatrixError> {
    let wanted = region.name.as_str();
    let text = || format!("{cell:?} must be {wanted:?}: the order is that of the regions");
    (cell == wanted)
        .then_some(())
        .ok_or_else(|| problem(at, text()))
}

fn round_trip(at: (usize, usize), cell: &str) -> Result<Option<Duration>, MatrixError> {
    if cell.is_empty() {
        return Ok(None);
    }
    let millis: Option<f64> = cell.parse().ok();
    let span = millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1_000.0).ok());
    let span = span.filter(|span| *span <= ROUND_TRIP_MAX);
    span.map(Some).ok_or_else(|| {
        let most = ROUND_TRIP_MAX.as_millis();
        problem(
            at,
            format!("{cell:?} is not a round trip in milliseconds, from 0 to {most}"),
        )
    })
}

fn problem((line, column): (usize, usize), text: impl Into<String>) -> MatrixError {
    MatrixError {
        line,
        column,
        text: text.into(),
    }
}

/// Lines with their numbers, split into cells; empty lines are left out.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| (index + 1, line.split(',').map(str::trim).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGIONS: &str =
        "region,name,lat,lon,country\nhere,Here,52.3,4.9,NL\nthere,There,1.3,103.8,SG\n";
    const TRIPS: &str = "rtt,here,there\nhere,0.5,160\nthere,,1\n";

    fn read(first: &str, second: &str) -> Result<Atlas, String> {
        let regions = regions(first).map_err(|error| error.to_string())?;
        atlas(regions, second).map_err(|error| error.to_string())
    }

    #[test]
    fn small_matrix_is_read_and_its_gap_filled_from_the_other_direction() {
        let atlas = read(REGIONS, TRIPS).expect("a good matrix");
        let find = |name| atlas.find(name).expect("a region");
        let (here, there) = (find("here"), find("there"));
        assert_eq!(atlas.round_trip(here, there), Duration::from_millis(160));
        assert_eq!(atlas.round_trip(there, here), Duration::from_millis(160));
    }

    #[test]
    fn each_problem_names_its_line_its_column_and_what_helps() {
        let wrong = |first: &str, second: &str| read(first, second).expect_err("a problem");
        let regions = |from: &str, to: &str| wrong(&REGIONS.replace(from, to), TRIPS);
        let trips = |from: &str, to: &str| wrong(REGIONS, &TRIPS.replace(from, to));
        for (text, parts) in [
            (
                regions(",country", ""),
                ["line 1, column 1", "region,name,lat,lon,country"],
            ),
            (regions("52.3", "north"), ["line 2, column 3", "latitude"]),
            (
                regions("SG", "Singapore"),
                ["line 3, column 5", "two letters"],
            ),
            (
                regions("there,There", "here,There"),
                ["line 3, column 1", "twice"],
            ),
            (
                trips("rtt,here,there", "rtt,there,here"),
                ["line 1, column 2", "order"],
            ),
            (trips("160", "far"), ["line 2, column 3", "milliseconds"]),
            (trips("160", "-1"), ["line 2, column 3", "milliseconds"]),
            (trips("160", "160,7"), ["line 2, column 4", "3 cells"]),
            (trips("there,,1\n", ""), ["line 3, column 1", "missing"]),
            (
                trips("there,,1\n", "there,,1\nmore,1,1\n"),
                ["line 4, column 1", "one more"],
            ),
        ] {
            for part in parts {
                assert!(text.contains(part), "{part} is missing in {text}");
            }
        }
    }
}
