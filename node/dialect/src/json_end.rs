//! Whether a JSON object that comes in pieces is whole.

/// Reads an object piece by piece, without keeping it.
#[derive(Debug, Default)]
pub(crate) struct JsonEnd {
    depth: usize,
    is_begun: bool,
    in_string: bool,
    is_escaped: bool,
}

impl JsonEnd {
    /// Reads a piece.
    pub(crate) fn read(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if std::mem::take(&mut self.is_escaped) {
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.is_begun = true;
                    self.depth += 1;
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether the object has ended.
    pub(crate) const fn is_reached(&self) -> bool {
        self.is_begun && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_ends_with_its_last_brace_wherever_it_is_cut() {
        let text = r#"{"a": "}\"{", "b": [{}, 1]}"#;
        for cut in 1..text.len() {
            let mut end = JsonEnd::default();
            end.read(&text[..cut]);
            assert!(!end.is_reached(), "{}", &text[..cut]);
            end.read(&text[cut..]);
            assert!(end.is_reached());
        }
    }

    #[test]
    fn nothing_has_no_end() {
        assert!(!JsonEnd::default().is_reached());
    }
}
