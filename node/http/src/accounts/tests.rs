//! Calls on accounts.
