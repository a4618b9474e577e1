//! Keys of clients: static ones, known by their hashes, and issued ones, tokens that any node verifies alone.
//!
//! Reading order: [`hash`] (static keys), [`rights`] (what a key may do), `limits` (how much), [`issuer`] (the operator's signing key and
//! its public half), [`token`] (an issued key), [`statement`] (what the operator says about keys later: revoked, put,
//! removed), [`statements`] (all statements that a node knows), [`statement_file`] (kept on disk), [`ring`] (what is
//! in force, and the check of one key), `checked` (why a token is verified once and not at each request), [`oidc`] and
//! [`key_set`] (tokens of an identity provider), `signatures` (what verifies them all).
//!
//! An issuing key signs; nodes hold its public half alone. Whatever it signs is a JWS (RFC 7515) with EdDSA over
//! Ed25519 (RFC 8037): no other algorithm is accepted, so that none can be confused with it. What a JWS is for stands
//! in its signed header: a statement is never taken for a key, nor the other way round.
//!
//! What this crate does not know: requests, peers, configuration, and the time, which it is passed.
//!
//! Invariant: neither a key nor a token is in any error or `Debug` text here; a token is named by its id alone.

mod checked;
pub mod hash;
pub mod issuer;
mod jws;
pub mod key_set;
mod limits;
pub mod oidc;
mod refusal;
pub mod rights;
pub mod ring;
mod signatures;
pub mod statement;
pub mod statement_file;
pub mod statements;
pub mod token;
