//! The headers of a frame: a name, a type and a value each.

use super::FrameError;

/// The type of a text.
pub(super) const TEXT: u8 = 7;

/// Takes bytes off the front of a slice, never more than there are.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(FrameError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        let taken = self.take(1)?;
        taken.first().copied().ok_or(FrameError::Malformed)
    }

    fn sized(&mut self) -> Result<&'a [u8], FrameError> {
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        self.take(usize::from(length))
    }
}

/// The headers that are texts; those of other types are checked and skipped.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(&str, &str)>, FrameError> {
    let mut cursor = Cursor(bytes);
    let mut headers = Vec::new();
    while !cursor.0.is_empty() {
        let length = usize::from(cursor.byte()?);
        let name = text(cursor.take(length)?)?;
        match cursor.byte()? {
            // True and false have no value.
            0 | 1 => {}
            2 => drop(cursor.take(1)?),
            3 => drop(cursor.take(2)?),
            4 => drop(cursor.take(4)?),
            // A number or a time.
            5 | 8 => drop(cursor.take(8)?),
            6 => drop(cursor.sized()?),
            TEXT => headers.push((name, text(cursor.sized()?)?)),
            // A UUID.
            9 => drop(cursor.take(16)?),
            _ => return Err(FrameError::Malformed),
        }
    }
    Ok(headers)
}

/// Appends a header that is a text.
pub(super) fn write(name: &str, value: &str, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let name_length = u8::try_from(name.len()).map_err(|_| FrameError::TooLarge)?;
    let length = u16::try_from(value.len()).map_err(|_| FrameError::TooLarge)?;
    out.push(name_length);
    out.extend_from_slice(name.as_bytes());
    out.push(TEXT);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(bytes).map_err(|_| FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_type_are_passed_over_to_the_texts() {
        let mut bytes = Vec::new();
        let values: [(u8, &[u8]); 9] = [
            (0, &[]),
            (1, &[]),
            (2, &[1]),
            (3, &[1; 2]),
            (4, &[1; 4]),
            (5, &[1; 8]),
            (6, &[0, 2, 1, 1]),
            (8, &[1; 8]),
            (9, &[1; 16]),
        ];
        for (kind, value) in values {
            bytes.extend_from_slice(&[1, b'a', kind]);
            bytes.extend_from_slice(value);
        }
        write("b", "c", &mut bytes).unwrap();
        assert_eq!(read(&bytes).unwrap(), [("b", "c")]);
    }

    #[test]
    fn value_that_ends_too_early_and_unknown_type_are_malformed() {
        assert_eq!(read(&[1, b'a', 7, 0, 2, b'x']), Err(FrameError::Malformed));
        assert_eq!(read(&[1, b'a', 10]), Err(FrameError::Malformed));
        assert_eq!(read(&[9, b'a']), Err(FrameError::Malformed));
    }
}
