//! The public API, the DNS that directs clients to a node, and the calls of upstreams.
//!
//! Reading order: [`ingress`] (a request from its arrival to the last byte of its answer), [`upstream`] (one call of an
//! own upstream), [`accounts`] (the same within the limits of an account), [`prober`] (active health checks of upstreams),
//! [`load_reader`] (the load that they report), [`dns`].
//!
//! What this crate does not know: how peers are reached, for which it is given a trait, and what a task is.
//! These modules do not import one another either, but `accounts` counts a call as `ingress` counts a request.

pub mod accounts;
pub mod dns;
pub mod ingress;
pub mod load_reader;
mod page;
pub mod prober;
pub mod upstream;
mod websocket;
