//! Finds the values of JSON that hold ids, in a body or in a stream of events as it flows: by their keys, wherever they
//! stand, without a tree.
//!
//! It walks from string to string with `memchr`, and knows three things: whether the last string was a key (a colon
//! follows), whether that key is one of the list, and whether a value or a list of values follows it. Strings hold no line ends, so a
//! line end begins anew: a stream of events is read line by line, and what is no JSON in it does no harm.
//!
//! Bound: one id of [`ID_BYTES_MAX`] bytes and a seal are held. Encrypted content, which may be long, is handed on
//! piece by piece. Invariant: no input panics.

use grapevine_core::seal::ID_BYTES_MAX;
use memchr::{memchr, memchr3};

/// Keys of ids: single ones, and lists of them.
const ID_KEYS: [&str; 18] = [
    "id",
    "response_id",
    "previous_response_id",
    "item_id",
    "previous_item_id",
    "conversation",
    "conversation_id",
    "container",
    "container_id",
    "file_id",
    "file_ids",
    "batch_id",
    "input_file_id",
    "output_file_id",
    "error_file_id",
    "first_id",
    "last_id",
    "session_id",
];

/// The key of content that only its upstream can read.
const CONTENT_KEY: &str = "encrypted_content";

/// The longest of the keys.
const KEY_BYTES_MAX: usize = 20;

/// What a seal adds at most.
const SEAL_BYTES_MAX: usize = 32;

/// What a value may be by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Id,
    Content,
}

/// Receives the values. Positions are within the piece that is being scanned.
pub(super) trait Values {
    /// Encrypted content begins at `at`.
    fn content_begins(&mut self, at: usize);

    /// It goes on with `piece`, as it is written.
    fn content(&mut self, piece: &[u8]);

    /// It ends before `at`. It had escapes, or was plain.
    fn content_ends(&mut self, at: usize, is_plain: bool);

    /// An id ends before `at`.
    fn id(&mut self, id: &[u8], at: usize);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between strings.
    Between,
    /// Within a string that may be a key.
    Word { escapes: bool },
    /// Behind a string: a colon would make it a key.
    BehindWord,
    /// Behind a key of the list, and its colon.
    Before(ValueKind),
    /// Within a list of values.
    List(ValueKind),
    /// Within a value, of a list or not.
    Value {
        kind: ValueKind,
        in_list: bool,
        escapes: bool,
    },
}

/// Scans pieces of one body.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// The string that is being read, as far as it is needed.
    text: Vec<u8>,
    /// Whether it is longer, or has escapes.
    is_other: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Between,
            text: Vec::with_capacity(64),
            is_other: false,
        }
    }
}

impl Scanner {
    /// Scans the next piece.
    pub(super) fn scan(&mut self, piece: &[u8], values: &mut impl Values) {
        let mut at = 0;
        while at < piece.len() {
            at = match self.state {
                State::Between => match memchr(b'"', &piece[at..]) {
                    Some(hit) => self.begin(State::Word { escapes: false }, at + hit + 1),
                    None => piece.len(),
                },
                State::Word { .. } | State::Value { .. } => self.string(piece, at, values),
                State::BehindWord | State::Before(_) | State::List(_) => {
                    self.between(piece[at], at, values)
                }
            };
        }
    }

    fn begin(&mut self, state: State, at: usize) -> usize {
        self.state = state;
        self.text.clear();
        self.is_other = false;
        at
    }

    /// One byte outside of strings, where a key or a value was or may be.
    fn between(&mut self, byte: u8, at: usize, values: &mut impl Values) -> usize {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match (self.state, byte) {
            _ if is_blank => {}
            (State::BehindWord, b':') => {
                self.state = self.value_of_key().map_or(State::Between, State::Before);
            }
            (State::Before(kind), b'[') => self.state = State::List(kind),
            (State::List(_), b',') => {}
            (State::Before(kind) | State::List(kind), b'"') => {
                let in_list = matches!(self.state, State::List(_));
                let escapes = false;
                if kind == ValueKind::Content {
                    values.content_begins(at + 1);
                }
                return self.begin(
                    State::Value {
                        kind,
                        in_list,
                        escapes,
                    },
                    at + 1,
                );
            }
            _ => {
                // The byte is looked at again: it may begin a string.
                self.state = State::Between;
                return at;
            }
        }
        at + 1
    }

    fn value_of_key(&self) -> Option<ValueKind> {
        if self.is_other {
            return None;
        }
        if self.text == CONTENT_KEY.as_bytes() {
            return Some(ValueKind::Content);
        }
        let is = |key: &&str| key.as_bytes() == self.text;
        ID_KEYS.iter().any(is).then_some(ValueKind::Id)
    }

    /// Goes on within a string; returns where the scan goes on.
    fn string(&mut self, piece: &[u8], at: usize, values: &mut impl Values) -> usize {
        let (State::Word { escapes } | State::Value { escapes, .. }) = self.state else {
            return at;
        };
        if escapes {
            self.take(&piece[at..=at], values);
            self.set_escapes(false);
            return at + 1;
        }
        let rest = &piece[at..];
        let Some(hit) = memchr3(b'"', b'\\', b'\n', rest) else {
            self.take(rest, values);
            return piece.len();
        };
        self.take(&rest[..hit], values);
        let end = at + hit;
        match rest[hit] {
            b'\\' => {
                self.take(b"\\", values);
                self.is_other = true;
                self.set_escapes(true);
            }
            b'"' => self.end(end, values),
            // No JSON: the line is over, and so is all that was in it.
            _ => self.state = State::Between,
        }
        end + 1
    }

    fn set_escapes(&mut self, now: bool) {
        if let State::Word { escapes } | State::Value { escapes, .. } = &mut self.state {
            *escapes = now;
        }
    }

    fn take(&mut self, more: &[u8], values: &mut impl Values) {
        let most = match self.state {
            State::Value {
                kind: ValueKind::Content,
                ..
            } => return values.content(more),
            State::Value { .. } => ID_BYTES_MAX + SEAL_BYTES_MAX,
            _ => KEY_BYTES_MAX,
        };
        if self.text.len() + more.len() > most {
            self.is_other = true;
        }
        if !self.is_other {
            self.text.extend_from_slice(more);
        }
    }

    fn end(&mut self, at: usize, values: &mut impl Values) {
        let State::Value { kind, in_list, .. } = self.state else {
            self.state = State::BehindWord;
            return;
        };
        match kind {
            ValueKind::Content => values.content_ends(at, !self.is_other),
            ValueKind::Id if !self.is_other => values.id(&self.text, at),
            ValueKind::Id => {}
        }
        self.state = match in_list {
            true => State::List(kind),
            false => State::Between,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_key_is_the_longest() {
        let keys = ID_KEYS.iter().chain([&CONTENT_KEY]);
        assert_eq!(keys.map(|key| key.len()).max(), Some(KEY_BYTES_MAX));
    }
}
