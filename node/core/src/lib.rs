//! Decides: which upstreams are healthy, what they cost, and where a request goes.
//!
//! Reading order:
//!
//! 1. [`time`], [`ids`], [`units`], [`geo_point`], [`country`], [`native_path`], [`dialect`]: the
//!    vocabulary.
//! 2. [`outcome`]: how an attempt ended, and whom that counts against.
//! 3. [`latency`], [`health`], [`limit`], [`cache_meter`]: what is known of one upstream; [`link`]: of the way to a peer;
//!    [`share`] and [`pace`]: how much one sender may hold, and how fast it must send.
//! 4. [`fact`], [`links`]: what nodes publish, whom they stay connected to, and to whom a rumor goes.
//! 5. [`view`]: the immutable picture the request path reads.
//! 6. [`route`]: `plan`, a pure function over a view; [`residency`] and [`homes`]: where a
//!    request may and should be answered.
//!    [`forwarding`]: what may be sent to an upstream at all; [`seal`]: which upstream made an id.
//! 7. [`steer`]: which nodes a client should come to in the first place.
//! 8. [`engine`]: the state machine that turns events into effects and views.
//!    [`request`]: the one that takes a request from attempt to attempt; [`admission`]: whether to serve a peer's.
//! 9. [`mode`], [`work`], [`handover`]: what a node does beside routing, and who gets which task;
//!    [`address`]: what it calls for a client.
//! 10. [`pace`], [`quota`]: how fast a client has to send, and what it may have; [`escrow`]: what it may have of
//!     the whole mesh in a minute, a day, a month and at once, without a store; [`fair`]: whose turn it is.
//! 11. [`roster`], [`quarantine`], [`allowance`]: which nodes gossip may contain, which peers are ignored,
//!     and how much a peer may send.
//! 12. [`connection`], [`descriptors`], [`guesses`]: what clients may hold, and for how long.
//! 13. [`notice`]: what is reported to the operator.
//!
//! What this crate does not know: sockets, clocks, files, encodings, tasks, logs. It is handed the
//! time, the randomness and the input, and returns what to do.
//!
//! Invariant: equal inputs in equal order give equal outputs; nothing iterates an unordered map.

pub mod account;
pub mod address;
pub mod admission;
pub mod allowance;

pub mod cache_meter;
pub mod capacity;
pub mod connection;
pub mod country;
pub mod date;
pub mod descriptors;
pub mod dialect;
pub mod engine;
pub mod escrow;
pub mod fact;
pub mod fair;
pub mod forwarding;
pub mod geo_point;
pub mod guesses;
pub mod handover;
pub mod health;
pub mod hedge_budget;
pub mod homes;
pub mod ids;
pub mod latency;
pub mod limit;
pub mod link;
pub mod links;
pub mod mode;
pub mod native_path;
pub mod notice;
pub mod outcome;
pub mod pace;
pub mod price;
pub mod quarantine;
pub mod quota;
mod random;
pub mod reported;
pub mod request;
pub mod residency;
pub mod retry_after;
pub mod roster;
pub mod route;
pub mod seal;
pub mod segment;
pub mod share;
pub mod steer;
pub mod time;
mod token_bucket;
pub mod units;
pub mod view;
pub mod work;

pub use engine::Engine;
pub use time::Instant;
