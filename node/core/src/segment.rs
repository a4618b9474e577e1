//! A model's name as one segment of a path.

/// Appends `name` to `path` as one segment: everything is encoded but what needs no encoding anywhere (RFC 3986, 2.3),
/// and `@`, which names of versions have at Google and no server separates at. `None` where no segment is called so:
/// nothing, and the two steps, which are steps encoded too (RFC 3986, 5.2.4).
pub fn push_segment(name: &str, path: &mut String) -> Option<()> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if matches!(name, "" | "." | "..") {
        return None;
    }
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                path.push(char::from(byte));
            }
            byte => {
                path.push('%');
                path.push(char::from(DIGITS[usize::from(byte >> 4)]));
                path.push(char::from(DIGITS[usize::from(byte & 0xf)]));
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: &str) -> Option<String> {
        let mut path = String::new();
        push_segment(name, &mut path).map(|()| path)
    }

    #[test]
    fn name_is_one_segment_whatever_it_holds() {
        for (name, encoded) in [
            ("gpt-4o", "gpt-4o"),
            ("claude@20250101", "claude@20250101"),
            ("a.b:0", "a.b%3A0"),
            ("org/m", "org%2Fm"),
            ("../a?b#c d", "..%2Fa%3Fb%23c%20d"),
            ("100%", "100%25"),
            ("modèle", "mod%C3%A8le"),
        ] {
            assert_eq!(segment(name).as_deref(), Some(encoded));
        }
    }

    #[test]
    fn steps_and_nothing_are_no_segment() {
        for name in ["", ".", ".."] {
            assert_eq!(segment(name), None, "{name}");
        }
    }
}
