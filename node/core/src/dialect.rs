//! The dialects of AI APIs, and which of them an upstream reads.

mod permitted;

use std::fmt;

pub use permitted::{LossPath, LossPathError, PermittedLoss};

use crate::native_path::{NativeOperation, NativePath, is_count_at_vertex};

/// An API's way of writing requests, answers and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, and what is written like it.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Google's `generateContent`.
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Responses,
        Self::Messages,
        Self::Gemini,
        Self::Converse,
    ];

    /// Its word in configurations, headers and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Gemini => "gemini",
            Self::Converse => "converse",
        }
    }

    /// The dialect of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The others in the order of how much of this one each can say.
    pub const fn nearest(self) -> [Self; 4] {
        match self {
            Self::Chat => [
                Self::Responses,
                Self::Messages,
                Self::Converse,
                Self::Gemini,
            ],
            Self::Responses => [Self::Chat, Self::Messages, Self::Converse, Self::Gemini],
            Self::Messages => [Self::Converse, Self::Chat, Self::Responses, Self::Gemini],
            Self::Gemini => [Self::Chat, Self::Messages, Self::Converse, Self::Responses],
            Self::Converse => [Self::Messages, Self::Chat, Self::Responses, Self::Gemini],
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A set of dialects, a bit each, in the order of [`Dialect::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialectSet(u8);

/// All of them: nothing is known.
impl Default for DialectSet {
    fn default() -> Self {
        Self::ALL
    }
}

impl DialectSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them: what is assumed of an upstream of which nothing is known.
    pub const ALL: Self = Self(0b1_1111);
    /// OpenAI's chat completions.
    pub const CHAT: Self = Self::of(Dialect::Chat);
    /// OpenAI's responses.
    pub const RESPONSES: Self = Self::of(Dialect::Responses);
    /// Anthropic's messages.
    pub const MESSAGES: Self = Self::of(Dialect::Messages);
    /// Gemini's generateContent.
    pub const GEMINI: Self = Self::of(Dialect::Gemini);
    /// Bedrock's Converse.
    pub const CONVERSE: Self = Self::of(Dialect::Converse);

    /// This one alone.
    pub const fn of(dialect: Dialect) -> Self {
        Self(1 << dialect as u8)
    }

    /// Those of `bits`; bits of dialects that are not known here are left out.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// A bit for each.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Those of both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether this one is among them.
    pub const fn contains(self, dialect: Dialect) -> bool {
        self.0 & Self::of(dialect).0 != 0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Dialect> {
        Dialect::ALL
            .into_iter()
            .filter(move |dialect| self.contains(*dialect))
    }
}

/// What a request is written in, and whether it can be written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDialect {
    /// The client's dialect.
    pub dialect: Dialect,
    /// Whether an upstream of another dialect can answer it. It cannot where the request is about what one upstream
    /// keeps, or asks for something that others do not have.
    pub translates: bool,
}

impl RequestDialect {
    /// Whether an upstream that reads `dialects` can answer, by translation or without.
    pub const fn reaches(self, dialects: DialectSet) -> bool {
        self.translates || dialects.contains(self.dialect)
    }

    /// The dialect in which an upstream that reads `dialects` is asked; `None` where it cannot be.
    pub fn asked_in(self, dialects: DialectSet) -> Option<Dialect> {
        if dialects.contains(self.dialect) {
            return Some(self.dialect);
        }
        // Google's endpoints of OpenAI's form have no place for the signatures of thoughts, which must come back. Of an
        // upstream of which nothing is known, chat completions are what it most likely reads.
        let is_of_google = dialects.contains(Dialect::Gemini) && dialects != DialectSet::ALL;
        let own = is_of_google.then_some(Dialect::Gemini);
        let others = own.into_iter().chain(self.dialect.nearest());
        let mut read = others.filter(|other| dialects.contains(*other));
        read.next().filter(|_| self.translates)
    }

    /// What the path of a request says of its dialect; `None` where all upstreams are alike for it.
    pub fn of_path(path: &str) -> Option<Self> {
        let (dialect, translates) = match path {
            "/v1/chat/completions" => (Dialect::Chat, true),
            "/v1/responses" => (Dialect::Responses, true),
            "/v1/messages" => (Dialect::Messages, true),
            "/v1/conversations" => (Dialect::Responses, false),
            _ if path.starts_with("/v1/responses/") => (Dialect::Responses, false),
            _ if path.starts_with("/v1/conversations/") => (Dialect::Responses, false),
            _ if path.starts_with("/v1/containers/") => (Dialect::Responses, false),
            // Who keeps files for its models has responses, as OpenAI and Azure do.
            "/v1/files" | "/v1/batches" => (Dialect::Responses, false),
            _ if path.starts_with("/v1/files/") => (Dialect::Responses, false),
            _ if path.starts_with("/v1/batches/") => (Dialect::Responses, false),
            _ if path.starts_with("/v1/messages/") => (Dialect::Messages, false),
            _ => native(path)?,
        };
        Some(Self {
            dialect,
            translates,
        })
    }
}

/// A request in the form of a cloud, whose path holds the model.
fn native(path: &str) -> Option<(Dialect, bool)> {
    if is_count_at_vertex(path) {
        return Some((Dialect::Messages, false));
    }
    Some(match NativePath::of(path)?.operation {
        NativeOperation::GenerateContent | NativeOperation::StreamGenerateContent => {
            (Dialect::Gemini, true)
        }
        NativeOperation::CountTokens => (Dialect::Gemini, false),
        NativeOperation::Converse | NativeOperation::ConverseStream => (Dialect::Converse, true),
        NativeOperation::Invoke
        | NativeOperation::InvokeStream
        | NativeOperation::RawPredict
        | NativeOperation::StreamRawPredict => (Dialect::Messages, true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_each_dialect() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::from_name(dialect.name()), Some(dialect));
            assert!(!dialect.nearest().contains(&dialect));
        }
        assert_eq!(Dialect::from_name("chats"), None);
    }

    #[test]
    fn set_holds_what_was_put_in() {
        let set = DialectSet::CHAT.with(DialectSet::CONVERSE);
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Dialect::Chat, Dialect::Converse]
        );
        assert_eq!(DialectSet::from_bits(set.bits()), set);
        assert_eq!(DialectSet::from_bits(u8::MAX), DialectSet::ALL);
        assert!(DialectSet::NONE.is_empty());
    }

    #[test]
    fn nearest_dialect_is_asked_and_of_google_its_own() {
        let messages = RequestDialect {
            dialect: Dialect::Messages,
            translates: true,
        };
        let chat = DialectSet::CHAT;
        for (read, asked) in [
            (DialectSet::MESSAGES.with(chat), Some(Dialect::Messages)),
            (DialectSet::CONVERSE.with(chat), Some(Dialect::Converse)),
            (DialectSet::RESPONSES.with(chat), Some(Dialect::Chat)),
            (DialectSet::GEMINI.with(chat), Some(Dialect::Gemini)),
            (DialectSet::NONE, None),
        ] {
            assert_eq!(messages.asked_in(read), asked, "{read:?}");
        }
        let count = RequestDialect {
            translates: false,
            ..messages
        };
        assert_eq!(count.asked_in(chat), None);
    }

    #[test]
    fn path_names_the_dialect() {
        let of = |path| RequestDialect::of_path(path).map(|it| (it.dialect, it.translates));
        for (path, expected) in [
            ("/v1/chat/completions", Some((Dialect::Chat, true))),
            ("/v1/responses", Some((Dialect::Responses, true))),
            ("/v1/responses/r_1", Some((Dialect::Responses, false))),
            ("/v1/conversations", Some((Dialect::Responses, false))),
            ("/v1/conversations/c_1", Some((Dialect::Responses, false))),
            ("/v1/containers/c_1", Some((Dialect::Responses, false))),
            ("/v1/messages", Some((Dialect::Messages, true))),
            (
                "/v1/messages/count_tokens",
                Some((Dialect::Messages, false)),
            ),
            (
                "/v1beta/models/gemini-2:streamGenerateContent",
                Some((Dialect::Gemini, true)),
            ),
            (
                "/v1beta/models/g:countTokens",
                Some((Dialect::Gemini, false)),
            ),
            ("/v1beta/models/g:embedContent", None),
            (
                "/model/a.b-v1%3A0/converse",
                Some((Dialect::Converse, true)),
            ),
            ("/model/a/invoke", Some((Dialect::Messages, true))),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/c:streamRawPredict",
                Some((Dialect::Messages, true)),
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
                Some((Dialect::Messages, false)),
            ),
            (
                "/v1/projects/p/locations/l/publishers/other/models/c:rawPredict",
                None,
            ),
            ("/model/a/other", None),
            ("/model//converse", None),
            ("/v1/embeddings", None),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
    }
}
