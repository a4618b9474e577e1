//! What the operator wants, read and checked.

pub mod address;
pub mod checked;
pub mod hash;
pub mod secret;
pub mod text;

pub use checked::{Config, LogConfig, LogFormat};
pub use secret::Secret;
