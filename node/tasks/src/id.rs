//! Names of tasks and files: who keeps them is a part of the name, so that any node can answer for them.
//!
//! `batch_01ARZ3NDEKTSV4RRFFQ69G5FAV~sgp-1`: a kind, 26 characters that are unique and sort by time (a
//! ULID), and, where the store is one node's own, that node. An engine that all nodes share needs no owner.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_core::ids::NodeName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use grapevine_base::{clock, entropy};

/// Crockford's digits, which ULIDs are written in.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The ULID that this process made last.
static LAST: Mutex<u128> = Mutex::new(0);

/// Characters of a ULID.
const ULID_LENGTH: usize = 26;

/// Stands between the id and its owner; no node's name holds it, and no URL escapes it.
const OWNER_MARK: char = '~';

/// The longest kind, its separator included.
const KIND_MAX: usize = 16;

/// Names a task or a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    text: Arc<str>,
}

/// What an id is of: the word it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A task of any service.
    Task,
    /// A batch of the Batches API.
    Batch,
    /// A file of the Files API.
    File,
    /// A response that is made in the background.
    Response,
    /// A workflow's definition.
    Workflow,
    /// One run of a workflow.
    Run,
}

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an id of this API")]
pub struct IdError;

impl Kind {
    /// What its ids begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Task => "task_",
            Self::Batch => "batch_",
            Self::File => "file-",
            Self::Response => "resp_",
            Self::Workflow => "wf_",
            Self::Run => "run_",
        }
    }

    /// The kind of an id that begins like this.
    fn of(text: &str) -> Option<Self> {
        let kinds = [
            Self::Task,
            Self::Batch,
            Self::File,
            Self::Response,
            Self::Workflow,
            Self::Run,
        ];
        let mut kinds = kinds.into_iter();
        kinds.find(|kind| text.starts_with(kind.prefix()))
    }
}

impl Id {
    /// A new id, kept by `owner`, or by an engine that all nodes share. It comes after all that this process made
    /// before, also within one millisecond and when the clock went back, since ids define an order.
    pub fn new(kind: Kind, owner: Option<&NodeName>) -> Self {
        let mut text = String::with_capacity(KIND_MAX + ULID_LENGTH + 64);
        text.push_str(kind.prefix());
        let drawn = ulid(clock::wall().as_millis(), entropy::bytes());
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        *last = following(*last, drawn);
        push_digits(&mut text, *last);
        drop(last);
        if let Some(owner) = owner {
            text.push(OWNER_MARK);
            text.push_str(owner.as_str());
        }
        Self { text: text.into() }
    }

    /// The id of something that belongs to what this one names, kept by the same owner: the same for the same
    /// `word` every time.
    #[must_use]
    pub fn derived(&self, kind: Kind, word: &str) -> Self {
        let named = format!("{self}/{}{word}", kind.prefix());
        let digest = ring::digest::digest(&ring::digest::SHA256, named.as_bytes());
        let bits = digest.as_ref()[..16].iter();
        let bits = bits.fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
        let mut text = kind.prefix().to_owned();
        push_digits(&mut text, bits);
        if let Some((_, owner)) = self.text.split_once(OWNER_MARK) {
            text.push(OWNER_MARK);
            text.push_str(owner);
        }
        Self { text: text.into() }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is of.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.text).expect("the constructors take known kinds only")
    }

    /// The node that keeps it; `None` where all nodes share a store.
    pub fn owner(&self) -> Option<NodeName> {
        let (_, owner) = self.text.split_once(OWNER_MARK)?;
        NodeName::new(owner).ok()
    }
}

