//! What the model says, before any dialect: a function of the question alone, so that a test can compare dialects.
//!
//! - With tools at hand and `call NAME {json}` in the last text of the user: those calls, as many as there are.
//! - With a tool demanded by the tool choice and no such text: one call with a valid instance of the tool's schema.
//! - With results of tools at the end of the conversation: a text that quotes each.
//! - With a JSON schema demanded: a valid instance of it.
//! - Else the text of [`crate::mock::answer_text`].

use serde_json::Value;

use super::schema::instance;
use crate::mock::answer_text;

/// The most calls of tools in one answer.
const CALLS_MAX: usize = 16;

/// Characters of each streamed piece of a call's arguments or of a JSON answer.
const PIECE_CHARS: usize = 8;

/// Words of the question that the thinking repeats.
const THOUGHT_WORDS: usize = 6;

/// A tool that the client offers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) schema: Value,
}

/// Whether a tool must be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Choice {
    #[default]
    Auto,
    /// No tool may be called.
    None,
    /// Any of them.
    Any,
    /// This one.
    Named(String),
}

/// A question, out of any dialect.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Ask {
    pub(super) model: String,
    /// The last text of the user.
    pub(super) text: String,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Choice,
    /// What the tools answered, when that is the end of the conversation.
    pub(super) results: Vec<String>,
    pub(super) thinking: bool,
    /// The schema that the answer must satisfy.
    pub(super) schema: Option<Value>,
    pub(super) words_max: Option<u32>,
    pub(super) stream: bool,
    /// A quarter of the bytes of the conversation, and one: deterministic, not a tokenizer.
    pub(super) input_tokens: u64,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolCall {
    /// Letters and digits alone, to which each dialect adds its prefix.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Value,
}

impl ToolCall {
    /// The arguments' JSON in pieces, as a stream carries them.
    pub(super) fn pieces(&self) -> Vec<String> {
        pieces(&self.arguments.to_string())
    }
}

/// An answer, before any dialect.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Said {
    pub(super) thinking: Option<String>,
    /// The text in the pieces of a stream; none when tools are called.
    pub(super) pieces: Vec<String>,
    pub(super) calls: Vec<ToolCall>,
    /// Whether the client's limit cut the text.
    pub(super) capped: bool,
}

impl Said {
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    pub(super) fn thinking_tokens(&self) -> u64 {
        let words = self
            .thinking
            .as_deref()
            .map_or(0, |text| text.split(' ').count());
        words as u64
    }

    /// One for each piece of text, each piece of a call, and each word of thinking.
    pub(super) fn output_tokens(&self) -> u64 {
        let calls: usize = self.calls.iter().map(|call| call.pieces().len() + 1).sum();
        (self.pieces.len() + calls) as u64 + self.thinking_tokens()
    }
}

/// What the upstream called `name` answers as its answer `number`, in at most `words` words.
pub(super) fn say(name: &str, ask: &Ask, number: u64, words: u32) -> Said {
    let thinking = ask.thinking.then(|| thought(&ask.text));
    let calls = calls(ask, number);
    if !calls.is_empty() {
        return Said {
            thinking,
            calls,
            ..Said::default()
        };
    }
    let whole = if !ask.results.is_empty() {
        word_pieces(&quoted_results(&ask.results))
    } else if let Some(schema) = &ask.schema {
        pieces(&instance(schema).to_string())
    } else {
        word_pieces(&answer_text(name, &ask.text, words))
    };
    let limit = ask.words_max.unwrap_or(u32::MAX) as usize;
    let capped = whole.len() > limit;
    Said {
        thinking,
        pieces: whole.into_iter().take(limit).collect(),
        calls,
        capped,
    }
}

fn thought(question: &str) -> String {
    let words: Vec<&str> = question.split_whitespace().take(THOUGHT_WORDS).collect();
    format!("The question begins: {}", words.join(" "))
}

/// The text that quotes what the tools answered.
pub(super) fn quoted_results(results: &[String]) -> String {
    let quoted: Vec<String> = results.iter().map(|text| format!("\"{text}\"")).collect();
    format!("The tools answered {}.", quoted.join(" and "))
}

