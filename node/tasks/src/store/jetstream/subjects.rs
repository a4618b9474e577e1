//! Where in the stream everything is: `grapevine.DOMAIN.KIND....`.
//!
//! The domain stands in every subject, because leaf nodes share subjects with their hub: two streams that
//! listened to the same ones would each keep, and run, the other's tasks.

use grapevine_core::ids::ServiceKey;
use ring::digest;

use crate::id::Id;

/// Digits of a note's or piece's number, so that subjects sort as the numbers do.
const NUMBER_DIGITS: usize = 20;

/// Notes whose subjects share a token, so that a page can be found without listing all.
pub(super) const NOTES_TOGETHER: u64 = 256;

/// Subjects of one domain.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    prefix: String,
}

impl Subjects {
    pub(super) fn new(domain: Option<&str>) -> Self {
        let domain = domain.map_or_else(|| "-".to_owned(), token);
        Self {
            prefix: format!("grapevine.{domain}"),
        }
    }

    /// All there are.
    pub(super) fn all(&self) -> String {
        format!("{}.>", self.prefix)
    }

    /// What every node follows: records of tasks and files, and ticks.
    pub(super) fn followed(&self) -> Vec<String> {
        let kinds = ["task", "file", "tick"];
        kinds
            .map(|kind| format!("{}.{kind}.>", self.prefix))
            .to_vec()
    }

    /// Holds nothing but the time.
    pub(super) fn tick(&self) -> String {
        format!("{}.tick.tock", self.prefix)
    }

    pub(super) fn task(&self, id: &Id) -> String {
        format!("{}.task.{}", self.prefix, token(id.as_str()))
    }

    pub(super) fn file(&self, id: &Id) -> String {
        format!("{}.file.{}", self.prefix, token(id.as_str()))
    }

    pub(super) fn is_file(&self, subject: &str) -> bool {
        self.kind(subject) == Some("file")
    }

    pub(super) fn is_tick(&self, subject: &str) -> bool {
        self.kind(subject) == Some("tick")
    }

    fn kind<'s>(&self, subject: &'s str) -> Option<&'s str> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        rest.split('.').next()
    }

    /// The task of an idempotency key.
    pub(super) fn key(&self, service: &ServiceKey, key: &str) -> String {
        let digest = digest::digest(&digest::SHA256, key.as_bytes());
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let digest: String = digest.collect();
        format!("{}.key.{}.{digest}", self.prefix, token(service.as_str()))
    }

    pub(super) fn payload(&self, id: &Id) -> String {
        self.part(id, "payload")
    }

    pub(super) fn output(&self, id: &Id, attempt: u32) -> String {
        self.part(id, &format!("output.{attempt}"))
    }

    pub(super) fn note(&self, id: &Id, number: u64) -> String {
        let bucket = number / NOTES_TOGETHER;
        self.part(id, &format!("note.{bucket}.{}", padded(number)))
    }

    /// Notes that share `number`'s token.
    pub(super) fn notes_near(&self, id: &Id, number: u64) -> String {
        self.part(id, &format!("note.{}.*", number / NOTES_TOGETHER))
    }

    pub(super) fn notes(&self, id: &Id) -> String {
        self.part(id, "note.>")
    }

    /// A piece of a long note, of the attempt that wrote it.
    pub(super) fn chunk(&self, id: &Id, number: u64, attempt: u32, chunk: usize) -> String {
        self.part(id, &format!("chunk.{number}.{attempt}.{chunk}"))
    }

    pub(super) fn piece(&self, id: &Id, number: u32) -> String {
        self.part(id, &format!("piece.{}", padded(u64::from(number))))
    }

    pub(super) fn pieces(&self, id: &Id) -> String {
        self.part(id, "piece.*")
    }

    /// Everything that belongs to a task or file but its record.
    pub(super) fn parts(&self, id: &Id) -> String {
        self.part(id, ">")
    }

    /// Parts of everything.
    pub(super) fn all_parts(&self) -> String {
        format!("{}.part.>", self.prefix)
    }

    /// The task or file that a part belongs to.
    pub(super) fn owner(&self, subject: &str) -> Option<Id> {
        let rest = subject.strip_prefix(&self.prefix)?;
        let owner = rest.strip_prefix(".part.")?.split('.').next()?;
        untoken(owner)?.parse().ok()
    }

    fn part(&self, id: &Id, part: &str) -> String {
        format!("{}.part.{}.{part}", self.prefix, token(id.as_str()))
    }
}

/// The number that a subject ends with.
pub(super) fn number(subject: &str) -> Option<u64> {
    subject.rsplit('.').next()?.parse().ok()
}

fn padded(number: u64) -> String {
    format!("{number:0NUMBER_DIGITS$}")
}

/// A text as one token of a subject: what has a meaning there, or could have, is escaped.
fn token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => token.push(char::from(byte)),
            _ => token.push_str(&format!("={byte:02X}")),
        }
    }
    token
}

fn untoken(token: &str) -> Option<String> {
    let mut parts = token.split('=');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_one_token_and_comes_back() {
        for text in ["my-plugin:process", "a.b", "x~y.z", "ü *>=", ""] {
            let token = token(text);
            assert!(!token.contains(['.', '*', '>', ' ', ':']), "{token}");
            assert_eq!(untoken(&token).as_deref(), Some(text));
        }
        assert_eq!(untoken("a=4"), None);
        assert_eq!(untoken("a=ü1"), None);
    }

    #[test]
    fn owner_of_a_part_is_found_in_its_own_domain_only() {
        let id: Id = "task_01ARYZ6S41ZZZZZZZZZZZZZZZZ~n.1"
            .parse()
            .unwrap_or_else(|error| panic!("{error}"));
        let (here, there) = (Subjects::new(Some("sgp")), Subjects::new(None));
        assert_eq!(here.owner(&here.note(&id, 7)), Some(id.clone()));
        assert_eq!(there.owner(&here.note(&id, 7)), None);
        assert_eq!(number(&here.note(&id, 7)), Some(7));
        assert!(here.is_file(&here.file(&id)) && !here.is_file(&here.task(&id)));
    }
}
