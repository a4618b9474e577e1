//! What people look at: the admin port with its dashboard, and the commands that ask a node or help to set one up.
//!
//! Reading order: [`admin`] (the port), [`cli`] (`status`, `top`, `requests`, `explain`, `tasks`, `log`, and `init`, `import`,
//! `ca`, `key`, `schema`).
//!
//! What this crate does not know: how requests are routed and served. It reads views, records and metrics.

pub mod admin;
pub mod cli;
