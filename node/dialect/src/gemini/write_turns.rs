//! Writes the turns of a request in another dialect.
//!
//! Instructions at the front become `systemInstruction`, turns of one side become one content, and functions' answers
//! come first in it, in the order of their calls. A signature that came back goes to where Gemini puts it: on the first
//! call after its thought, or on the last words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::names::{FUNCTION_CALL, FUNCTION_RESPONSE, THOUGHT_SIGNATURE};
use super::{DIALECT, models, write_parts, write_result};
use crate::cache_mark;
use crate::grammar::Object;
use crate::hub::part::{Part, PartKind, ToolResult};
use crate::hub::request::{HubRequest, Role, Turn};
use crate::loss::LossList;
use crate::sides;

/// What stands in place of a signature that is not there, by Google's guide to thought signatures: later models refuse
/// a call without any.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// `systemInstruction` and `contents`.
pub(super) fn foreign(request: &HubRequest, losses: &mut LossList) -> (Option<Value>, Vec<Value>) {
    let (instructions, turns) = sides::instructions(request, losses);
    let system: Vec<Value> = instructions
        .into_iter()
        .filter_map(|part| write_parts::write_foreign(part, losses))
        .map(Value::Object)
        .collect();
    let mut writer = Writer {
        is_former: models::is_former(request.model.as_deref()),
        calls: BTreeMap::new(),
        contents: Vec::new(),
    };
    for turn in turns {
        writer.write(turn, losses);
    }
    let system = (!system.is_empty()).then(|| json!({"parts": system}));
    (system, writer.finish())
}

struct Writer {
    is_former: bool,
    /// The calls so far, by id: their number and name.
    calls: BTreeMap<String, (usize, String)>,
    contents: Vec<ForeignContent>,
}

struct ForeignContent {
    role: &'static str,
    /// The responses, by the number of their call.
    responses: Vec<(usize, Object)>,
    parts: Vec<Object>,
}

impl Writer {
    fn write(&mut self, turn: &Turn, losses: &mut LossList) {
        turn.rest.lose(losses);
        let role = match &turn.role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "model",
            Role::System | Role::Developer => {
                losses.add(
                    turn.rest.at("role"),
                    "said as the user: gemini takes instructions at the front alone",
                );
                "user"
            }
            Role::Other(_) => {
                losses.add(turn.rest.at("role"), "gemini has no such role");
                return;
            }
        };
        let mut content = ForeignContent {
            role,
            responses: Vec::new(),
            parts: Vec::new(),
        };
        let mut thoughts = Signatures::default();
        for part in &turn.parts {
            self.write_part(part, &mut content, &mut thoughts, losses);
        }
        thoughts.settle(&mut content.parts);
        if content.parts.is_empty() && content.responses.is_empty() {
            return;
        }
        match self.contents.last_mut() {
            Some(last) if last.role == role => {
                last.responses.append(&mut content.responses);
                last.parts.append(&mut content.parts);
            }
            _ => self.contents.push(content),
        }
    }

    fn write_part(
        &mut self,
        part: &Part,
        content: &mut ForeignContent,
        signatures: &mut Signatures,
        losses: &mut LossList,
    ) {
        match &part.kind {
            PartKind::Thinking(thinking) if thinking.origin == DIALECT => {
                part.rest.lose_elsewhere(DIALECT, losses);
                signatures.settle(&mut content.parts);
                if let Some(text) = thinking.text.clone().filter(|text| !text.is_empty()) {
                    content.parts.push(write_parts::thought(text, None));
                }
                signatures.begin(thinking.signature.clone(), content.parts.len());
            }
            PartKind::Thinking(_) => {
                losses.add(
                    part.rest.place("thought"),
                    "gemini takes no thoughts of another provider",
                );
            }
            PartKind::ToolResult(result) => {
                cache_mark::lose(part.cache.as_ref(), losses);
                part.rest.lose_elsewhere(DIALECT, losses);
                self.write_response(result, part, content, losses);
            }
            kind => {
                if let PartKind::ToolCall(call) = kind {
                    let number = self.calls.len();
                    self.calls
                        .insert(call.id.clone(), (number, call.name.clone()));
                }
                content
                    .parts
                    .extend(write_parts::write_foreign(part, losses));
            }
        }
    }

    // Others name the call by its id; Gemini demands the function's name.
    fn write_response(
        &self,
        result: &ToolResult,
        part: &Part,
        content: &mut ForeignContent,
        losses: &mut LossList,
    ) {
        let call = self.calls.get(&result.call_id);
        if call.is_none() && result.name.is_none() {
            losses.add(part.rest.path(), "the call that it answers is not there");
        }
        let (number, name) = match call {
            Some((number, name)) => (*number, name.as_str()),
            None => (usize::MAX, result.call_id.as_str()),
        };
        let name = result.name.as_deref().unwrap_or(name);
        let written = write_result::write_foreign(result, name, self.is_former, losses);
        for object in written {
            if object.contains_key(FUNCTION_RESPONSE.camel()) {
                content.responses.push((number, object));
            } else {
                content.parts.push(object);
            }
        }
    }

    fn finish(self) -> Vec<Value> {
        let is_former = self.is_former;
        let contents = self.contents.into_iter().map(|mut content| {
            content.responses.sort_by_key(|(number, _)| *number);
            if !is_former {
                excuse(&mut content.parts);
            }
            let responses = content.responses.into_iter().map(|(_, object)| object);
            let parts: Vec<Object> = responses.chain(content.parts).collect();
            json!({"role": content.role, "parts": parts})
        });
        contents.collect()
    }
}

/// A signature that is still to be put on a part.
#[derive(Default)]
struct Signatures {
    proof: Option<String>,
    since: usize,
}

impl Signatures {
    fn begin(&mut self, proof: Option<String>, since: usize) {
        self.proof = proof.filter(|proof| !proof.is_empty());
        self.since = since;
    }

    fn settle(&mut self, parts: &mut Vec<Object>) {
        let Some(proof) = self.proof.take() else {
            return;
        };
        let is_call = |part: &Object| part.contains_key(FUNCTION_CALL.camel());
        let is_text = |part: &Object| part.contains_key("text") && !part.contains_key("thought");
        let following = parts.get(self.since..).unwrap_or_default();
        let place = following
            .iter()
            .position(is_call)
            .or_else(|| following.iter().rposition(is_text));
        let index = match place {
            Some(place) => self.since + place,
            None => {
                let mut empty = Object::new();
                empty.insert("text".to_string(), json!(""));
                parts.push(empty);
                parts.len() - 1
            }
        };
        parts[index].insert(THOUGHT_SIGNATURE.camel().to_string(), json!(proof));
    }
}

// The first call of a turn carries the signature.
fn excuse(parts: &mut [Object]) {
    let is_call = |part: &&mut Object| part.contains_key(FUNCTION_CALL.camel());
    if let Some(call) = parts.iter_mut().find(is_call) {
        call.entry(THOUGHT_SIGNATURE.camel())
            .or_insert_with(|| json!(NO_SIGNATURE));
    }
}
