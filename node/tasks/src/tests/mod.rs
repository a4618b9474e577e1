//! Background work as a whole, with a store in a file and an API that only counts what is asked of it.

mod admission;
mod peers;
pub(super) mod support;
