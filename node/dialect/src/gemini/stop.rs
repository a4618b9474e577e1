//! Why an answer ends: `finishReason`, or `blockReason` where the prompt itself is refused.

use super::DIALECT;
use crate::hub::answer::{Stop, StopReason};
use crate::loss::LossList;

/// The reason that `finishReason` names. It does not tell an answer that calls functions from another.
pub(super) fn read(word: String, has_calls: bool) -> Stop {
    let reason = match word.as_str() {
        "STOP" if has_calls => StopReason::ToolCalls,
        "STOP" => StopReason::End,
        "MAX_TOKENS" => StopReason::MaxTokens,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => StopReason::ContentFilter,
        _ => StopReason::Other,
    };
    Stop::new(reason, word, DIALECT)
}

/// The reason of an answer that the prompt's block leaves out.
pub(super) fn blocked(word: String) -> Stop {
    Stop::new(StopReason::Refusal, word, DIALECT)
}

/// `finishReason` for a reason.
pub(super) fn write(stop: &Stop) -> &str {
    if stop.from == DIALECT {
        return &stop.word;
    }
    match stop.reason {
        StopReason::End | StopReason::StopSequence | StopReason::ToolCalls | StopReason::Pause => {
            "STOP"
        }
        StopReason::MaxTokens | StopReason::ContextFull => "MAX_TOKENS",
        StopReason::Refusal | StopReason::ContentFilter => "SAFETY",
        StopReason::Other => "OTHER",
    }
}

/// Names what `finishReason` does not say of a reason.
pub(super) fn lose(stop: &Stop, path: String, losses: &mut LossList) {
    if stop.from == DIALECT {
        return;
    }
    match stop.reason {
        StopReason::Pause => losses.add(path, "gemini cannot pause a turn"),
        StopReason::Other => losses.add(path, "gemini has no such reason to stop"),
        _ if stop.sequence.is_some() => {
            losses.add(path, "gemini does not say which stop sequence it was");
        }
        _ => {}
    }
}
