//! What clients meet: the public API, the DNS that leads them to a node, and the calls of upstreams.
//!
//! Reading order: [`ingress`] (a request from its arrival to the last byte of its answer), [`upstream`] (one call of an
//! own upstream), [`prober`] (whether upstreams are well when nobody asks them), [`dns`].
//!
//! What this crate does not know: how peers are reached, which it is handed as a trait, and what a task is. These
//! modules do not import one another either.

pub mod dns;
pub mod ingress;
pub mod prober;
pub mod upstream;
