//! The parsers of foreign bytes, each with the properties that must hold whatever the bytes are.
//!
//! A target is a function that panics on a broken property. The same functions run in the ordinary suite
//! (`tests/tests/operator/fuzz.rs`: the corpus, and changes of it by chance) and under libFuzzer (`tests/fuzz/run`).
//! A target has a folder of inputs in `corpus`, and in `tokens` words that are worth putting in, in the form of
//! libFuzzer's dictionaries.

mod answer;
mod body;
mod coding;
mod config;
mod dns;
mod envelope;
mod form;
mod forwarded;
mod frame;
mod gossip;
mod head;
mod json;
mod mode;
mod proxy;
mod request;
mod sse;
mod template;
mod value;

/// Checks one input.
type Target = fn(&[u8]);

/// Every target by its name.
pub(crate) const TARGETS: [(&str, Target); 18] = [
    ("answer", answer::target),
    ("body", body::target),
    ("coding", coding::target),
    ("config", config::target),
    ("dns", dns::target),
    ("envelope", envelope::target),
    ("form", form::target),
    ("forwarded", forwarded::target),
    ("frame", frame::target),
    ("gossip", gossip::target),
    ("head", head::target),
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
