//! The text of an answer: a function of the mock's name and the last user message alone, so that a test knows what a
//! stream must add up to.
//!
//! One word is one token and one chunk. The words are `Upstream NAME heard DIGEST:`, the first words of the message,
//! and then a sentence that repeats; the text is the first so many of them, joined by blanks. `DIGEST` is the first
//! 8 hex digits of SHA-256 over the first 4,096 bytes of the message.

use ring::digest::{SHA256, digest};

use super::stats::hex;

/// Words of the message that the answer repeats.
const ECHO_WORDS: usize = 6;

/// Characters kept of each repeated word.
const ECHO_WORD_CHARS: usize = 32;

/// Bytes of the message that go into the digest.
const DIGEST_INPUT_BYTES: usize = 4_096;

/// What fills an answer up to its length.
const FILLER: &str = "and the vine carries every word from root to leaf and back again";

/// The text that the mock called `name` answers to `last_user_message`, cut to `words` words.
#[must_use]
pub fn answer_text(name: &str, last_user_message: &str, words: u32) -> String {
    let mut text = String::new();
    for (i, word) in answer_words(name, last_user_message)
        .take(words as usize)
        .enumerate()
    {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(&word);
    }
    text
}

fn answer_words(name: &str, message: &str) -> impl Iterator<Item = String> {
    let head = &message.as_bytes()[..message.len().min(DIGEST_INPUT_BYTES)];
    let digest = hex(&digest(&SHA256, head).as_ref()[..4]);
    let opening = [
        "Upstream".to_owned(),
        name.to_owned(),
        "heard".to_owned(),
        format!("{digest}:"),
    ];
    let echo = message
        .split_whitespace()
        .take(ECHO_WORDS)
        .map(|word| word.chars().take(ECHO_WORD_CHARS).collect());
    let filler = FILLER.split(' ').cycle().map(str::to_owned);
    opening.into_iter().chain(echo).chain(filler)
}

/// The text cut into its chunks, each already escaped for JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    escaped: String,
    ends: Vec<usize>,
}

impl Text {
    pub(super) fn new(name: &str, last_user_message: &str, words: u32) -> Self {
        let words_max = words as usize;
        let mut escaped = String::with_capacity(words_max * 8);
        let mut ends = Vec::with_capacity(words_max);
        for (i, word) in answer_words(name, last_user_message)
            .take(words_max)
            .enumerate()
        {
            if i > 0 {
                escaped.push(' ');
            }
            push_escaped(&mut escaped, &word);
            ends.push(escaped.len());
        }
        Self { escaped, ends }
    }

    /// The whole text, escaped.
    pub(super) fn escaped(&self) -> &str {
        &self.escaped
    }

    /// The chunks in order, escaped; joined they are the whole text.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .map(|(start, end)| &self.escaped[start..end])
    }

    /// Words, and so tokens and chunks.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Appends `text` as the inside of a JSON string.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push_str(text);
        return;
    }
    // Serialising a str cannot fail, and yields the quotes around it.
    let quoted = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
    out.push_str(&quoted[1..quoted.len() - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_pinned() {
        assert_eq!(
            answer_text("sgp", "say hello", 10),
            "Upstream sgp heard 3cad3da3: say hello and the vine carries"
        );
    }

    #[test]
    fn the_text_has_as_many_words_as_asked_for() {
        for words in [1, 3, 16, 100] {
            let text = answer_text("sgp", "hello", words);
            assert_eq!(text.split(' ').count(), words as usize);
        }
    }

    #[test]
    fn other_names_and_other_messages_give_other_texts() {
        assert_ne!(answer_text("a", "hello", 16), answer_text("b", "hello", 16));
        assert_ne!(
            answer_text("a", "hello", 16),
            answer_text("a", "hello ", 16)
        );
    }

    #[test]
    fn chunks_join_to_the_text_whatever_the_message_holds() {
        for message in [
            "",
            "plain",
            "quo\"te back\\slash",
            "\u{0}\u{1f}ctl \u{7f}",
            "日本語 🍇",
        ] {
            let text = Text::new("sgp", message, 16);
            let joined: String = text.chunks().collect();
            assert_eq!(joined, text.escaped());
            let unescaped: String =
                serde_json::from_str(&format!("\"{joined}\"")).expect("the chunks are escaped");
            assert_eq!(unescaped, answer_text("sgp", message, 16));
            assert_eq!(text.len(), 16);
        }
    }
}
