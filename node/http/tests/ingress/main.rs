//! The public API over real sockets: raw clients, scripted upstreams, fake peers, a real engine.

mod attempts;
mod bodies;
mod breaking;
mod broken_ways;
mod client_headers;
mod deadlines;
mod encoded;
mod explaining;
mod framing;
mod judgement;
mod kept;
mod listening;
mod nearest;
mod passing;
mod providers;
mod proxy_headers;
mod residency;
mod streams;
mod support;
mod upstreams;
mod usage;
mod waits;