fn calls(ask: &Ask, number: u64) -> Vec<ToolCall> {
    if ask.tools.is_empty() || ask.choice == Choice::None {
        return Vec::new();
    }
    let id = |at: usize| format!("mock{number:012}{at:02}");
    let mut calls = Vec::new();
    if ask.results.is_empty() {
        for (name, arguments) in scripted(&ask.text) {
            if calls.len() < CALLS_MAX && ask.tools.iter().any(|tool| tool.name == name) {
                calls.push(ToolCall {
                    id: id(calls.len()),
                    name: name.to_owned(),
                    arguments,
                });
            }
        }
    }
    let demanded = match &ask.choice {
        Choice::Any => ask.tools.first(),
        Choice::Named(name) => ask.tools.iter().find(|tool| tool.name == *name),
        Choice::Auto | Choice::None => None,
    };
    if let (true, Some(tool)) = (calls.is_empty(), demanded) {
        calls.push(ToolCall {
            id: id(0),
            name: tool.name.clone(),
            arguments: instance(&tool.schema),
        });
    }
    calls
}

/// Every `call NAME {json}` of a text.
fn scripted(text: &str) -> Vec<(&str, Value)> {
    let mut found = Vec::new();
    for (at, word) in text.match_indices("call ") {
        let rest = &text[at + word.len()..];
        let Some((name, _)) = rest.split_once([' ', '{']) else {
            continue;
        };
        let json = &rest[name.len()..];
        let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
        if let Some(Ok(arguments @ Value::Object(_))) = values.next() {
            found.push((name, arguments));
        }
        if found.len() == CALLS_MAX {
            break;
        }
    }
    found
}

fn word_pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for (i, word) in text.split(' ').enumerate() {
        pieces.push(if i == 0 {
            word.to_owned()
        } else {
            format!(" {word}")
        });
    }
    pieces
}

fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(PIECE_CHARS).map(String::from_iter).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(text: &str) -> Ask {
        let tool = |name: &str| Tool {
            name: name.to_owned(),
            schema: json!({"type": "object"}),
        };
        Ask {
            text: text.to_owned(),
            tools: vec![tool("weather"), tool("time")],
            ..Ask::default()
        }
    }

    #[test]
    fn scripted_calls_are_made_in_order_with_their_arguments() {
        let said = say(
            "m",
            &ask(r#"please call weather {"city": "Rome"} and call time {"zone": {"a": 1}}"#),
            7,
            16,
        );
        assert_eq!(said.calls.len(), 2);
        assert_eq!(said.calls[0].arguments, json!({"city": "Rome"}));
        assert_eq!(said.calls[1].name, "time");
        assert_eq!(said.calls[1].pieces().concat(), r#"{"zone":{"a":1}}"#);
        assert!(said.pieces.is_empty());
    }

    #[test]
    fn a_call_of_a_tool_that_is_not_offered_or_without_json_is_plain_text() {
        for text in ["call other {}", "call weather", "call weather {", "call "] {
            let said = say("m", &ask(text), 1, 16);
            assert_eq!(said.text(), answer_text("m", text, 16), "{text}");
        }
    }

    #[test]
    fn results_are_quoted_and_no_tool_is_called_again() {
        let ask = Ask {
            results: vec!["21 degrees".to_owned(), "noon".to_owned()],
            ..ask("call weather {}")
        };
        let said = say("m", &ask, 1, 16);
        assert_eq!(
            said.text(),
            "The tools answered \"21 degrees\" and \"noon\"."
        );
    }

    #[test]
    fn a_demanded_tool_is_called_with_an_instance_of_its_schema() {
        let mut ask = ask("hello");
        ask.choice = Choice::Named("time".to_owned());
        assert_eq!(say("m", &ask, 1, 16).calls[0].name, "time");
        ask.choice = Choice::None;
        assert!(say("m", &ask, 1, 16).calls.is_empty());
    }
}
