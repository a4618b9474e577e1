//! What a tool answered, for dialects that have a text for it and nothing else.
//!
//! That a tool failed is said in its words, and what it showed stands elsewhere under a line that says whose it is: so
//! the model knows what it would in a dialect with fields for both.

use std::borrow::Cow;

use crate::hub::part::{Part, PartKind, ToolResult};
use crate::rest::Rest;

/// What the words of a tool that failed begin with.
const FAILED: &str = "Error: ";

/// How the words of failures begin already, in small letters.
const SAID_SO: [&str; 2] = ["error", "<tool_use_error"];

/// The parts of an answer whose rest is `rest`; if the tool failed, its words say so.
pub(crate) fn with_failure<'a>(result: &'a ToolResult, rest: &Rest) -> Cow<'a, [Part]> {
    if result.is_error != Some(true) {
        return Cow::Borrowed(&result.parts);
    }
    let first = result.parts.iter().position(|part| part.text().is_some());
    let text = first.and_then(|index| result.parts[index].text());
    let text = text.unwrap_or_default();
    if says_so(text) {
        return Cow::Borrowed(&result.parts);
    }
    let said = PartKind::Text(format!("{FAILED}{text}"));
    let mut parts = result.parts.clone();
    match first {
        Some(index) => parts[index].kind = said,
        None => parts.insert(0, Part::new(said, empty(rest))),
    }
    Cow::Owned(parts)
}

/// The line above what a tool showed, where that stands apart from the rest of its answer.
pub(crate) fn heading(tool: &str, shown: &Part) -> Part {
    let text = format!("From the answer of {tool}:");
    Part::new(PartKind::Text(text), empty(&shown.rest))
}

fn empty(rest: &Rest) -> Rest {
    Rest::new(rest.from(), rest.path())
}

fn says_so(text: &str) -> bool {
    SAID_SO.iter().any(|word| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    })
}
