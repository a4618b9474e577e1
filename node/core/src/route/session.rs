//! What a conversation is recognised by.
//!
//! Clients say it in many ways, and the most certain counts: what was made to name a conversation before what names a
//! cache or a person, and these before what the conversation begins with. All nodes compute the same number from the
//! same request.

use crate::random;

/// A conversation, and what it was recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Equal for requests of the same conversation.
    pub number: u64,
    /// What it was computed from.
    pub source: SessionSource,
}

impl Session {
    /// The conversation that `source` calls `name`.
    pub fn named(source: SessionSource, name: &[u8]) -> Self {
        Self {
            number: session(name),
            source,
        }
    }

    /// The more certain of two.
    pub fn first_of(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let sessions = one.into_iter().chain(other);
        sessions.min_by_key(|session| session.source)
    }
}

/// Where clients say which conversation a request belongs to, the most certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionSource {
    /// The header `x-grapevine-session-id`.
    Own,
    /// The header `x-claude-code-session-id`.
    ClaudeCode,
    /// The session within `metadata.user_id`.
    Metadata,
    /// The header `session-id` or `session_id`.
    SessionId,
    /// The header `x-session-id`.
    XSessionId,
    /// The header `x-session-affinity`.
    XSessionAffinity,
    /// `previous_response_id`.
    PreviousResponse,
    /// `conversation`.
    Conversation,
    /// `prompt_cache_key`.
    PromptCacheKey,
    /// `user`.
    User,
    /// A hash of the system prompt and the first user message.
    Opening,
}

impl SessionSource {
    /// Its name in `x-grapevine-session`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "x-grapevine-session-id",
            Self::ClaudeCode => "x-claude-code-session-id",
            Self::Metadata => "metadata.user_id",
            Self::SessionId => "session-id",
            Self::XSessionId => "x-session-id",
            Self::XSessionAffinity => "x-session-affinity",
            Self::PreviousResponse => "previous_response_id",
            Self::Conversation => "conversation",
            Self::PromptCacheKey => "prompt_cache_key",
            Self::User => "user",
            Self::Opening => "opening",
        }
    }
}

/// The number of the conversation called `name`, for [`RouteQuery::session`](super::RouteQuery::session): the same on
/// every node and in every build.
pub fn session(name: &[u8]) -> u64 {
    random::hash(name)
}

/// The bytes of text of each part of an opening that count. Prompts that are equal this far share most of what a cache
/// holds of them, and a longer hash would cost each request more.
const OPENING_PART_MAX: usize = 1_024;

/// An opening with less text is that of many conversations ("hi"): it says nothing until more follows.
const OPENING_MIN: usize = 32;

/// What a conversation begins with, text by text.
///
/// Only texts count, not how they are wrapped: clients move markers for caches from message to message.
#[derive(Clone, Copy, Debug)]
pub struct OpeningHash {
    hash: u64,
    length: usize,
    /// What the current part may still add.
    left: usize,
}

impl Default for OpeningHash {
    fn default() -> Self {
        Self {
            hash: 0,
            length: 0,
            left: OPENING_PART_MAX,
        }
    }
}

impl OpeningHash {
    /// The system prompt is over, or a message: the next part begins.
    pub fn next_part(&mut self) {
        self.left = OPENING_PART_MAX;
        self.hash = random::mix(self.hash.wrapping_add(1));
    }

    /// Adds a text of the current part.
    pub fn add(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(self.left)];
        self.left -= text.len();
        self.length += text.len();
        self.hash = random::hash_long(self.hash, text);
    }

    /// Whether the current part takes more.
    pub const fn takes_more(&self) -> bool {
        self.left > 0
    }

    /// Whether it says enough.
    pub const fn is_enough(&self) -> bool {
        self.length >= OPENING_MIN
    }

    /// The conversation; `None` while the opening says too little.
    pub fn session(self) -> Option<Session> {
        self.is_enough().then_some(Session {
            number: self.hash,
            source: SessionSource::Opening,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[&str]]) -> OpeningHash {
        let mut hash = OpeningHash::default();
        for part in parts {
            part.iter().for_each(|text| hash.add(text.as_bytes()));
            hash.next_part();
        }
        hash
    }

    const SYSTEM: &str = "You are a helpful assistant that answers in French.";

    #[test]
    fn most_certain_source_counts() {
        let user = Session::named(SessionSource::User, b"u");
        let header = Session::named(SessionSource::XSessionId, b"x");
        for (one, other) in [(user, header), (header, user)] {
            assert_eq!(Session::first_of(Some(one), Some(other)), Some(header));
        }
        assert_eq!(Session::first_of(None, Some(user)), Some(user));
    }

    #[test]
    fn openings_that_differ_are_other_conversations() {
        let one = of(&[&[SYSTEM], &["hello"]]).session();
        assert!(one.is_some());
        assert_eq!(one, of(&[&[SYSTEM], &["hello"]]).session());
        assert_ne!(one, of(&[&[SYSTEM], &["hello!"]]).session());
        assert_ne!(one, of(&[&[SYSTEM, "hello"]]).session());
    }

    #[test]
    fn short_opening_says_nothing_yet() {
        assert_eq!(of(&[&["hi"]]).session(), None);
        let answered = of(&[&["hi"], &["Hello! How can I help you today?"]]);
        assert!(answered.session().is_some());
    }

    #[test]
    fn each_part_counts_up_to_its_limit() {
        let long = "x".repeat(OPENING_PART_MAX);
        let longer = format!("{long}y");
        assert_eq!(of(&[&[&long]]).session(), of(&[&[&longer]]).session());
        assert_ne!(
            of(&[&[&longer], &["a"]]).session(),
            of(&[&[&longer], &["b"]]).session()
        );
    }

    #[test]
    fn numbers_of_sessions_are_pinned() {
        // Nodes of different builds must agree.
        assert_eq!(session(b"\"app\""), 0x3e2e_53b5_7bbd_ebea);
        let number = of(&[&[SYSTEM], &["hello"]]).session().map(|it| it.number);
        assert_eq!(number, Some(0xba3a_ff3c_0ce7_31a3));
    }
}
