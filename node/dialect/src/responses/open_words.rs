//! The words of a response, in messages that come in pieces.

use serde_json::{Value, json};

use super::answer;
use super::open_item::{Output, PartState};
use super::write_items::COMPLETED;
use crate::grammar::ServerEvent;

impl Output {
    // Words go into the last item if it is a message, and into a new one otherwise.
    pub(super) fn extend_words(&mut self, index: usize, more: &str, out: &mut Vec<ServerEvent>) {
        if more.is_empty() {
            return;
        }
        let Some(PartState::Words {
            is_refusal, place, ..
        }) = self.parts.get(&index)
        else {
            return;
        };
        let (is_refusal, place) = (*is_refusal, *place);
        let (number, content) = match place {
            Some(place) => place,
            None => self.begin_words(is_refusal, out),
        };
        let mut event = json!({"content_index": content, "delta": more});
        let kind = if is_refusal {
            "response.refusal.delta"
        } else {
            event["logprobs"] = json!([]);
            "response.output_text.delta"
        };
        self.say_of(number, kind, event, out);
        if let Some(PartState::Words { text, place, .. }) = self.parts.get_mut(&index) {
            text.push_str(more);
            *place = Some((number, content));
        }
    }

    fn begin_words(&mut self, is_refusal: bool, out: &mut Vec<ServerEvent>) -> (usize, usize) {
        let last = self.items.len().checked_sub(1);
        let open = last.filter(|last| {
            let item = &self.items[*last];
            item.is_message && item.whole.is_none()
        });
        let number = open.unwrap_or_else(|| {
            let number = self.begin("msg", true, out);
            let item = answer::message(&self.items[number].id, "in_progress", Vec::new());
            self.say_item(number, "response.output_item.added", &item, out);
            number
        });
        let content = self.items[number].content.len();
        self.items[number].content.push(Value::Null);
        let part = words(is_refusal, "", Vec::new());
        let event = json!({"content_index": content, "part": part});
        self.say_of(number, "response.content_part.added", event, out);
        (number, content)
    }

    pub(super) fn stop_words(&mut self, index: usize, out: &mut Vec<ServerEvent>) {
        let Some(PartState::Words {
            is_refusal,
            text,
            place: Some((number, content)),
            ..
        }) = self.parts.get(&index)
        else {
            return;
        };
        let (is_refusal, text, number, content) = (*is_refusal, text.clone(), *number, *content);
        let (kind, event, part) = if is_refusal {
            let event = json!({"content_index": content, "refusal": text});
            (
                "response.refusal.done",
                event,
                words(true, &text, Vec::new()),
            )
        } else {
            let tokens = std::mem::take(&mut self.logprobs);
            let event = json!({"content_index": content, "text": text, "logprobs": tokens});
            (
                "response.output_text.done",
                event,
                words(false, &text, tokens),
            )
        };
        self.say_of(number, kind, event, out);
        let event = json!({"content_index": content, "part": part});
        self.say_of(number, "response.content_part.done", event, out);
        self.items[number].content[content] = part;
    }

    pub(super) fn end_message_of_whole_parts(&mut self, number: usize, out: &mut Vec<ServerEvent>) {
        let item = &self.items[number];
        if !item.content.iter().any(Value::is_null) {
            self.end_message(number, out);
        }
    }

    pub(super) fn end_message(&mut self, number: usize, out: &mut Vec<ServerEvent>) {
        let item = &self.items[number];
        if item.is_message && item.whole.is_none() {
            let whole = answer::message(&item.id, COMPLETED, item.content.clone());
            self.end_item(number, whole, out);
        }
    }
}

fn words(is_refusal: bool, text: &str, logprobs: Vec<Value>) -> Value {
    if is_refusal {
        return json!({"type": "refusal", "refusal": text});
    }
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}
