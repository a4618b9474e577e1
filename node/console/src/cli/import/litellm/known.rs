//! Keys of LiteLLM that have no counterpart: why, and what to do instead. The table is a text beside this file.

use super::super::finding::Kind;

/// The table; its head explains the format.
const TABLE: &str = include_str!("known.txt");

/// What is reported for a key that the table does not name.
const UNKNOWN: Why = Why {
    kind: Kind::Lost,
    problem: "is not known here",
    remedy: "find out whether you need it; node/config/src/example.yaml shows every key of grapevine",
};

/// A part of the file, by the heading of its lines in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Below `litellm_params`.
    Params,
    /// Below `model_info`.
    ModelInfo,
    /// Below `router_settings`.
    Router,
    /// Below `litellm_settings`.
    Litellm,
    /// Below `general_settings`.
    General,
    /// The sections of the file.
    File,
    /// Where there is nothing to know beside what is read.
    Other,
}

impl Part {
    const fn heading(self) -> &'static str {
        match self {
            Self::Params => "[litellm_params]",
            Self::ModelInfo => "[model_info]",
            Self::Router => "[router_settings]",
            Self::Litellm => "[litellm_settings]",
            Self::General => "[general_settings]",
            Self::File => "[file]",
            Self::Other => "[]",
        }
    }
}

/// Why a key is not carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) kind: Kind,
    pub(super) problem: &'static str,
    pub(super) remedy: &'static str,
}

/// Why `key` of a `part` is not carried over.
pub(super) fn why(part: Part, key: &str) -> Why {
    let lines = TABLE.lines().skip_while(|line| *line != part.heading());
    let mut lines = lines.skip(1).take_while(|line| !line.starts_with('['));
    let found = lines.find_map(|line| {
        let (keys, why) = read(line)?;
        keys.split(' ')
            .any(|pattern| matches(pattern, key))
            .then_some(why)
    });
    found.unwrap_or(UNKNOWN)
}

/// The keys of a line, and its finding for them.
fn read(line: &'static str) -> Option<(&'static str, Why)> {
    let mut cells = line.split(" | ");
    let kind = match cells.next()? {
        "lost" => Kind::Lost,
        "note" => Kind::Note,
        "step" => Kind::Step,
        _ => return None,
    };
    let (keys, problem, remedy) = (cells.next()?, cells.next()?, cells.next()?);
    let why = Why {
        kind,
        problem,
        remedy,
    };
    cells.next().is_none().then_some((keys, why))
}

/// Whether `key` matches `pattern`, in which stars stand for anything.
fn matches(pattern: &str, key: &str) -> bool {
    let Some((first, pattern)) = pattern.split_once('*') else {
        return pattern == key;
    };
    let Some(mut rest) = key.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = pattern.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_anything() {
        for (pattern, key, expected) in [
            ("redis_*", "redis_host", true),
            ("redis_*", "redis", false),
            ("*_budget*", "max_budget", true),
            ("*_budget*", "x_budget_y", true),
            ("a*b", "axbxb", true),
            ("a*b", "axbx", false),
            ("aa*aa", "aaa", false),
            ("cache", "cache_params", false),
            ("cache", "cache", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn key_of_no_table_is_reported_as_lost() {
        assert_eq!(why(Part::Router, "quantum_routing"), UNKNOWN);
        assert_eq!(why(Part::Other, "temperature"), UNKNOWN);
        assert_ne!(why(Part::Params, "temperature"), UNKNOWN);
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        let is_line = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
        for line in TABLE.lines().filter(is_line) {
            assert!(read(line).is_some(), "{line}");
        }
        for part in [
            Part::Params,
            Part::ModelInfo,
            Part::Router,
            Part::Litellm,
            Part::General,
            Part::File,
        ] {
            assert_eq!(
                TABLE.lines().filter(|line| *line == part.heading()).count(),
                1,
                "{part:?}"
            );
        }
    }
}
