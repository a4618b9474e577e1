//! Translates requests, answers, streams and errors between the dialects of AI APIs.
//!
//! A body is read into the [`hub`], the form between dialects, and written in another dialect; what that one cannot
//! say is named as a [`Loss`], and the caller decides whether it is borne. Within one dialect nothing is lost.
//!
//! Reading order:
//!
//! 1. [`Dialect`]; [`loss`]: what a translation leaves out.
//! 2. [`rest`], [`fields`]: how a reader takes from an object what the hub models, and keeps what it does not.
//! 3. [`hub`]: requests, turns and parts, answers, streams, errors; [`hub::fold`] puts a stream together.
//! 4. [`grammar`]: what a dialect must be able to do. `chat`, `converse`, `gemini`, `messages` and `responses` do it,
//!    each knowing the hub alone.
//! 5. What several dialects have in common: [`reasoning`], the table between efforts and budgets; `ids`, `signature`,
//!    `cache_mark`, `data_url`; `sides`, `tool_answer`, `free_text` and `unsayable` for requests; `claude` for its
//!    models; `blocks` and `block_stream` for streams.
//! 6. [`translate`]: bodies from one dialect to another; [`stream`]: streams, cut anywhere; [`framing`]: how their
//!    events become bytes, as server-sent events or in an [`event_stream`]; [`chunk`]: messages in such a stream.
//!
//! To add a dialect: a module beside `chat` with one type that implements [`grammar::Grammar`], and one line of
//! `translate`'s `grammar_of`.
//!
//! What this crate does not know: sockets, clocks, models' prices, upstreams, keys.
//!
//! Invariant: no bytes panic it. Invariant: a stream that its upstream cut is not given an end.

mod block_stream;
mod blocks;
mod cache_mark;
mod chat;
pub mod chunk;
mod claude;
mod converse;
mod data_url;
mod dialect;
mod error;
pub mod event_stream;
pub mod fields;
pub mod framing;
mod free_text;
mod gemini;
pub mod grammar;
pub mod hub;
mod ids;
mod json_end;
pub mod loss;
mod messages;
pub mod reasoning;
mod responses;
pub mod rest;
mod sides;
mod signature;
mod sse;
pub mod stream;
mod tool_answer;
pub mod translate;
mod unsayable;

pub use dialect::Dialect;
pub use error::TranslateError;
pub use framing::Framing;
pub use loss::{Loss, LossList};
pub use stream::StreamTranslator;
pub use translate::{Translated, TranslatedError, Translation};