/// 48 bits of milliseconds and 80 random ones.
fn ulid(milliseconds: u128, random: [u8; 10]) -> u128 {
    let random = random
        .iter()
        .fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
    (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random
}

/// The ULID after `last`: the one that was `drawn`, where it is later; else a step of 64 random bits further, so
/// that the next one cannot be guessed (the specification's step of one can).
fn following(last: u128, drawn: u128) -> u128 {
    match drawn > last {
        true => drawn,
        false => last.wrapping_add(1 + (drawn & u128::from(u64::MAX))),
    }
}

/// Appends 128 bits, five to a digit.
fn push_digits(text: &mut String, bits: u128) {
    for digit in (0..ULID_LENGTH).rev() {
        let index = (bits >> (digit * 5)) & 31;
        text.push(char::from(DIGITS[index as usize]));
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let kind = Kind::of(text).ok_or(IdError)?;
        let rest = &text[kind.prefix().len()..];
        let (ulid, owner) = match rest.split_once(OWNER_MARK) {
            Some((ulid, owner)) => (ulid, Some(owner)),
            None => (rest, None),
        };
        let is_ulid = ulid.len() == ULID_LENGTH && ulid.bytes().all(|byte| DIGITS.contains(&byte));
        let is_owned = owner.is_none_or(|owner| NodeName::new(owner).is_ok());
        match is_ulid && is_owned {
            true => Ok(Self { text: text.into() }),
            false => Err(IdError),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_comes_back_with_its_kind_and_owner() {
        let owner = NodeName::new("sgp-1").expect("a name");
        let id = Id::new(Kind::Batch, Some(&owner));
        let read: Id = id.as_str().parse().expect("an id");
        assert_eq!((read.kind(), read.owner()), (Kind::Batch, Some(owner)));
        let shared = Id::new(Kind::File, None);
        assert!(shared.as_str().starts_with("file-"));
        assert_eq!(shared.owner(), None);
        assert_ne!(shared, Id::new(Kind::File, None));
    }

    #[test]
    fn derived_ids_are_equal_every_time_and_differ_by_word() {
        let owner = NodeName::new("sgp-1").expect("a name");
        let batch = Id::new(Kind::Batch, Some(&owner));
        let output = batch.derived(Kind::File, "output");
        assert_eq!(output, batch.derived(Kind::File, "output"));
        assert_ne!(output, batch.derived(Kind::File, "error"));
        assert_eq!((output.kind(), output.owner()), (Kind::File, Some(owner)));
        assert_eq!(output.as_str().parse(), Ok(output));
    }

    #[test]
    fn ulid_is_written_as_specified() {
        let mut text = String::new();
        push_digits(&mut text, ulid(1_469_918_176_385, [0xFF; 10]));
        assert_eq!(text, "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn ids_of_one_process_are_in_the_order_that_they_were_made_in() {
        let ids: Vec<Id> = (0..1_000).map(|_| Id::new(Kind::Task, None)).collect();
        assert!(ids.is_sorted_by(|earlier, later| earlier.as_str() < later.as_str()));
    }

    #[test]
    fn id_after_one_of_the_same_moment_or_of_a_later_one_still_follows_it() {
        let (now, earlier) = (1_469_918_176_385, 1_469_918_176_384);
        let last = ulid(now, [0xFF; 10]);
        for drawn in [ulid(now, [0; 10]), ulid(earlier, [7; 10])] {
            assert!(following(last, drawn) > last);
        }
        let later = ulid(now + 1, [0; 10]);
        assert_eq!(following(last, later), later);
    }

    #[test]
    fn other_texts_are_no_ids() {
        let ulid = "01ARYZ6S41ZZZZZZZZZZZZZZZZ";
        assert!(format!("task_{ulid}").parse::<Id>().is_ok());
        for text in [
            String::new(),
            "task_".to_owned(),
            format!("job_{ulid}"),
            format!("task_{}", ulid.to_lowercase()),
            format!("task_{ulid}~"),
            format!("task_{ulid}~a b"),
            format!("task_{ulid}/.."),
            format!("task_{ulid}0"),
        ] {
            assert_eq!(text.parse::<Id>(), Err(IdError), "{text}");
        }
    }
}
