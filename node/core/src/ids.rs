//! Names of meshes, nodes, regions, upstreams and models, each its own type.
//!
//! A name is shared text: cloning one counts a reference and copies nothing.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// More than `max` bytes were given.
    #[error("must be at most {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// A character that this kind of name may not hold.
    #[error("must not contain {character:?}; {allowed}")]
    BadCharacter {
        /// The first offending character.
        character: char,
        /// What is allowed instead, in words.
        allowed: &'static str,
    },
}

fn check(
    text: &str,
    max: usize,
    allowed: &'static str,
    permits: fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { max });
    }
    match text.chars().find(|character| !permits(*character)) {
        Some(character) => Err(NameError::BadCharacter { character, allowed }),
        None => Ok(()),
    }
}

const LABEL_MAX: usize = 63;
const LABEL_ALLOWED: &str = "use letters, digits, '-', '_' and '.'";

/// Letters, digits, `-`, `_`, `.`: safe in a certificate, a metric label, a header and a file name.
fn check_label(text: &str) -> Result<(), NameError> {
    check(text, LABEL_MAX, LABEL_ALLOWED, |character| {
        character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
    })
}

const MESH_ALLOWED: &str = "use lower-case letters, digits and inner '-'";

/// A label of a DNS name (RFC 1035) in lower case.
fn check_mesh(text: &str) -> Result<(), NameError> {
    check(text, LABEL_MAX, MESH_ALLOWED, |character| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
    })?;
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::BadCharacter {
            character: '-',
            allowed: MESH_ALLOWED,
        });
    }
    Ok(())
}

const MODEL_MAX: usize = 256;
const MODEL_ALLOWED: &str =
    "use any characters but control characters, and no blank at the beginning or end";

/// Whatever makers of models call them. Control characters would be lines of their own in a log. A blank at an end is
/// cut off by some upstreams: they would serve another model than the one that rules and keys were asked about.
fn check_model(text: &str) -> Result<(), NameError> {
    check(text, MODEL_MAX, MODEL_ALLOWED, |character| {
        !character.is_control()
    })?;
    let mut ends = text
        .chars()
        .next()
        .into_iter()
        .chain(text.chars().next_back());
    match ends.find(|end| end.is_whitespace()) {
        Some(character) => Err(NameError::BadCharacter {
            character,
            allowed: MODEL_ALLOWED,
        }),
        None => Ok(()),
    }
}

const SERVICE_ALLOWED: &str = "use letters, digits, '-', '_', '.' and ':' between them";

/// Words of letters, digits, `-`, `_`, `.`, joined by `:`, each beginning with a letter or digit.
fn check_service(text: &str) -> Result<(), NameError> {
    check(text, LABEL_MAX, SERVICE_ALLOWED, |character| {
        character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | ':')
    })?;
    let starts_badly = |word: &&str| !word.starts_with(|c: char| c.is_ascii_alphanumeric());
    match text.split(':').find(starts_badly) {
        Some(word) => Err(NameError::BadCharacter {
            character: word.chars().next().unwrap_or(':'),
            allowed: SERVICE_ALLOWED,
        }),
        None => Ok(()),
    }
}

/// The first eight bytes of a name in the order of text; no name holds a zero byte, which fills up a short one.
///
/// A node looks up peers by name with every event. Kept beside the pointer, the beginning decides most
/// comparisons without a look at the text, which lies elsewhere in memory.
fn beginning(text: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name {
            // Compared first, and nearly always enough: see `beginning`.
            beginning: u64,
            text: Arc<str>,
        }

        impl $name {
            /// Checks and takes `text`.
            ///
            /// # Errors
            /// When `text` is empty, too long, or holds a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self {
                    beginning: beginning(text),
                    text: text.into(),
                })
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        // As the text that it can be looked up by.
        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{:?}", &*self.text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.text
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name!(
    /// A mesh: lower-case letters, digits and inner `-`, at most 63 bytes, since it is a label of a DNS name
    /// and the trust domain of the nodes' SPIFFE identities. Certificates are issued for one mesh.
    MeshName, check_mesh
);
name!(
    /// A grapevine process. At most 63 bytes, unique in its mesh.
    NodeName, check_label
);
name!(
    /// A region, such as `sgp` or `eu-west-1`. At most 63 bytes.
    RegionName, check_label
);
name!(
    /// A kind of background work, such as `workflow:process`. At most 63 bytes.
    ServiceKey, check_service
);
name!(
    /// An engine that keeps the tasks of several nodes. At most 63 bytes.
    StoreName, check_label
);
name!(
    /// An API endpoint that a node calls. At most 63 bytes, unique at its node.
    UpstreamName, check_label
);
name!(
    /// An account at a provider, which several upstreams may draw on. At most 63 bytes, the same at all nodes of a mesh.
    AccountName, check_label
);
name!(
    /// A model as clients ask for it, such as `gpt-4o`, `org/model:tag` or `Llama 3 (groß)`: any characters but control
    /// characters, without blanks at its ends. At most 256 bytes of UTF-8.
    ModelName, check_model
);

