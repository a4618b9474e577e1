//! Extracts the token counts from an upstream's answer as it passes, without parsing it.
//!
//! The counts are members of an object called `usage`, or `usageMetadata` in Gemini's API, at whatever depth it is.
//! Each API counts in its own way:
//!
//! | API | input | output |
//! | --- | --- | --- |
//! | OpenAI, chat and completions | `prompt_tokens` | `completion_tokens` |
//! | OpenAI, responses and others | `input_tokens` | `output_tokens` |
//! | Anthropic | `input_tokens` and those that were written to or read from the cache | `output_tokens` |
//! | Gemini | `promptTokenCount` and those of tools' results | those of candidates and of thoughts |
//! | Bedrock | `inputTokens` and those that were written to or read from the cache | `outputTokens` |
//!
//! A stream may report several times (Anthropic's begins with the prompt's counts and ends with the answer's): the
//! last count of each kind holds.
//!
//! Anthropic's messages at Bedrock are streamed as base64 within frames, which are read first.
//!
//! Text that a model wrote cannot be mistaken for a count: within a JSON string the quotes around a
//! key are escaped.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;

use grapevine_base::headers;
use grapevine_base::headers::ReadHeaders;
use grapevine_core::native_path::MessagesForm;
use grapevine_dialect::chunk::ChunkReader;
use grapevine_dialect::event_stream;
use grapevine_observe::record::Tokens;

/// The beginning of the key of both names.
static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage"));

/// The rest of Gemini's key.
const METADATA: &[u8] = b"Metadata\"";

/// The longest object of counts; those of today are below 1 KiB. What is kept from one piece to the next is
/// never longer.
const OBJECT_BYTES_MAX: usize = 2 * 1_024;

/// Follows one answer.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    counts: Counts,
    /// The end of the last piece, from the first byte of a key or an object that was not complete.
    tail: Vec<u8>,
    /// `None` unless the counts are hidden in frames.
    frames: Option<Box<ChunkReader>>,
}

/// What an answer reported, by kind; `None` where it did not.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    input: Option<u64>,
    cache_written: Option<u64>,
    cache_read: Option<u64>,
    output: Option<u64>,
    /// A part of the prompt, as OpenAI and Gemini report it.
    cached_part: Option<u64>,
    gemini_prompt: Option<u64>,
    gemini_tools: Option<u64>,
    gemini_candidates: Option<u64>,
    gemini_thoughts: Option<u64>,
}

/// What follows the beginning of a key.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// An object of counts.
    Counts,
    /// Something else.
    Other,
    /// More text is needed to know.
    Unfinished,
}

impl Usage {
    /// Follows the answer to a request for `path` with these headers.
    pub(crate) fn of(path: &str, headers: &impl ReadHeaders) -> Self {
        let has_frames = headers::is_media_type(headers, event_stream::CONTENT_TYPE)
            && MessagesForm::of_path(path) == Some(MessagesForm::Bedrock);
        Self {
            frames: has_frames.then(Box::default),
            ..Self::default()
        }
    }

    /// Looks at the next piece.
    pub(crate) fn look(&mut self, piece: &[u8]) {
        let Some(frames) = &mut self.frames else {
            return self.look_at_text(piece);
        };
        let mut text = Vec::new();
        // Broken frames pass as they are, and show nothing.
        let _ = frames.push(piece, &mut text);
        self.look_at_text(&text);
    }

    fn look_at_text(&mut self, piece: &[u8]) {
        if self.tail.is_empty() {
            let from = self.scan(piece);
            self.keep(&piece[from..]);
            return;
        }
        let mut seam = std::mem::take(&mut self.tail);
        let taken = piece.len().min(OBJECT_BYTES_MAX - seam.len());
        seam.extend_from_slice(&piece[..taken]);
        let mut from = self.scan(&seam);
        if taken < piece.len() {
            // What both scans find is the same, and counts once.
            from = self.scan(piece);
            self.keep(&piece[from..]);
        } else {
            seam.drain(..from);
            self.tail = seam;
            if self.tail.len() >= OBJECT_BYTES_MAX {
                self.tail.clear();
            }
        }
    }

    /// What was found so far.
    pub(crate) fn tokens(&self) -> Tokens {
        self.counts.tokens()
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.len() < OBJECT_BYTES_MAX {
            self.tail.extend_from_slice(rest);
        }
    }

    /// Takes the counts in `text`. Returns where the text begins that is needed once more is there.
    fn scan(&mut self, text: &[u8]) -> usize {
        let key = KEY.needle();
        let mut from = 0;
        while let Some(found) = KEY.find(&text[from..]) {
            let at = from + found;
            from = at + key.len();
            let mut counts = self.counts;
            match counts.read(&text[from..]) {
                Found::Counts => self.counts = counts,
                Found::Other => {}
                Found::Unfinished => return at,
            }
        }
        let end = text.len().saturating_sub(key.len() - 1);
        let begun = |from: &usize| key.starts_with(&text[*from..]);
        (end..text.len()).find(begun).unwrap_or(text.len())
    }
}

