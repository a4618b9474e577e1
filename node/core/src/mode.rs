//! What a node does beside routing: the grammar of `WORKER_MODE`, word for word that of NocoBase's
//! cluster mode.
//!
//! | value | API requests | services |
//! | --- | --- | --- |
//! | empty | yes | all |
//! | `!` | yes | none |
//! | `*` | no | all |
//! | `a:x,b:y` | no | those |
//! | `!,a:x` in any order | yes | those |
//! | `-` | no | none |
//!
//! Blanks around items do not count, and a blank value is an empty one. What that parser takes in silence
//! and serves in a surprising way (`!,*` serves no task there, `*,a` only `a`, a glob nothing) is refused
//! here, so that no accepted value means something else than it does there.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::ids::{NameError, ServiceKey};

/// Services that a mode may name: what a node's gossiped value has room for.
pub const SERVICES_MAX: usize = 16;

/// What a node does: which requests and which background work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    requests: bool,
    services: ServedServices,
}

/// Which services a node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedServices {
    /// Every one there is.
    All,
    /// These; empty is none.
    Only(BTreeSet<ServiceKey>),
}

/// Why a text is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Nothing stands between two commas, or beside one.
    #[error("has an empty item; remove the comma that has nothing beside it")]
    EmptyItem,
    /// `*` beside something else.
    #[error(
        "'*' must stand alone; leave the value empty for requests and all services, or name the services"
    )]
    AllBesideOthers,
    /// `-` beside something else.
    #[error("'-' must stand alone: it is a node that serves nothing")]
    NothingBesideOthers,
    /// A glob.
    #[error("{item:?} is a pattern, which matches nothing; name each service in full")]
    Pattern {
        /// The item.
        item: String,
    },
    /// An item that is no service key.
    #[error("{item:?} is no service key: it {source}")]
    Key {
        /// The item.
        item: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// More keys than a node may serve by name.
    #[error("names more than {SERVICES_MAX} services; use '*' for all of them")]
    TooMany,
}

impl Default for Mode {
    /// Requests and all services: the mode of a node that configures none.
    fn default() -> Self {
        Self {
            requests: true,
            services: ServedServices::All,
        }
    }
}

impl Mode {
    /// Whether the node answers API requests.
    pub fn serves_requests(&self) -> bool {
        self.requests
    }

    /// Whether the node runs tasks of the service `key`.
    pub fn serves(&self, key: &ServiceKey) -> bool {
        match &self.services {
            ServedServices::All => true,
            ServedServices::Only(keys) => keys.contains(key),
        }
    }

    /// The services by name, or all.
    pub fn services(&self) -> &ServedServices {
        &self.services
    }

    /// Whether the node serves nothing at all: a seed, a relay, a window on the mesh.
    pub fn is_observer(&self) -> bool {
        !self.requests && self.services == ServedServices::Only(BTreeSet::new())
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        match items.as_slice() {
            ["*"] => return Ok(Self::only(false, ServedServices::All)),
            ["-"] => return Ok(Self::only(false, ServedServices::Only(BTreeSet::new()))),
            _ => {}
        }
        let mut requests = false;
        let mut keys = BTreeSet::new();
        for item in items {
            match item {
                "" => return Err(ModeError::EmptyItem),
                "!" => requests = true,
                "*" => return Err(ModeError::AllBesideOthers),
                "-" => return Err(ModeError::NothingBesideOthers),
                _ => {
                    keys.insert(key(item)?);
                }
            }
        }
        if keys.len() > SERVICES_MAX {
            return Err(ModeError::TooMany);
        }
        Ok(Self::only(requests, ServedServices::Only(keys)))
    }
}

impl Mode {
    fn only(requests: bool, services: ServedServices) -> Self {
        Self { requests, services }
    }
}

fn key(item: &str) -> Result<ServiceKey, ModeError> {
    if item.contains(['*', '?', '[']) {
        return Err(ModeError::Pattern {
            item: item.to_owned(),
        });
    }
    ServiceKey::new(item).map_err(|source| ModeError::Key {
        item: item.to_owned(),
        source,
    })
}

impl fmt::Display for Mode {
    /// The mode in its own grammar.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match &self.services {
            ServedServices::All if self.requests => return Ok(()),
            ServedServices::All => return formatter.write_str("*"),
            ServedServices::Only(_) if self.is_observer() => return formatter.write_str("-"),
            ServedServices::Only(keys) => keys.iter().map(ServiceKey::as_str),
        };
        let items: Vec<&str> = self
            .requests
            .then_some("!")
            .into_iter()
            .chain(keys)
            .collect();
        formatter.write_str(&items.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> Mode {
        text.parse().expect("a mode")
    }

    fn serves(text: &str) -> (bool, bool, bool) {
        let key = |text| ServiceKey::new(text).expect("a key");
        let mode = mode(text);
        (
            mode.serves_requests(),
            mode.serves(&key("a:x")),
            mode.serves(&key("c:z")),
        )
    }

    #[test]
    fn every_row_of_the_table_holds() {
        assert_eq!(serves(""), (true, true, true));
        assert_eq!(serves("!"), (true, false, false));
        assert_eq!(serves("*"), (false, true, true));
        assert_eq!(serves("a:x,b:y"), (false, true, false));
        assert_eq!(serves("!,a:x"), (true, true, false));
        assert_eq!(serves("a:x,!"), (true, true, false));
        assert_eq!(serves("-"), (false, false, false));
    }

    #[test]
    fn blanks_around_items_do_not_count() {
        assert_eq!(mode("  "), Mode::default());
        assert_eq!(mode(" ! , a:x "), mode("!,a:x"));
        assert_eq!(mode(" - "), mode("-"));
        assert_eq!(mode("\ta:x ,b:y\n"), mode("a:x,b:y"));
    }

    #[test]
    fn surprising_values_are_refused() {
        let error = |text: &str| text.parse::<Mode>().expect_err("no mode");
        for text in ["!,*", "*,a", "*,!", "*,*"] {
            assert_eq!(error(text), ModeError::AllBesideOthers, "{text}");
        }
        for text in ["-,a", "a,-", "-,-", "!,-"] {
            assert_eq!(error(text), ModeError::NothingBesideOthers, "{text}");
        }
        for text in ["a,,b", "a,", ",a", ",", "! ,"] {
            assert_eq!(error(text), ModeError::EmptyItem, "{text}");
        }
        for text in ["workflow:*", "a?", "[a]"] {
            assert!(matches!(error(text), ModeError::Pattern { .. }), "{text}");
        }
        for text in ["a b", "a:", ":a", "!a", "a/b", "--"] {
            assert!(matches!(error(text), ModeError::Key { .. }), "{text}");
        }
        let many: Vec<String> = (0..=SERVICES_MAX).map(|n| format!("s:{n}")).collect();
        assert_eq!(error(&many.join(",")), ModeError::TooMany);
        assert!(many[1..].join(",").parse::<Mode>().is_ok());
    }

    #[test]
    fn mode_is_written_in_its_own_grammar() {
        for text in ["", "!", "*", "-", "a:x,b:y", "!,a:x"] {
            assert_eq!(mode(text).to_string(), text);
        }
        assert_eq!(mode("b:y, a:x ,!").to_string(), "!,a:x,b:y");
        assert!(mode("-").is_observer() && !mode("!").is_observer());
    }
}
