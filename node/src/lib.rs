//! placeholder
pub mod mock;