impl Counts {
    fn tokens(&self) -> Tokens {
        let cached = self.cache_read.or(self.cached_part);
        let with = |count: Option<u64>, others: [Option<u64>; 2]| {
            let others = others.into_iter().flatten();
            count.map(|count| others.fold(count, u64::saturating_add))
        };
        let beside = [self.cache_written, self.cache_read];
        let gemini_answer = [self.gemini_candidates, self.gemini_thoughts];
        let has_gemini_answer = gemini_answer.iter().any(Option::is_some);
        Tokens {
            input: self
                .prompt
                .or_else(|| with(self.gemini_prompt, [self.gemini_tools, None]))
                .or_else(|| with(self.input, beside)),
            cached,
            cache_written: self.cache_written,
            output: self
                .completion
                .or_else(|| with(has_gemini_answer.then_some(0), gemini_answer))
                .or(self.output),
        }
    }

    /// Reads what follows the beginning of a key.
    fn read(&mut self, text: &[u8]) -> Found {
        let after_key = match text.first() {
            None => return Found::Unfinished,
            Some(b'"') => &text[1..],
            Some(_) => match text.strip_prefix(METADATA) {
                Some(rest) => rest,
                None if METADATA.starts_with(text) => return Found::Unfinished,
                None => return Found::Other,
            },
        };
        let value = match after_key.trim_ascii_start().split_first() {
            None => return Found::Unfinished,
            Some((b':', value)) => value.trim_ascii_start(),
            Some(_) => return Found::Other,
        };
        match value.split_first() {
            None => Found::Unfinished,
            Some((b'{', members)) => self.read_members(members),
            Some(_) => Found::Other,
        }
    }

    fn read_members(&mut self, text: &[u8]) -> Found {
        let (mut at, mut depth) = (0, 1_u32);
        while let Some(byte) = text.get(at) {
            at += 1;
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => return Found::Counts,
                b'}' | b']' => depth -= 1,
                b'"' => {
                    let Some(length) = string_length(&text[at..]) else {
                        return Found::Unfinished;
                    };
                    let key = &text[at..at + length];
                    at += length + 1;
                    if let Some((value, end)) = number(&text[at..])
                        && let Some(count) = self.kind(key, depth)
                    {
                        *count = Some(value);
                        at += end;
                    }
                }
                _ => {}
            }
        }
        Found::Unfinished
    }

    fn kind(&mut self, key: &[u8], depth: u32) -> Option<&mut Option<u64>> {
        if depth > 1 {
            // In `prompt_tokens_details` and `input_tokens_details`.
            let is_part = depth == 2 && key == b"cached_tokens";
            return is_part.then_some(&mut self.cached_part);
        }
        Some(match key {
            b"prompt_tokens" => &mut self.prompt,
            b"completion_tokens" => &mut self.completion,
            b"input_tokens" | b"inputTokens" => &mut self.input,
            b"cache_creation_input_tokens" | b"cacheWriteInputTokens" => &mut self.cache_written,
            b"cache_read_input_tokens" | b"cacheReadInputTokens" => &mut self.cache_read,
            b"output_tokens" | b"outputTokens" => &mut self.output,
            b"promptTokenCount" => &mut self.gemini_prompt,
            b"toolUsePromptTokenCount" => &mut self.gemini_tools,
            b"cachedContentTokenCount" => &mut self.cached_part,
            b"candidatesTokenCount" => &mut self.gemini_candidates,
            b"thoughtsTokenCount" => &mut self.gemini_thoughts,
            _ => return None,
        })
    }
}

