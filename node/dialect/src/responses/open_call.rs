//! The calls of a response, in items that come in pieces.

use serde_json::json;

use super::answer::{self, made_call_id};
use super::open_item::{Output, PartState};
use super::write_items::COMPLETED;
use crate::grammar::ServerEvent;
use crate::hub::part::{ToolInput, ToolStyle};

impl Output {
    // A call begins when its id and its name are known, and something of its input is or another part follows.
    pub(super) fn begin_call(
        &mut self,
        index: usize,
        is_last_chance: bool,
        out: &mut Vec<ServerEvent>,
    ) {
        let Some(PartState::Call {
            call, place: None, ..
        }) = self.parts.get_mut(&index)
        else {
            return;
        };
        if !is_last_chance && (call.id.is_empty() || call.name.is_empty()) {
            return;
        }
        if call.id.is_empty() {
            call.id = made_call_id(&self.answer_id, index);
        }
        let mut begun = call.clone();
        begun.input = ToolInput::Text(String::new());
        let number = self.begin(answer::call_prefix(begun.style), false, out);
        let mut item = answer::call(&self.items[number].id, "in_progress", &begun, &begun.id);
        item.insert(input_field(begun.style).to_string(), json!(""));
        self.say_item(number, "response.output_item.added", &item, out);
        if let Some(PartState::Call { place, .. }) = self.parts.get_mut(&index) {
            *place = Some(number);
        }
    }

    pub(super) fn write_input(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        match self.parts.get(&index) {
            Some(PartState::Call { input, .. }) if !input.is_empty() => {}
            _ => return,
        }
        self.begin_call(index, false, out);
        let Some(PartState::Call {
            call,
            input,
            said,
            place: Some(number),
            ..
        }) = self.parts.get_mut(&index)
        else {
            return;
        };
        let more = input.get(*said..).unwrap_or_default().to_string();
        *said = input.len();
        let (style, number) = (call.style, *number);
        if !more.is_empty() {
            let kind = format!("{}.delta", input_event(style));
            self.say_of(number, &kind, json!({"delta": more}), out);
        }
    }

    pub(super) fn stop_call(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        self.begin_call(index, true, out);
        if let Some(PartState::Call { call, input, .. }) = self.parts.get_mut(&index)
            && input.is_empty()
            && call.style == ToolStyle::Function
        {
            // An input of nothing at all is no JSON, which clients expect.
            input.push_str("{}");
        }
        self.write_input(index, out);
        let Some(PartState::Call {
            call,
            input,
            place: Some(number),
            ..
        }) = self.parts.get(&index)
        else {
            return;
        };
        let (mut call, number) = (call.clone(), *number);
        call.input = ToolInput::Text(input.clone());
        let kind = format!("{}.done", input_event(call.style));
        let event = json!({input_field(call.style): call.input.to_text()});
        self.say_of(number, &kind, event, out);
        let item = answer::call(&self.items[number].id, COMPLETED, &call, &call.id);
        self.end_item(number, item, out);
    }
}

const fn input_event(style: ToolStyle) -> &'static str {
    match style {
        ToolStyle::Function => "response.function_call_arguments",
        ToolStyle::Custom => "response.custom_tool_call_input",
    }
}

const fn input_field(style: ToolStyle) -> &'static str {
    match style {
        ToolStyle::Function => "arguments",
        ToolStyle::Custom => "input",
    }
}
