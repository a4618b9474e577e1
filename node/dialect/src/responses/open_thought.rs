//! The thoughts of a response, in items that come in pieces.

use serde_json::{Value, json};

use super::open_item::{Output, PartState};
use super::reasoning_item;
use crate::grammar::ServerEvent;

impl Output {
    fn begin_thought(&mut self, index: usize, out: &mut Vec<ServerEvent>) -> Option<usize> {
        match self.parts.get(&index) {
            Some(PartState::Thought {
                place: Some(number),
                ..
            }) => return Some(*number),
            Some(PartState::Thought { .. }) => {}
            _ => return None,
        }
        let number = self.begin("rs", false, out);
        let id = &self.items[number].id;
        let item = json!({"id": id, "type": "reasoning", "summary": []});
        if let Value::Object(item) = item {
            self.say_item(number, "response.output_item.added", &item, out);
        }
        if let Some(PartState::Thought { place, .. }) = self.parts.get_mut(&index) {
            *place = Some(number);
        }
        Some(number)
    }

    fn show_thought(&mut self, index: usize, number: usize, out: &mut Vec<ServerEvent>) {
        if let Some(PartState::Thought { is_shown, .. }) = self.parts.get_mut(&index)
            && !std::mem::replace(is_shown, true)
        {
            let event = json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}});
            self.say_of(number, "response.reasoning_summary_part.added", event, out);
        }
    }

    pub(super) fn extend_thought(&mut self, index: usize, more: &str, out: &mut Vec<ServerEvent>) {
        if more.is_empty() {
            return;
        }
        if let Some(number) = self.begin_thought(index, out) {
            self.show_thought(index, number, out);
            let event = json!({"summary_index": 0, "delta": more});
            self.say_of(number, "response.reasoning_summary_text.delta", event, out);
        }
    }

    pub(super) fn stop_thought(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        let thinking = match self.parts.get(&index) {
            Some(PartState::Thought { thinking, .. }) if !thinking.is_silent() => thinking.clone(),
            _ => return,
        };
        let Some(number) = self.begin_thought(index, out) else {
            return;
        };
        if let Some(text) = &thinking.text {
            self.show_thought(index, number, out);
            let event = json!({"summary_index": 0, "text": text});
            self.say_of(number, "response.reasoning_summary_text.done", event, out);
            let part = reasoning_item::summary(Some(text)).pop();
            let event = json!({"summary_index": 0, "part": part});
            self.say_of(number, "response.reasoning_summary_part.done", event, out);
        }
        let item = reasoning_item::write_answer(&thinking, &self.items[number].id);
        self.end_item(number, item, out);
    }
}
