//! What is left as it is, each with the reason.

use grapevine_dialect::Dialect;

/// Problems by the end of whom they concern and what they say.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        " as messages for claude-sonnet-4-5",
        ": temperature: is no such field",
        "models before Claude Opus 4.7 take it, and the SDK lists what the newest do",
    ),
    (
        " as messages for claude-sonnet-4-5",
        ": top_p: is no such field",
        "models before Claude Opus 4.7 take it, and the SDK lists what the newest do",
    ),
    (
        " as messages for claude-sonnet-4-5",
        ": top_k: is no such field",
        "models before Claude Opus 4.7 take it, and the SDK lists what the newest do",
    ),
];

/// Fields that say nothing to anyone but their own provider, whatever they say.
const SILENT: [(Dialect, &str, &str); 14] = [
    (Dialect::Chat, "stream", "the URL says it"),
    (Dialect::Messages, "stream", "the URL says it"),
    (
        Dialect::Chat,
        "stream_options",
        "what the client wants of the answer, which the node writes",
    ),
    (
        Dialect::Chat,
        "stream_options.include_usage",
        "what the client wants of the answer, which the node writes",
    ),
    (
        Dialect::Responses,
        "stream_options.include_obfuscation",
        "padding of events, which the node writes",
    ),
    (
        Dialect::Responses,
        "input[].content",
        "a thought that has a summary, which stands for it",
    ),
    (
        Dialect::Responses,
        "input[].content[].logprobs",
        "of an answer long given",
    ),
    (
        Dialect::Responses,
        "text.format.strict",
        "the schemas of the others are always strict",
    ),
    (
        Dialect::Responses,
        "reasoning.summary",
        "how a thought is shown, without the wish to think",
    ),
    (
        Dialect::Messages,
        "tools[].type",
        "what a tool without a type is",
    ),
    (
        Dialect::Messages,
        "thinking.display",
        "named with the effort, which is not said of models whose way to think is unknown",
    ),
    (
        Dialect::Gemini,
        "contents[].role",
        "what contents without a role are",
    ),
    (
        Dialect::Gemini,
        "generationConfig.responseSchema.nullable",
        "of a type that is not said",
    ),
    (
        Dialect::Gemini,
        "generationConfig.thinkingConfig.includeThoughts",
        "chat completions shows thoughts unasked, where it does",
    ),
];

/// Why a problem is none.
pub(crate) fn reason(problem: &str) -> Option<&'static str> {
    let is_meant =
        |(whom, what, _): &&(&str, &str, &str)| problem.contains(whom) && problem.ends_with(what);
    EXCEPTIONS
        .iter()
        .find(is_meant)
        .map(|(_, _, reason)| *reason)
}

/// Whether a field of a dialect may be left out without a word.
pub(crate) fn says_nothing(dialect: Dialect, field: &str) -> bool {
    // Which words a guardrail looks at; the guardrail itself is named as lost.
    field.ends_with("guardContent.text.qualifiers")
        || SILENT
            .iter()
            .any(|(from, name, _)| *from == dialect && *name == field)
}
