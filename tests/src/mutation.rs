//! Changes of inputs by chance, for tests that look for what a parser of foreign bytes does not expect.
//!
//! The changes are those of libFuzzer, which knows in addition what each of them reaches in the code; this needs
//! no instrumented build and so runs with all other tests.

use std::path::Path;

use crate::dice::Dice;
use crate::wait::must;

/// The longest input that is made, in bytes.
const BYTES_MAX: usize = 16 * 1_024;

/// Changes of one input at most.
const CHANGES_MAX: usize = 6;

/// Inputs that were chosen by hand, and words that are worth putting in.
#[derive(Debug, Default)]
pub struct Corpus {
    inputs: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
}

impl Corpus {
    /// The files of `folder` in the order of their names, and the words of the dictionary `tokens`, if there
    /// is one.
    ///
    /// # Panics
    ///
    /// When they cannot be read.
    #[must_use]
    pub fn read(folder: &Path, tokens: &Path) -> Self {
        let entries = must("listing a corpus", std::fs::read_dir(folder));
        let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|it| it.path()).collect();
        paths.sort();
        let inputs = paths
            .iter()
            .map(|path| must("reading an input", std::fs::read(path)));
        let lines = std::fs::read_to_string(tokens).unwrap_or_default();
        Self {
            inputs: inputs.collect(),
            tokens: lines.lines().filter_map(token).collect(),
        }
    }

    /// The inputs as they are.
    #[must_use]
    pub fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// An input after some changes, and rarely arbitrary bytes.
    pub fn draw(&self, dice: &mut Dice) -> Vec<u8> {
        if self.inputs.is_empty() || dice.below(20) == 0 {
            let length = dice.below(100);
            return (0..length).map(|_| dice.below(256) as u8).collect();
        }
        let mut input = self.pick(dice).to_vec();
        for _ in 0..=dice.below(CHANGES_MAX) {
            self.change(&mut input, dice);
            input.truncate(BYTES_MAX);
        }
        input
    }

    fn pick(&self, dice: &mut Dice) -> &[u8] {
        &self.inputs[dice.below(self.inputs.len())]
    }

    fn change(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        let at = dice.below(input.len() + 1);
        let end = at + dice.below(input.len() - at + 1);
        match dice.below(8) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = dice.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            // A piece, some times over.
            4 => {
                let piece = input[at..end.min(at + 64)].repeat(1 + dice.below(40));
                drop(input.splice(at..at, piece));
            }
            // The rest of another input.
            5 => {
                let other = self.pick(dice);
                let from = dice.below(other.len() + 1);
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            6 if !self.tokens.is_empty() => {
                let token = &self.tokens[dice.below(self.tokens.len())];
                let end = if dice.below(2) == 0 {
                    at
                } else {
                    end.min(at + token.len())
                };
                drop(input.splice(at..end, token.iter().copied()));
            }
            _ => input.insert(at, dice.below(256) as u8),
        }
    }
}

/// The word of a line `"..."` or `NAME="..."`, with escapes such as `\x00`; `None` where it has none.
fn token(line: &str) -> Option<Vec<u8>> {
    if line.starts_with('#') {
        return None;
    }
    let (start, end) = (line.find('"')?, line.rfind('"')?);
    let mut bytes_left = line.get(start + 1..end)?.bytes();
    let mut bytes = Vec::new();
    while let Some(byte) = bytes_left.next() {
        bytes.push(match (byte, byte == b'\\') {
            (_, false) => byte,
            (_, true) => match bytes_left.next()? {
                b'x' => {
                    let digits = [bytes_left.next()?, bytes_left.next()?];
                    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            },
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_with_their_escapes() {
        assert_eq!(token(r#""a\"\\\x00\xff""#), Some(b"a\"\\\0\xff".to_vec()));
        assert_eq!(token(r#"name="x""#), Some(b"x".to_vec()));
        assert_eq!(token("# a comment with \"quotes\""), None);
        assert_eq!(token(""), None);
    }

    #[test]
    fn drawn_inputs_differ_stay_short_and_come_again_with_the_same_seed() {
        let corpus = Corpus {
            inputs: vec![b"one input".to_vec(), b"another".to_vec(), Vec::new()],
            tokens: vec![b"token".to_vec()],
        };
        let draws = |seed| {
            let mut dice = Dice::seeded(seed);
            (0..2_000)
                .map(|_| corpus.draw(&mut dice))
                .collect::<Vec<_>>()
        };
        let drawn = draws(7);
        assert_eq!(drawn, draws(7));
        assert!(drawn.iter().all(|input| input.len() <= BYTES_MAX));
        assert!(
            drawn
                .iter()
                .any(|input| input.windows(5).any(|five| five == b"token"))
        );
        let different: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert!(different.len() > 1_500, "{}", different.len());
    }
}
