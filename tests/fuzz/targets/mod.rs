//! The parsers of foreign bytes, each with the properties that must hold whatever the bytes are.
//!
//! A target is a function that panics on a broken property. The same functions run in the ordinary suite
//! (`tests/tests/operator/fuzz.rs`: the corpus, and changes of it by chance) and under libFuzzer (`tests/fuzz/run`).
//! A target has a folder of inputs in `corpus`, and in `tokens` words that are worth putting in, in the form of
//! libFuzzer's dictionaries.

mod amazon_frame;
mod answer;
mod body;
mod coding;
mod config;
mod dialect_answer;
mod dialect_request;
mod dialect_stream;
mod dns;
mod envelope;
mod form;
mod forwarded;
mod frame;
mod gossip;
mod head;
mod ids;
mod json;
mod mode;
mod proxy;
mod request;
mod sse;
mod template;
mod value;

use grapevine_dialect::Dialect;

/// Checks one input.
type Target = fn(&[u8]);

/// Every target by its name.
pub(crate) const TARGETS: [(&str, Target); 23] = [
    ("amazon-frame", amazon_frame::target),
    ("answer", answer::target),
    ("body", body::target),
    ("coding", coding::target),
    ("config", config::target),
    ("dialect-answer", dialect_answer::target),
    ("dialect-request", dialect_request::target),
    ("dialect-stream", dialect_stream::target),
    ("dns", dns::target),
    ("envelope", envelope::target),
    ("form", form::target),
    ("forwarded", forwarded::target),
    ("frame", frame::target),
    ("gossip", gossip::target),
    ("head", head::target),
    ("ids", ids::target),
    ("json", json::target),
    ("mode", mode::target),
    ("proxy", proxy::target),
    ("request", request::target),
    ("sse", sse::target),
    ("template", template::target),
    ("value", value::target),
];

/// The first line and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 1..]))
}

/// The dialect of a name.
fn dialect(name: &[u8]) -> Option<Dialect> {
    Dialect::from_name(std::str::from_utf8(name).ok()?)
}
