//! A harness for whole nodes: real `grapevine` processes, real sockets, real clients.
//!
//! Reading order: [`mesh`] (several nodes with certificates and configs), [`node`] (one of them),
//! [`mock`] (an upstream with fault knobs), [`client`] (requests and event streams), [`load`] (many
//! clients at once), [`network`] (a bad network between nodes), [`script`] (official SDKs), [`steps`] (a
//! browser that takes turns with the test), and
//! [`wait`] (conditions instead of sleeping). For single questions: [`canned`] (an upstream that keeps
//! every byte), [`scripted`] (one that fails by rules), [`echo`] (one that counts every text), [`raw`] (a client that hangs up at an exact moment),
//! [`events`] (how streams end), [`websocket`] (both ends of a tunnel), [`watch`] (when each node first showed something), [`dice`] (chance that
//! can be repeated), [`mutation`] (inputs changed by it), [`memory`], [`hold`] (many streams while their owner dies), [`engines`] (conversations at engines with queues), and [`quiet`] (tests that measure run alone).
//! [`postgres`] and [`nats`] are real servers; [`collector`] and [`prometheus`] are those of traces and metrics. [`mod@reference`] writes a page of the
//! manual.
//!
//! The harness knows nodes by their program, ports, config and admin pages only. Its functions panic
//! with what was being done, so that a test reads as its story; on a failure the end of every child's
//! log is printed and the scratch directory stays.
//!
//! ```no_run
//! # async fn example() {
//! use grapevine_tests::{Mesh, Mock, client};
//!
//! let primary = Mock::start("primary", &["gpt-4o"]).await;
//! let spare = Mock::start("spare", &["gpt-4o"]).await;
//! let mesh = Mesh::builder()
//!     .node("sgp", |node| node.upstream(&primary))
//!     .node("jpn", |node| node.upstream(&spare))
//!     .start()
//!     .await;
//! primary.kill();
//! let answer = client::chat(&mesh["sgp"], "gpt-4o", "hello").await;
//! assert_eq!((answer.status, answer.header("x-grapevine-node")), (200, "jpn"));
//! # }
//! ```

mod admin;
pub mod canned;
pub mod client;
pub mod collector;
pub mod dice;
pub mod echo;
pub mod engines;
pub mod events;
pub mod hold;
pub mod identity;
pub mod load;
pub mod memory;
pub mod mesh;
pub mod mock;
pub mod mutation;
pub mod nats;
pub mod network;
pub mod node;
pub mod operator;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod quiet;
pub mod raw;
pub mod reference;
pub mod rogue;
pub mod scratch;
pub mod script;
pub mod scripted;
pub mod steps;
pub mod view;
pub mod watch;
pub mod websocket;

pub use grapevine_base::testing as wait;
pub use mesh::Mesh;
pub use mock::Mock;
pub use node::Node;
pub use process::Signal;
pub use wait::{wait_until, within};
