//! Writes the thoughts of a stream, of which a message of chat completions has one.

use super::turns::THOUGHTS_BETWEEN;
use super::write_stream::{PartState, Writer};
use crate::grammar::ServerEvent;
use crate::hub::part::Thinking;
use crate::loss::LossList;
use crate::rest::Rest;

impl Writer {
    pub(super) fn start_thought(
        &mut self,
        choice: u64,
        index: usize,
        thinking: Thinking,
        rest: &Rest,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        if thinking.encrypted.is_some() {
            losses.add(rest.path(), "chat completions has no encrypted thoughts");
            self.parts.insert((choice, index), PartState::Left);
            return;
        }
        let signature = thinking.signature.unwrap_or_default();
        let state = PartState::Thought {
            path: rest.path().to_string(),
            is_said: !signature.is_empty(),
            signature: Some((signature, thinking.origin)),
        };
        self.parts.insert((choice, index), state);
        let text = thinking.text.unwrap_or_default();
        self.extend_thought(choice, index, &text, out, losses);
    }

    // A thought that says nothing is none, so what separates two of them waits for the words of the second.
    pub(super) fn extend_thought(
        &mut self,
        choice: u64,
        index: usize,
        text: &str,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        let of_choice = self.parts.range((choice, 0)..(choice, index));
        let mut earlier = of_choice.map(|(_, state)| state);
        let is_second =
            earlier.any(|state| matches!(state, PartState::Thought { is_said: true, .. }));
        let Some(PartState::Thought {
            path,
            signature,
            is_said,
        }) = self.parts.get_mut(&(choice, index))
        else {
            return;
        };
        if text.is_empty() {
            return;
        }
        let begins = !std::mem::replace(is_said, true) || signature.is_some();
        if is_second && begins {
            *signature = None;
            losses.add(
                path.as_str(),
                "chat completions has one thought in a message",
            );
            let text = format!("{THOUGHTS_BETWEEN}{text}");
            self.say(choice, "reasoning_content", text, out);
            return;
        }
        self.say(choice, "reasoning_content", text.to_string(), out);
    }
}
