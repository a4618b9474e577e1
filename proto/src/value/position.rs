//! The position of a value in its node's gossiped state, contained in the value and so signed with it.
//!
//! Chitchat orders the keys of an incarnation by a version that it does not sign. A relay that raised it could keep
//! every later value of that node from being taken. So a node writes the version into each value, together with the
//! generation of gossip that it counts in, and a receiver takes a relayed value under no other. It is one more field
//! of the payload, which readers that do not know it skip.

use grapevine_core::ids::Generation;
use serde::Deserialize;

/// What a position adds to a payload at most, in bytes.
pub const POSITION_BYTES_MAX: usize = 40;

/// A generation of a node's gossip, and the version in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The generation of its gossip.
    pub generation: Generation,
    /// The version among all keys of that generation.
    pub version: u64,
}

/// What a node that keeps a state must know of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Where the value stands; `None` when its writer is of a build that does not send it.
    pub position: Option<Position>,
    /// Whether it marks its subject as gone, so that it need not be kept for long.
    pub is_gone: bool,
}

#[derive(Deserialize)]
struct MarksJson {
    #[serde(default)]
    w: Option<(u64, u64)>,
    #[serde(default)]
    gone: bool,
}

/// `payload`, which is the JSON of an object, with its position.
pub fn positioned(payload: &str, position: Position) -> String {
    let Position {
        generation: life,
        version,
    } = position;
    let Some(fields) = payload.strip_suffix('}') else {
        return payload.to_owned();
    };
    let comma = if fields.ends_with('{') { "" } else { "," };
    format!(r#"{fields}{comma}"w":[{},{version}]}}"#, life.0)
}

impl Marks {
    /// Reads them; a payload that is not such an object has none.
    pub fn of(payload: &str) -> Self {
        let json: Option<MarksJson> = serde_json::from_str(payload).ok();
        let position = json.as_ref().and_then(|json| json.w);
        Self {
            position: position.map(|(generation, version)| Position {
                generation: Generation(generation),
                version,
            }),
            is_gone: json.is_some_and(|json| json.gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::fact::{Fact, FactKey, Phase};
    use grapevine_core::ids::UpstreamName;

    use super::*;
    use crate::gossip::NUMBER_MAX;
    use crate::value;

    const POSITION: Position = Position {
        generation: Generation(7),
        version: 12,
    };

    #[test]
    fn position_has_these_bytes_and_is_read_back() {
        let payload = positioned(r#"{"phase":"ready"}"#, POSITION);
        assert_eq!(payload, r#"{"phase":"ready","w":[7,12]}"#);
        assert_eq!(positioned("{}", POSITION), r#"{"w":[7,12]}"#);
        let marks = Marks::of(&payload);
        assert_eq!((marks.position, marks.is_gone), (Some(POSITION), false));
    }

    #[test]
    fn reader_of_the_fact_skips_it() {
        let payload = positioned(r#"{"phase":"ready"}"#, POSITION);
        let fact = value::decode(&FactKey::Phase, &payload);
        assert_eq!(fact, Ok(Fact::Phase(Phase::Ready)));
    }

    #[test]
    fn upstream_that_is_gone_is_marked() {
        let gone = Fact::UpstreamGone(UpstreamName::new("u1").expect("valid"));
        let payload = value::encode(&gone, 100).expect("fits");
        let marks = Marks::of(&positioned(&payload.json, POSITION));
        assert_eq!((marks.position, marks.is_gone), (Some(POSITION), true));
        assert!(Marks::of(&payload.json).position.is_none());
    }

    #[test]
    fn longest_position_is_within_its_limit() {
        let life = Generation(NUMBER_MAX);
        let version = NUMBER_MAX;
        let added = positioned(
            r#"{"a":1}"#,
            Position {
                generation: life,
                version,
            },
        )
        .len()
            - r#"{"a":1}"#.len();
        assert!(added <= POSITION_BYTES_MAX, "{added}");
    }

    #[test]
    fn what_is_no_object_has_no_marks() {
        for text in [
            "",
            "7",
            "[]",
            r#"{"w":7}"#,
            r#"{"w":[-1,2]}"#,
            r#"{"w":[1,2],"gone":3}"#,
        ] {
            assert_eq!(Marks::of(text).position, None, "{text}");
        }
    }
}
