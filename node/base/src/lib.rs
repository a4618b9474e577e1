//! What the crates of a node share, so that they need not know one another.
//!
//! Reading order: [`clock`] and [`entropy`] (time and randomness from the system), [`driver`] (owns core's engine and
//! publishes its view), [`exchange`] (the calls and answers that crates hand each other; [`call_body`] is what a call sends), [`asked`] with [`scan`] (what
//! a request's body asks for), [`headers`], [`answer_headers`] and [`head_lines`], [`http1`], [`bodies`] (the memory that requests may hold), [`coding`] (bodies that
//! are sent encoded), [`coarse`] (waits without a timer), [`overdue`], [`listener`]
//! (what every listener does with its connections), [`limits`] (the purses of keys), [`readiness`] and [`vital`] (whether the node can serve), [`own_files`] (the configuration and certificates on disk),
//! [`authority`] (the mesh's certificates), [`families`] (the registry of metrics); [`loopback`], [`causes`], [`page`], [`peeked`] and
//! [`table`] for the commands that call a node of this machine; `testing` for the tests of several crates.
//!
//! What this crate does not know: configuration files, routes, who calls whom.

pub mod answer_headers;
pub mod asked;
pub mod authority;
pub mod bodies;
pub mod call_body;
pub mod causes;
pub mod clock;
pub mod coarse;
pub mod coding;
pub mod driver;
pub mod entropy;
pub mod exchange;
pub mod families;
pub mod files;
pub mod head_lines;
pub mod headers;
pub mod http1;
pub mod limits;
pub mod listener;
pub mod loopback;
pub mod overdue;
pub mod own_files;
pub mod page;
pub mod peeked;
pub mod queue;
pub mod readiness;
pub mod scan;
pub mod shown;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vital;
pub mod websocket;
