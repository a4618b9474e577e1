//! The mock over real sockets on loopback, in real time.

mod client;
mod faults;
mod shapes;
mod stats;
mod strict;
