//! Extracts the token counts from an upstream's answer as it passes, without parsing it.
//!
//! Text that a model wrote cannot be mistaken for a count: within a JSON string the quotes around a
//! key are escaped.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use grapevine_observe::record::Tokens;

/// The suffix of every key of a count.
static KEY_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"_tokens\""));

/// Bytes kept from one piece to the next, so that a count cut in two is found: the longest key, the
/// colon and the digits.
const OVERLAP: usize = 48;

/// Follows one answer.
#[derive(Debug, Default)]
pub(super) struct Usage {
    tokens: Tokens,
    tail: Vec<u8>,
}

impl Usage {
    /// Looks at the next piece.
    pub(super) fn look(&mut self, piece: &[u8]) {
        if !self.tail.is_empty() {
            self.tail
                .extend_from_slice(&piece[..piece.len().min(OVERLAP)]);
            let seam = std::mem::take(&mut self.tail);
            self.scan(&seam);
            self.tail = seam;
        }
        self.scan(piece);
        self.keep_tail(piece);
    }

    /// What was found so far.
    pub(super) fn tokens(&self) -> Tokens {
        self.tokens
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        self.tail.clear();
        // A piece that ends an event or the answer cuts nothing in two.
        if !piece.ends_with(b"\n") && !piece.ends_with(b"}") {
            let start = piece.len().saturating_sub(OVERLAP);
            self.tail.extend_from_slice(&piece[start..]);
        }
    }

    fn scan(&mut self, text: &[u8]) {
        for at in KEY_END.find_iter(text) {
            let value = number(&text[at + KEY_END.needle().len()..]);
            match (&text[..at], value) {
                (_, None) => {}
                (key, value) if key.ends_with(b"\"prompt") || key.ends_with(b"\"input") => {
                    self.tokens.input = value;
                }
                (key, value) if key.ends_with(b"\"completion") || key.ends_with(b"\"output") => {
                    self.tokens.output = value;
                }
                _ => {}
            }
        }
    }
}

/// The number after a colon, when it is complete.
fn number(text: &[u8]) -> Option<u64> {
    let text = text
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    let length = text.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&text[..length]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(pieces: &[&str]) -> (Option<u64>, Option<u64>) {
        let mut usage = Usage::default();
        for piece in pieces {
            usage.look(piece.as_bytes());
        }
        (usage.tokens().input, usage.tokens().output)
    }

    #[test]
    fn counts_are_found_in_every_apis_shape() {
        let openai =
            r#"{"usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}}"#;
        assert_eq!(picked(&[openai]), (Some(9), Some(12)));
        let started =
            r#"{"usage":{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1}}"#;
        let ended = r#"{"usage":{"output_tokens":15}}"#;
        assert_eq!(picked(&[started, "\n\n", ended]), (Some(25), Some(15)));
    }

    #[test]
    fn count_cut_in_two_is_found() {
        assert_eq!(
            picked(&["{\"prompt_to", "kens\":9,\"completion_tokens\":1", "2}"]),
            (Some(9), Some(12))
        );
    }

    #[test]
    fn text_of_the_model_is_no_count() {
        assert_eq!(
            picked(&[r#"{"content":"{\"prompt_tokens\": 9}"}"#]),
            (None, None)
        );
        assert_eq!(picked(&[r#"{"prompt_tokens":null}"#]), (None, None));
    }
}