impl MeshName {
    /// The DNS name that every node's certificate of this mesh holds: TLS checks DNS names only, and a
    /// seed's own name is not known before it is dialled.
    pub fn common_dns_name(&self) -> String {
        format!("any.{self}.grapevine.internal")
    }

    /// The URI of the mesh itself, which its CA's certificate holds.
    pub fn uri(&self) -> String {
        format!("spiffe://{self}")
    }

    /// The URI of a node, which its certificate holds.
    pub fn node_uri(&self, node: &NodeName) -> String {
        format!("spiffe://{self}/node/{node}")
    }
}

impl ModelName {
    /// The name that stands for every model, in an upstream's list of models.
    pub const ANY: &str = "*";

    /// Whether this is [`ModelName::ANY`].
    pub fn is_any(&self) -> bool {
        &*self.text == Self::ANY
    }
}

/// The incarnation of a node that a fact belongs to: unix milliseconds at its start, or one more than a later
/// incarnation of itself that the node learns of, where its clock went back between the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Order of one node's facts: a later incarnation wins, then a later version within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The incarnation of the node.
    pub generation: Generation,
    /// Counts the node's publications in that incarnation, over all of its keys.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_63_bytes_is_the_longest() {
        assert!(NodeName::new(&"n".repeat(63)).is_ok());
        let error = NodeName::new(&"n".repeat(64)).expect_err("64 bytes are too many");
        assert_eq!(error, NameError::TooLong { max: 63 });
    }

    #[test]
    fn names_stand_in_the_order_of_their_texts() {
        let texts = [
            "a",
            "a-",
            "a.",
            "ab",
            "n1",
            "n10",
            "n2",
            "region-1",
            "region-10",
            "region-2",
            "region-2a",
        ];
        let mut names: Vec<NodeName> = texts
            .iter()
            .rev()
            .map(|text| NodeName::new(text).expect("a name"))
            .collect();
        names.sort();
        let sorted: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        assert_eq!(sorted, texts);
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn name_is_found_by_its_text() {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let name = NodeName::new("region-1").expect("a name");
        let hash = |hash: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(
            hash(&|hasher| name.hash(hasher)),
            hash(&|hasher| "region-1".hash(hasher))
        );
        assert!(std::collections::BTreeSet::from([name]).contains("region-1"));
    }

    #[test]
    fn blank_in_a_name_is_refused_by_character() {
        let error = NodeName::new("a b").expect_err("a blank is not allowed");
        assert!(error.to_string().contains("' '"), "{error}");
    }

    #[test]
    fn mesh_name_is_one_lower_case_dns_label() {
        for text in [
            "",
            "Upper",
            "a.b",
            "-a",
            "a-",
            "a_b",
            "a b",
            &"m".repeat(64),
        ] {
            assert!(MeshName::new(text).is_err(), "{text}");
        }
        assert!(MeshName::new(&"m".repeat(63)).is_ok());
    }

    #[test]
    fn node_uri_names_the_mesh_and_the_node() {
        let mesh: MeshName = "production".parse().expect("a good name");
        let node = NodeName::new("sgp-1").expect("a good name");
        assert_eq!(mesh.uri(), "spiffe://production");
        assert_eq!(mesh.node_uri(&node), "spiffe://production/node/sgp-1");
    }

    #[test]
    fn model_may_hold_whatever_its_makers_call_it() {
        for text in [
            "org/model:free",
            "two words",
            "modèle",
            "通义千问",
            "a\"b\\c%20",
            "\u{1f999}",
            "*",
            &"m".repeat(256),
            &"ä".repeat(128),
        ] {
            assert_eq!(
                ModelName::new(text).as_ref().map(ModelName::as_str),
                Ok(text)
            );
        }
    }

    #[test]
    fn model_without_a_certain_text_is_refused() {
        let long = NameError::TooLong { max: 256 };
        assert_eq!(ModelName::new(""), Err(NameError::Empty));
        assert_eq!(ModelName::new(&"ä".repeat(129)), Err(long));
        for text in [
            " a",
            "a ",
            "\u{a0}a",
            "a\u{3000}",
            " ",
            "a\nb",
            "a\0",
            "\u{7f}",
            "a\u{85}b",
        ] {
            let error = ModelName::new(text).expect_err(text).to_string();
            assert!(
                error.contains("no blank at the beginning or end"),
                "{error}"
            );
        }
    }
}
