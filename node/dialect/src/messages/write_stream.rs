//! Writes a stream of message events. Messages says why it ends together with the usage.

use serde_json::{Value, json};

use super::{DIALECT, answer, block_event, error, home_event, usage, write_parts};
use crate::block_stream::{BlockDialect, BlockEnding, StreamLacks};
use crate::blocks::BlockEvent;
use crate::dialect::Dialect;
use crate::fields::{inside, put};
use crate::grammar::{Object, ServerEvent, Toward};
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::part::Part;
use crate::hub::stream::StreamFrame;
use crate::loss::LossList;

/// The events of messages.
pub(super) struct MessageEvents;

impl BlockDialect for MessageEvents {
    const DIALECT: Dialect = DIALECT;
    const LACKS: StreamLacks = StreamLacks {
        piece: "messages has no such piece of a part",
        choice: "messages gives one answer",
        logprobs: "messages has no log probabilities",
        event: "messages has no such event",
    };

    fn write_home(frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        out.push(home_event::write(frame, losses));
    }

    fn start(&mut self, answer: &HubAnswer, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let message = answer::write_answer(answer, losses);
        let mut event = typed("message_start");
        event.insert("message".to_string(), Value::Object(message));
        out.push(ServerEvent::typed(event));
    }

    fn whole(&mut self, part: &Part, losses: &mut LossList) -> Option<Value> {
        write_parts::write(part, Toward::Client, losses)
    }

    fn write_block(event: BlockEvent, out: &mut Vec<ServerEvent>) {
        out.push(block_event::write(event));
    }

    fn write_error(error: &ReportedError) -> ServerEvent {
        ServerEvent::typed(error::write(error))
    }

    fn end(&mut self, ending: &BlockEnding, out: &mut Vec<ServerEvent>, losses: &mut LossList) {
        let mut event = typed("message_delta");
        if let Some(delta) = inside(&mut event, "delta") {
            let stop = ending.stop.as_ref();
            if let Some(stop) = stop {
                answer::lose_stop(stop, "finish_reason".to_string(), losses);
            }
            let word = stop.map(|stop| answer::write_stop(stop, ending.has_refusal));
            delta.insert("stop_reason".to_string(), json!(word));
            delta.insert("stop_sequence".to_string(), Value::Null);
            let sequence = stop.and_then(|stop| stop.sequence.clone());
            put(delta, "stop_sequence", sequence);
        }
        let spent = match &ending.usage {
            Some(usage) => usage::write(usage, losses),
            None => usage::nothing(),
        };
        event.insert("usage".to_string(), Value::Object(spent));
        out.push(ServerEvent::typed(event));
        out.push(ServerEvent::typed(typed("message_stop")));
    }
}

fn typed(kind: &str) -> Object {
    let mut event = Object::new();
    event.insert("type".to_string(), json!(kind));
    event
}
