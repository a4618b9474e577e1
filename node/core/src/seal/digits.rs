//! A number of 88 bits in digits and letters.

/// The digits of a seal: 62 to the power of 15 is just above 2 to the power of 88.
pub const SEAL_DIGITS: usize = 15;

/// One above the largest number.
const BOUND: u128 = 1 << 88;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `number`, of which 88 bits count, the first digit the highest.
pub(super) fn write(number: u128) -> [u8; SEAL_DIGITS] {
    let mut left = number % BOUND;
    let mut digits = [0; SEAL_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(left % 62) as usize];
        left /= 62;
    }
    digits
}

/// The number of these digits; `None` where they are others, or more than 88 bits.
pub(super) fn read(digits: &[u8; SEAL_DIGITS]) -> Option<u128> {
    let number = digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return None,
        };
        Some(number * 62 + u128::from(value))
    })?;
    (number < BOUND).then_some(number)
}