/// The length of the text up to the quote that ends it.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The number after a colon, when it is complete, and where it ends.
fn number(text: &[u8]) -> Option<(u64, usize)> {
    let after = text
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    let mut value = 0_u64;
    for (length, byte) in after.iter().enumerate() {
        if !byte.is_ascii_digit() {
            return (length > 0).then_some((value, text.len() - after.len() + length));
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(pieces: &[&str]) -> (Option<u64>, Option<u64>) {
        let mut usage = Usage::default();
        for piece in pieces {
            usage.look(piece.as_bytes());
        }
        (usage.tokens().input, usage.tokens().output)
    }

    const CHAT: &str = r#"{"choices":[{}],"usage": {"prompt_tokens": 2006, "completion_tokens": 300,
        "total_tokens": 2306, "prompt_tokens_details": {"cached_tokens": 1920},
        "completion_tokens_details": {"reasoning_tokens": 64}}}"#;
    const RESPONSES: &str = r#"data: {"type":"response.completed","response":{"usage":{"input_tokens":37,
        "input_tokens_details":{"cached_tokens":5,"input_tokens":1},"output_tokens":11,
        "output_tokens_details":{"reasoning_tokens":2},"total_tokens":48},"user":null}}"#;
    const MESSAGES: &str = r#"{"content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":100,
        "cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":60,
        "ephemeral_1h_input_tokens":40},"output_tokens":15,"service_tier":"standard"}}"#;
    const GEMINI: &str = r#"{"candidates":[],"usageMetadata":{"promptTokenCount":75,
        "candidatesTokenCount":2529,"totalTokenCount":5672,"cachedContentTokenCount":50,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":75}],"thoughtsTokenCount":3068,
        "toolUsePromptTokenCount":10},"modelVersion":"gemini-2.5-flash"}"#;
    const CONVERSE: &str = r#"{"usage":{"inputTokens":14,"cacheReadInputTokens":3,
        "cacheWriteInputTokens":2,"outputTokens":8,"totalTokens":22},"metrics":{"latencyMs":946}}"#;

    const EACH: [(&str, u64, u64); 5] = [
        (CHAT, 2_006, 300),
        (RESPONSES, 37, 11),
        (MESSAGES, 132, 15),
        (GEMINI, 85, 5_597),
        (CONVERSE, 19, 8),
    ];

    #[test]
    fn tokens_are_counted_by_the_rules_of_each_api() {
        for (answer, input, output) in EACH {
            assert_eq!(picked(&[answer]), (Some(input), Some(output)), "{answer}");
        }
    }

    #[test]
    fn tokens_of_the_cache_are_counted_beside_the_whole_prompt() {
        let cached = |answer: &str| {
            let mut usage = Usage::default();
            usage.look(answer.as_bytes());
            (usage.tokens().cached, usage.tokens().cache_written)
        };
        for (answer, read, written) in [
            (CHAT, Some(1_920), None),
            (RESPONSES, Some(5), None),
            (MESSAGES, Some(7), Some(100)),
            (GEMINI, Some(50), None),
            (CONVERSE, Some(3), Some(2)),
        ] {
            assert_eq!(cached(answer), (read, written), "{answer}");
        }
    }

    #[test]
    fn counts_are_found_wherever_the_answer_is_cut() {
        for (answer, input, output) in EACH {
            let found = (Some(input), Some(output));
            for at in 0..answer.len() {
                let (first, second) = answer.split_at(at);
                assert_eq!(picked(&[first, second]), found, "{first}|{second}");
            }
            let bytes: Vec<&str> = (0..answer.len()).map(|at| &answer[at..=at]).collect();
            assert_eq!(picked(&bytes), found);
        }
    }

    #[test]
    fn last_count_of_each_kind_holds_in_a_stream() {
        let started = r#"{"message":{"usage":{"input_tokens":25,"cache_creation_input_tokens":10,
            "cache_read_input_tokens":7,"output_tokens":1}}}"#;
        let ended = r#"{"type":"message_delta","usage":{"output_tokens":15}}"#;
        assert_eq!(picked(&[started, "\n\n", ended]), (Some(42), Some(15)));
        let ended =
            r#"{"usage":{"input_tokens":30,"cache_read_input_tokens":0,"output_tokens":9}}"#;
        assert_eq!(picked(&[started, ended]), (Some(40), Some(9)));
        let first = r#"{"usageMetadata":{"promptTokenCount":8,"thoughtsTokenCount":21}}"#;
        let last = r#"{"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":4}}"#;
        assert_eq!(picked(&[first]), (Some(8), Some(21)));
        assert_eq!(picked(&[first, "\n", last]), (Some(8), Some(25)));
    }

    #[test]
    fn event_without_counts_leaves_those_there_are() {
        let chunk = "data: {\"usage\":null}\n\n";
        assert_eq!(picked(&[chunk, chunk]), (None, None));
        assert_eq!(picked(&[CHAT, chunk]), (Some(2_006), Some(300)));
        let empty = r#"{"usage":{"prompt_tokens":null,"completion_tokens":-1}}"#;
        assert_eq!(picked(&[empty]), (None, None));
    }

    #[test]
    fn text_of_the_model_is_no_count() {
        for text in [
            r#"{"content":"{\"usage\": {\"prompt_tokens\": 9}}"}"#,
            r#"{"type":"usage","prompt_tokens":9}"#,
            r#"{"usages":{"prompt_tokens":9}}"#,
            r#"{"usage":{"kind":"\"","details":{"prompt_tokens":9}}}"#,
            // What would be sent, not what was: the answer of count_tokens.
            r#"{"input_tokens":9}"#,
        ] {
            assert_eq!(picked(&[text]), (None, None), "{text}");
        }
    }

    #[test]
    fn object_without_an_end_is_given_up() {
        let mut usage = Usage::default();
        usage.look(b"{\"usage\":{\"prompt_tokens\":9,");
        for _ in 0..1_000 {
            usage.look(b"\"a\":[1],");
            assert!(usage.tail.len() < OBJECT_BYTES_MAX);
        }
        usage.look(CHAT.as_bytes());
        assert_eq!(usage.tokens().input, Some(2_006));
    }
}
