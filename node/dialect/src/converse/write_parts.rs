//! Writes content blocks.

use serde_json::{Value, json};

use super::attachments::AttachmentWriter;
use super::{DIALECT, cache_point, thoughts};
use crate::fields::put;
use crate::free_text;
use crate::grammar::{Object, Toward};
use crate::hub::part::{
    Attachment, AttachmentSource, CacheMark, Part, PartKind, ToolCall, ToolInput, ToolResult,
};
use crate::ids;
use crate::loss::LossList;
use crate::rest::Rest;

/// The most characters of a tool call's id.
const ID_MAX: usize = 64;

/// Writes the blocks of one request or answer.
pub(super) struct PartWriter {
    toward: Toward,
    is_claude: bool,
    attachments: AttachmentWriter,
}

impl PartWriter {
    /// Writes blocks to a client.
    pub(super) fn to_client() -> Self {
        Self {
            toward: Toward::Client,
            is_claude: false,
            attachments: AttachmentWriter::default(),
        }
    }

    /// Writes blocks to an upstream, for a model of Anthropic's or of another.
    pub(super) fn to_upstream(is_claude: bool) -> Self {
        Self {
            toward: Toward::Upstream,
            is_claude,
            attachments: AttachmentWriter::default(),
        }
    }

    /// Writes blocks, each with the cache point behind it.
    pub(super) fn write_list<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a Part>,
        losses: &mut LossList,
    ) -> Vec<Value> {
        let mut list: Vec<Value> = Vec::new();
        for part in parts {
            list.extend(self.write(part, losses));
            let Some(mark) = mark_of(part) else { continue };
            let is_home = part.rest.is_from(DIALECT);
            match list.last() {
                Some(last) if is_home || !cache_point::is_one(last) => {
                    list.push(cache_point::write(mark, losses));
                }
                _ => losses.add(mark.rest.path(), "there is nothing before it to cache"),
            }
        }
        list
    }

    /// Writes one block; nothing if there is nothing to say, or Converse cannot say it.
    pub(super) fn write(&mut self, part: &Part, losses: &mut LossList) -> Option<Value> {
        let rest = &part.rest;
        let is_home = rest.is_from(DIALECT);
        let mut block = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text)
                if !is_home && self.is_unsayable(text) =>
            {
                let lost = Some(text).filter(|text| !text.is_empty());
                losses.add_some(lost, rest.at("text"), "Converse takes no blank text");
                rest.lose(losses);
                return None;
            }
            PartKind::Text(text) | PartKind::Refusal(text) => write_text(text, rest),
            PartKind::Attachment(attachment) => {
                let texts = self.write_within(attachment, rest, losses);
                self.attachments.write(attachment, texts, rest, losses)?
            }
            PartKind::ToolCall(call) => {
                let inside = self.write_tool_call(call, rest, losses);
                block("toolUse", inside)
            }
            PartKind::ToolResult(result) => {
                let inside = self.write_tool_result(result, rest, losses);
                block("toolResult", inside)
            }
            PartKind::Thinking(thinking) => {
                let is_claude = self.is_claude;
                let inside = thoughts::write(thinking, rest, self.toward, is_claude, losses)?;
                block("reasoningContent", inside)
            }
            PartKind::Unknown(value) if is_home => return Some(value.clone()),
            PartKind::Unknown(_) => {
                losses.add(rest.path(), "Converse has no such part");
                return None;
            }
        };
        rest.write(DIALECT, &mut block, losses);
        Some(Value::Object(block))
    }

    // Bedrock refuses blank texts, and a client takes whatever was said.
    fn is_unsayable(&self, text: &str) -> bool {
        match self.toward {
            Toward::Upstream => is_blank(text),
            Toward::Client => text.is_empty(),
        }
    }

    fn write_within(
        &mut self,
        attachment: &Attachment,
        rest: &Rest,
        losses: &mut LossList,
    ) -> Vec<Value> {
        let AttachmentSource::Parts(parts) = &attachment.source else {
            return Vec::new();
        };
        if rest.is_from(DIALECT) {
            return self.write_list(parts, losses);
        }
        let mut texts = Vec::new();
        for part in parts {
            match part.text() {
                Some(_) => texts.extend(self.write(part, losses)),
                None => losses.add(part.rest.path(), "documents of Converse are words alone"),
            }
        }
        texts
    }

    fn write_tool_call(&self, call: &ToolCall, rest: &Rest, losses: &mut LossList) -> Object {
        let input = match &call.input {
            ToolInput::Json(value) if rest.is_from(DIALECT) => value.clone(),
            _ => free_text::json_input(call, rest, losses),
        };
        let mut inside = Object::new();
        let id = self.fitting(&call.id, rest, "toolUse");
        inside.insert("toolUseId".to_string(), json!(id));
        inside.insert("name".to_string(), json!(call.name));
        inside.insert("input".to_string(), input);
        inside
    }

    fn write_tool_result(
        &mut self,
        result: &ToolResult,
        rest: &Rest,
        losses: &mut LossList,
    ) -> Object {
        let is_home = rest.is_from(DIALECT);
        let content = if is_home {
            self.write_list(&result.parts, losses)
        } else {
            let parts = result.parts.iter();
            parts.filter_map(|part| self.write(part, losses)).collect()
        };
        let mut inside = Object::new();
        let id = self.fitting(&result.call_id, rest, "toolResult");
        inside.insert("toolUseId".to_string(), json!(id));
        if !content.is_empty() || !is_home {
            inside.insert("content".to_string(), Value::Array(content));
        }
        let status = match result.is_error {
            Some(true) => Some("error"),
            Some(false) if is_home => Some("success"),
            _ => None,
        };
        put(&mut inside, "status", status);
        inside
    }

    // The id as Converse takes it. A client takes one of any length.
    fn fitting(&self, id: &str, rest: &Rest, within: &str) -> String {
        let within = rest.nested(within).unwrap_or(rest);
        if rest.is_from(DIALECT) && within.form(DIALECT, "toolUseId").is_none() {
            return id.to_string();
        }
        let id = ids::plain(id);
        match self.toward {
            Toward::Upstream => ids::shortened(&id, ID_MAX).into_owned(),
            Toward::Client => id.into_owned(),
        }
    }
}

// A tool's answer has no cache points inside: that of its last part stands behind it.
fn mark_of(part: &Part) -> Option<&CacheMark> {
    match &part.kind {
        PartKind::ToolResult(result) if !part.rest.is_from(DIALECT) => {
            let inside = result.parts.iter().rev();
            let inside = inside.filter_map(|part| part.cache.as_ref());
            part.cache.as_ref().into_iter().chain(inside).next()
        }
        _ => part.cache.as_ref(),
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn block(name: &str, inside: Object) -> Object {
    let mut block = Object::new();
    block.insert(name.to_string(), Value::Object(inside));
    block
}

// The text of JSON and of citations is among what its block keeps.
fn write_text(text: &str, rest: &Rest) -> Object {
    let mut said = Object::new();
    said.insert("text".to_string(), json!(text));
    match rest.form(DIALECT, "text") {
        None => said,
        Some("guard") => block("guardContent", block("text", said)),
        Some(_) => Object::new(),
    }
}
