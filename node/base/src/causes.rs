//! Errors with their causes.

use std::error::Error;

/// The error, then what caused it, and so on.
pub fn each<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// The whole chain on one line.
pub fn joined(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = each(error).map(ToString::to_string).collect();
    texts.join(": ")
}
