//! Tools that take free text, for dialects whose tools take JSON alone.
//!
//! Such a tool becomes a function with one text; its calls come back as calls of free text, and the client never sees
//! the function. In a stream the text is held until all of it has come, since it is within JSON until then.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::grammar::{ServerEvent, StreamWriter};
use crate::hub::answer::HubAnswer;
use crate::hub::part::{PartKind, ToolCall, ToolInput, ToolStyle};
use crate::hub::request::{ToolDefinition, ToolKind};
use crate::hub::stream::{PartDelta, StreamEvent, StreamFrame};
use crate::loss::LossList;
use crate::rest::Rest;

/// The function's one argument.
const ARGUMENT: &str = "input";

/// The names of the tools that take free text.
pub(crate) fn names(tools: &[ToolDefinition]) -> BTreeSet<String> {
    let names = tools.iter().filter_map(|tool| match &tool.kind {
        ToolKind::Custom { name, .. } => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

/// The schema of the function.
pub(crate) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {ARGUMENT: {"type": "string"}},
        "required": [ARGUMENT],
        "additionalProperties": false,
    })
}

/// The description of the function, with the grammar that the text must follow.
pub(crate) fn description(description: Option<&str>, format: Option<&Value>) -> Option<String> {
    let Some((syntax, definition)) = format.and_then(grammar) else {
        return description.map(ToString::to_string);
    };
    let before = description.map(|text| format!("{text}\n\n"));
    let before = before.unwrap_or_default();
    Some(format!(
        "{before}`{ARGUMENT}` must follow this {syntax} grammar:\n\n{definition}"
    ))
}

/// Names a grammar as lost: the model reads it, and nothing makes it keep to it.
pub(crate) fn lose_grammar(format: Option<&Value>, path: String, losses: &mut LossList) {
    if format.and_then(grammar).is_some() {
        losses.add(path, "the grammar becomes words that the model may ignore");
    }
}

// Chat completions puts the grammar into an object of its own, responses does not.
fn grammar(format: &Value) -> Option<(&str, &str)> {
    let inside = &format["grammar"];
    let grammar = if inside.is_object() { inside } else { format };
    let definition = grammar["definition"].as_str()?;
    Some((grammar["syntax"].as_str().unwrap_or_default(), definition))
}

/// The function's arguments.
pub(crate) fn wrapped(text: &str) -> Value {
    json!({ARGUMENT: text})
}

/// A call of free text as one of the function.
pub(crate) fn as_function(call: &ToolCall) -> Cow<'_, ToolCall> {
    if call.style == ToolStyle::Function {
        return Cow::Borrowed(call);
    }
    let mut call = call.clone();
    call.style = ToolStyle::Function;
    call.input = ToolInput::Json(wrapped(&call.input.to_text()));
    Cow::Owned(call)
}

/// The input of a call in another dialect, as one whose tools take JSON objects alone has it.
pub(crate) fn json_input(call: &ToolCall, rest: &Rest, losses: &mut LossList) -> Value {
    match call.style {
        ToolStyle::Custom => wrapped(&call.input.to_text()),
        ToolStyle::Function => call.input.to_object().unwrap_or_else(|| {
            losses.add(rest.at("input"), "the tool's input is no JSON object");
            json!({})
        }),
    }
}

// What a model writes instead of the function's arguments is taken as the text itself.
fn unwrapped(input: &ToolInput) -> String {
    let text = input.to_object().and_then(|input| match &input[ARGUMENT] {
        Value::String(text) => Some(text.clone()),
        _ => None,
    });
    text.unwrap_or_else(|| input.to_text())
}

fn is_free_text(call: &ToolCall, tools: &BTreeSet<String>) -> bool {
    call.style == ToolStyle::Function && tools.contains(&call.name)
}

/// Makes the functions' calls those of free text again.
pub(crate) fn restore(answer: &mut HubAnswer, tools: &BTreeSet<String>) {
    let turns = answer.choices.iter_mut().map(|choice| &mut choice.turn);
    for part in turns.flat_map(|turn| &mut turn.parts) {
        if let PartKind::ToolCall(call) = &mut part.kind
            && is_free_text(call, tools)
        {
            call.input = ToolInput::Text(unwrapped(&call.input));
            call.style = ToolStyle::Custom;
        }
    }
}

/// A writer that is given the functions' calls as those of free text.
pub(crate) fn restoring(
    writer: Box<dyn StreamWriter>,
    tools: &BTreeSet<String>,
) -> Box<dyn StreamWriter> {
    if tools.is_empty() {
        return writer;
    }
    Box::new(Restoring {
        writer,
        tools: tools.clone(),
        unnamed: BTreeMap::new(),
        calls: BTreeMap::new(),
    })
}

