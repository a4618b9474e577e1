//! Writes the thoughts of a stream, of which a message of chat completions has one.

use super::DIALECT;
use super::thoughts::{THOUGHT_SIGNATURE, THOUGHTS_BETWEEN};
use super::write_stream::{PartState, Writer};
use crate::grammar::ServerEvent;
use crate::hub::part::Thinking;
use crate::loss::LossList;
use crate::rest::Rest;
use crate::signature;

const ONE_THOUGHT: &str = "chat completions has one thought in a message";

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
        let state = PartState::Thought {
            path: rest.path().to_string(),
            signature: thinking.signature.unwrap_or_default(),
            origin: thinking.origin,
            has_words: false,
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
        let is_second = self.has_earlier_thought(choice, index);
        let Some(PartState::Thought {
            path, has_words, ..
        }) = self.parts.get_mut(&(choice, index))
        else {
            return;
        };
        if text.is_empty() {
            return;
        }
        let begins = !std::mem::replace(has_words, true);
        let mut said = String::new();
        if is_second && begins {
            losses.add(path.as_str(), ONE_THOUGHT);
            said.push_str(THOUGHTS_BETWEEN);
        }
        said.push_str(text);
        self.say(choice, "reasoning_content", said, out);
    }

    fn has_earlier_thought(&self, choice: u64, index: usize) -> bool {
        let mut earlier = self.parts.range((choice, 0)..(choice, index));
        let is_said = |state: &PartState| match state {
            PartState::Thought {
                signature,
                has_words,
                ..
            } => *has_words || !signature.is_empty(),
            _ => false,
        };
        self.signed.contains(&choice) || earlier.any(|(_, state)| is_said(state))
    }

    // The first signature that a thought has is that of all of them.
    pub(super) fn stop_thought(
        &mut self,
        choice: u64,
        index: usize,
        out: &mut Vec<ServerEvent>,
        losses: &mut LossList,
    ) {
        let Some(PartState::Thought {
            path,
            signature,
            origin,
            ..
        }) = self.parts.get_mut(&(choice, index))
        else {
            return;
        };
        let signature = std::mem::take(signature);
        if signature.is_empty() {
            return;
        }
        if !self.signed.insert(choice) {
            losses.add(path.as_str(), ONE_THOUGHT);
            return;
        }
        let sealed = signature::sealed(&signature, *origin, DIALECT);
        self.say(choice, THOUGHT_SIGNATURE, sealed, out);
    }
}
