//! Writes what happens to a block as the event that says so.

use serde_json::{Value, json};

use crate::blocks::{BlockDelta, BlockEvent, BlockStart};
use crate::grammar::{Object, ServerEvent};

pub(super) fn write(event: BlockEvent) -> ServerEvent {
    let object = match event {
        BlockEvent::Start { number, start } => {
            let mut object = numbered("content_block_start", number);
            object.insert("content_block".to_string(), write_start(start));
            object
        }
        BlockEvent::Delta { number, delta } => {
            let mut object = numbered("content_block_delta", number);
            object.insert("delta".to_string(), write_delta(delta));
            object
        }
        BlockEvent::Stop { number } => numbered("content_block_stop", number),
    };
    ServerEvent::typed(object)
}

fn write_start(start: BlockStart) -> Value {
    match start {
        BlockStart::Text => json!({"type": "text", "text": ""}),
        BlockStart::Thought => json!({"type": "thinking", "thinking": "", "signature": ""}),
        BlockStart::Call { id, name } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": {}})
        }
        BlockStart::Whole(block) => block,
    }
}

fn write_delta(delta: BlockDelta) -> Value {
    match delta {
        BlockDelta::Text(text) => json!({"type": "text_delta", "text": text}),
        BlockDelta::Thought(text) => json!({"type": "thinking_delta", "thinking": text}),
        BlockDelta::Signature(text) => json!({"type": "signature_delta", "signature": text}),
        BlockDelta::Input(text) => json!({"type": "input_json_delta", "partial_json": text}),
    }
}

fn numbered(kind: &str, number: usize) -> Object {
    let mut event = Object::new();
    event.insert("type".to_string(), json!(kind));
    event.insert("index".to_string(), json!(number));
    event
}
