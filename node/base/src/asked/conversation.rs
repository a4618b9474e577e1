//! Which conversation a body belongs to: what names one, else what it begins with.
//!
//! These values route and nothing else, so a reader of them may be lenient: a body in which they are of another kind
//! belongs to no conversation, and passes.

use grapevine_core::route::{OpeningHash, Session, SessionSource};

use crate::scan::{self, HintRange};

/// Where it may stand in the body of any dialect.
pub(super) const KEYS: [&str; 12] = [
    "metadata",
    "previous_response_id",
    "conversation",
    "prompt_cache_key",
    "user",
    // The system prompt.
    "instructions",
    "system",
    "systemInstruction",
    "system_instruction",
    // The messages.
    "messages",
    "input",
    "contents",
];

/// The keys of texts, and of who says them.
const TEXTS: [&str; 3] = ["role", "text", "content"];

/// Messages that are looked at; an opening is over long before.
const MESSAGES_MAX: usize = 16;

/// The longest name of a conversation.
const NAME_BYTES_MAX: usize = 1_024;

/// Where the values are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConversationHints([HintRange; KEYS.len()]);

impl ConversationHints {
    pub(super) const fn new(found: [HintRange; KEYS.len()]) -> Self {
        Self(found)
    }

    pub(super) fn session(&self, known: Option<Session>, body: &[u8]) -> Option<Session> {
        let found = self.0.map(|range| range.within(body));
        let [
            metadata,
            response,
            conversation,
            cache_key,
            user,
            parts @ ..,
        ] = found;
        let named = metadata
            .and_then(of_metadata)
            .or_else(|| named(SessionSource::PreviousResponse, response))
            .or_else(|| named(SessionSource::Conversation, conversation.map(id_of)))
            .or_else(|| named(SessionSource::PromptCacheKey, cache_key))
            .or_else(|| named(SessionSource::User, user));
        // The least certain, and the only one that reads what may be long.
        Session::first_of(known, named).or_else(|| opening(parts))
    }
}

/// The conversation that a raw string names, quotes included.
fn named(source: SessionSource, raw: Option<&[u8]>) -> Option<Session> {
    let raw = raw?;
    let is_name = raw.starts_with(b"\"") && raw.len() > 2 && raw.len() <= NAME_BYTES_MAX;
    is_name.then(|| Session::named(source, raw))
}

/// A conversation is given by its id, or by an object that holds it.
fn id_of(raw: &[u8]) -> &[u8] {
    if !raw.starts_with(b"{") {
        return raw;
    }
    let id = scan::top_level(raw, ["id"]).ok().and_then(|[id]| id);
    id.map_or(&[], |id| &raw[id])
}

/// The session in Claude Code's `user_id`: `user_..._session_UUID`, or JSON as text with a `session_id`.
fn of_metadata(raw: &[u8]) -> Option<Session> {
    let (_, id) = scan::strings_of(raw, ["user_id"]).next()?;
    let at = memchr::memmem::rfind(id, b"session_")? + b"session_".len();
    let rest = &id[at..];
    // As JSON, the name of the key goes on, and the value is in escaped quotes.
    let rest = match rest.strip_prefix(b"id") {
        Some(after) if after.first().is_none_or(|byte| !is_of_name(*byte)) => after,
        _ => rest,
    };
    let start = rest.iter().position(|byte| is_of_name(*byte))?;
    let name = &rest[start..];
    let end = name.iter().position(|byte| !is_of_name(*byte));
    let name = &name[..end.unwrap_or(name.len())];
    let is_name = (8..=NAME_BYTES_MAX).contains(&name.len());
    is_name.then(|| Session::named(SessionSource::Metadata, name))
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The system prompt and the first user message, and what follows while these say too little.
fn opening(
    [instructions, system, google, google_snake, rest @ ..]: [Option<&[u8]>; 7],
) -> Option<Session> {
    let mut hash = OpeningHash::default();
    for part in [instructions, system, google, google_snake] {
        // Whoever says it: it is the system's.
        let _ = part.map(|raw| add(&mut hash, raw));
    }
    hash.next_part();
    let messages = rest.into_iter().flatten().next()?;
    if messages.starts_with(b"\"") {
        add(&mut hash, messages);
        return hash.session();
    }
    let mut has_user = false;
    for message in scan::elements(messages).take(MESSAGES_MAX) {
        let message = &messages[message];
        has_user |= add(&mut hash, message);
        hash.next_part();
        if has_user && hash.is_enough() {
            return hash.session();
        }
    }
    None
}

/// Adds the texts of a raw string, a message or a list of parts. Whether a user says them.
fn add(hash: &mut OpeningHash, raw: &[u8]) -> bool {
    if let Some(text) = raw.strip_prefix(b"\"") {
        hash.add(&text[..text.len().saturating_sub(1)]);
        return true;
    }
    let mut is_user = false;
    for (key, text) in scan::strings_of(raw, TEXTS) {
        match key {
            0 => is_user |= text == b"user",
            _ => hash.add(text),
        }
        if !hash.takes_more() && is_user {
            break;
        }
    }
    is_user
}

#[cfg(test)]
mod tests;