struct Restoring {
    writer: Box<dyn StreamWriter>,
    tools: BTreeSet<String>,
    /// The calls whose tool is not known yet, each with what has come of it.
    unnamed: BTreeMap<PartKey, Vec<StreamEvent>>,
    /// What has come of the arguments.
    calls: BTreeMap<PartKey, (String, Rest)>,
}

/// The number of a choice, and that of a part in it.
type PartKey = (u64, usize);

impl StreamWriter for Restoring {
    fn write(&mut self, mut frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let mut events = Vec::with_capacity(frame.events.len());
        for event in frame.events {
            self.read(event, &mut events);
        }
        frame.events = events;
        self.writer.write(frame, out, losses);
    }
}

impl Restoring {
    // A call is passed on when its tool is known, or nothing more can come of it.
    fn read(&mut self, event: StreamEvent, events: &mut Vec<StreamEvent>) {
        if let Some((key, call)) = begun_call(&event)
            && call.name.is_empty()
        {
            self.unnamed.insert(key, vec![event]);
            return;
        }
        match &event {
            StreamEvent::PartDelta {
                choice,
                index,
                delta,
                ..
            } => {
                let key = (*choice, *index);
                if let Some(held) = self.unnamed.get_mut(&key) {
                    match delta {
                        PartDelta::ToolName(name) if !name.is_empty() => {
                            name_call(held, name);
                            self.release_unnamed(key, events);
                        }
                        _ => held.push(event),
                    }
                    return;
                }
            }
            StreamEvent::PartStop { choice, index } => {
                self.release_unnamed((*choice, *index), events);
            }
            StreamEvent::Stop { choice, .. } => self.release_all(Some(*choice), events),
            StreamEvent::End => self.release_all(None, events),
            _ => {}
        }
        self.pass(event, events);
    }

    fn pass(&mut self, mut event: StreamEvent, events: &mut Vec<StreamEvent>) {
        match &mut event {
            StreamEvent::PartStart {
                choice,
                index,
                part,
            } => {
                if let PartKind::ToolCall(call) = &mut part.kind
                    && is_free_text(call, &self.tools)
                {
                    let begun = call.input.begun_text();
                    let rest = Rest::new(part.rest.from(), part.rest.path());
                    self.calls.insert((*choice, *index), (begun, rest));
                    call.style = ToolStyle::Custom;
                    call.input = ToolInput::Text(String::new());
                }
            }
            StreamEvent::PartDelta {
                choice,
                index,
                delta: PartDelta::ToolInput(more),
                ..
            } => {
                if let Some((input, _)) = self.calls.get_mut(&(*choice, *index)) {
                    input.push_str(more);
                    return;
                }
            }
            StreamEvent::PartStop { choice, index } => self.release((*choice, *index), events),
            _ => {}
        }
        events.push(event);
    }

    // What is held of one choice, or of all of them.
    fn release_all(&mut self, choice: Option<u64>, events: &mut Vec<StreamEvent>) {
        let is_ending = |key: &&PartKey| choice.is_none_or(|choice| key.0 == choice);
        let unnamed: Vec<PartKey> = self.unnamed.keys().filter(is_ending).copied().collect();
        for key in unnamed {
            self.release_unnamed(key, events);
        }
        let held: Vec<PartKey> = self.calls.keys().filter(is_ending).copied().collect();
        for key in held {
            self.release(key, events);
        }
    }

    fn release_unnamed(&mut self, key: PartKey, events: &mut Vec<StreamEvent>) {
        for event in self.unnamed.remove(&key).into_iter().flatten() {
            self.pass(event, events);
        }
    }

    fn release(&mut self, key: PartKey, events: &mut Vec<StreamEvent>) {
        let Some((input, rest)) = self.calls.remove(&key) else {
            return;
        };
        let (choice, index) = key;
        let delta = PartDelta::ToolInput(unwrapped(&ToolInput::Text(input)));
        events.push(StreamEvent::PartDelta {
            choice,
            index,
            delta,
            rest,
        });
    }
}

fn begun_call(event: &StreamEvent) -> Option<(PartKey, &ToolCall)> {
    match event {
        StreamEvent::PartStart {
            choice,
            index,
            part,
        } => match &part.kind {
            PartKind::ToolCall(call) => Some(((*choice, *index), call)),
            _ => None,
        },
        _ => None,
    }
}

fn name_call(held: &mut [StreamEvent], name: &str) {
    if let Some(StreamEvent::PartStart { part, .. }) = held.first_mut()
        && let PartKind::ToolCall(call) = &mut part.kind
    {
        call.name = name.to_string();
    }
}
