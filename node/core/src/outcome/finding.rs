//! What an upstream's answer shows: whose fault it is, of what scope.
//!
//! The status alone does not tell. 401 may mean this gateway's credential or the organization that the client named,
//! 429 a rate or an account without money, 200 an error in disguise. So the error's own words are looked up in
//! [`ROWS`]; where none applies, the status decides ([`Finding::of_status`]).
//!
//! Who chooses the words? The upstream, and some of them quote what the client sent. A client must not be able to
//! have an upstream ejected by a prompt or a model's name, so codes and types are compared whole, and messages by
//! how they begin, where no API quotes anything.

use super::{Outcome, Verdict};

/// What an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// The request was answered.
    Answered,
    /// The client's mistake.
    ClientMistake,
    /// The client's request is longer than the model can read; another model may be able to.
    ContextTooLong,
    /// The upstream's policy forbids what the client's request holds; another one's may not.
    ContentPolicy,
    /// Who the client says that it is: an organization or a project of its own, or what it may not ask for.
    ClientIdentity,
    /// Our credential is refused.
    Credential,
    /// Forbidden, with no word on whose fault it is.
    Forbidden,
    /// Our account has no money or no quota left.
    Account,
    /// The upstream does not have the model, or not for us.
    ModelMissing,
    /// Too much at once, of this model.
    RateOfModel,
    /// Too much at once, of the whole account.
    RateOfAccount,
    /// The upstream failed.
    Failed,
    /// The upstream sends its clients elsewhere: its base URL is not what it should be.
    Redirect,
    /// An error under the status of a success.
    HiddenError,
    /// The status of a success, and nothing that the API could mean by it: no body, or a page for a browser.
    NotAnAnswer,
}

/// The words of an error answer; what it does not have is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorWords<'a> {
    /// Its `code`, where that is text.
    pub code: &'a str,
    /// Its `type`; of Google's APIs the `status`.
    pub kind: &'a str,
    /// Its message, or as much of it as was read.
    pub message: &'a str,
}

/// A row of the table of words.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRow {
    /// The statuses it applies to.
    pub statuses: &'static [u16],
    /// Codes and types, each compared whole and by any case.
    pub words: &'static [&'static str],
    /// How messages begin, by any case.
    pub messages: &'static [&'static str],
    /// What it shows.
    pub finding: Finding,
}

/// The words of the APIs, the first row that applies decides. Collected from the error references of OpenAI, Azure
/// OpenAI, Anthropic, Google, Mistral, DeepSeek, Moonshot, OpenRouter, Groq, and from vLLM, SGLang, Ollama and
/// LiteLLM as they answer.
pub const ROWS: &[ErrorRow] = &[
    ErrorRow {
        statuses: &[400, 401, 402, 403, 429],
        words: &[
            "insufficient_quota",
            "insufficient_balance",
            "insufficient_user_quota",
            "insufficient_credits",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            "exceeded_current_quota_error",
            "account_deactivated",
            "budget_exceeded",
            "payment_required",
        ],
        messages: &[
            "your credit balance is too low",
            "insufficient balance",
            "insufficient credits",
            "you exceeded your current quota",
            "your account is not active",
            "billing hard limit has been reached",
        ],
        finding: Finding::Account,
    },
    ErrorRow {
        statuses: &[401, 403],
        words: &[
            "invalid_api_key",
            "invalid_x_api_key",
            "incorrect_api_key",
            "missing_api_key",
        ],
        messages: &[
            "incorrect api key",
            "invalid api key",
            "invalid x-api-key",
            "invalid authentication",
        ],
        finding: Finding::Credential,
    },
    ErrorRow {
        statuses: &[400, 401, 403, 404],
        words: &[
            "mismatched_organization",
            "mismatched_project",
            "invalid_organization",
            "invalid_project",
            "no_such_organization",
            "organization_not_found",
            "project_not_found",
        ],
        messages: &[
            "openai-organization header",
            "openai-project header",
            "no such organization",
        ],
        finding: Finding::ClientIdentity,
    },
    ErrorRow {
        statuses: &[400, 403, 422, 451],
        words: &[
            "content_policy_violation",
            "content_filter",
            "moderation_blocked",
            "flagged_input",
            "responsibleaipolicyviolation",
            "data_inspection_failed",
        ],
        messages: &[
            // OpenAI's images and Responses.
            "your request was rejected as a result of our safety system",
            "invalid prompt: your prompt was flagged",
            "invalid prompt: we've limited access to this content",
            // Anthropic.
            "output blocked by content filtering policy",
            // OpenRouter.
            "input was flagged",
            "your chosen model requires moderation",
            "request blocked by",
            // DeepSeek, Moonshot, xAI.
            "content exists risk",
            "the request was rejected because it was considered high risk",
            "content violates usage guidelines",
        ],
        finding: Finding::ContentPolicy,
    },
    ErrorRow {
        statuses: &[400, 413, 422],
        words: &[
            // OpenAI, Azure OpenAI, Groq, DeepSeek.
            "context_length_exceeded",
            // llama.cpp's server.
            "exceed_context_size_error",
            // LiteLLM.
            "contextwindowexceedederror",
        ],
        messages: &[
            // OpenAI, Azure OpenAI, DeepSeek, vLLM; OpenRouter; xAI.
            "this model's maximum context length is",
            "this endpoint's maximum context length is",
            "this model's maximum prompt length is",
            // Anthropic, as itself, on Bedrock and on Vertex AI.
            "prompt is too long",
            "input length and `max_tokens` exceed context limit",
            // Bedrock's other models.
            "input is too long for requested model",
            "the model returned the following errors: input is too long",
            "the model returned the following errors: prompt is too long",
            // Gemini and Vertex AI.
            "the input token count",
            "unable to submit request because the input token count",
            // Mistral, Cohere.
            "prompt contains",
            "too many tokens",
            // vLLM, SGLang, llama.cpp, Ollama, text-generation-inference.
            "the decoder prompt (length",
            "the prompt (total length",
            "the input (",
            "requested token count exceeds the model's maximum context length",
            "the request exceeds the available context size",
            "input length exceeds",
            "the input length exceeds",
            "input validation error: `inputs`",
        ],
        finding: Finding::ContextTooLong,
    },
    ErrorRow {
        statuses: &[400, 403, 404],
        words: &[
            "model_not_found",
            "model_not_available",
            "model_not_supported",
            "model_not_active",
            "model_decommissioned",
            "model_terms_required",
            "unknown_model",
            "invalid_model",
            "deploymentnotfound",
        ],
        messages: &[
            "model:",
            "the model `",
            "the model '",
            "model \"",
            "models/",
            "model not exist",
            "invalid model",
            "no endpoints found for",
            "no allowed providers are available for",
        ],
        finding: Finding::ModelMissing,
    },
    ErrorRow {
        statuses: &[429, 529],
        words: &[
            "account_rate_limit_exceeded",
            "organization_rate_limit_exceeded",
            "account_overloaded",
            "rate_limit_reached_for_organization",
        ],
        messages: &["account rate limit", "organization rate limit"],
        finding: Finding::RateOfAccount,
    },
];

impl Finding {
    /// Every finding, in the order of the guide's table.
    pub const ALL: [Self; 15] = [
        Self::Answered,
        Self::ClientMistake,
        Self::ContextTooLong,
        Self::ContentPolicy,
        Self::ClientIdentity,
        Self::Credential,
        Self::Forbidden,
        Self::Account,
        Self::ModelMissing,
        Self::RateOfModel,
        Self::RateOfAccount,
        Self::Failed,
        Self::Redirect,
        Self::HiddenError,
        Self::NotAnAnswer,
    ];

    /// What a status shows by itself.
    pub const fn of_status(status: u16) -> Self {
        match status {
            301 | 302 | 303 | 307 | 308 => Self::Redirect,
            401 => Self::Credential,
            402 => Self::Account,
            403 => Self::Forbidden,
            408 => Self::Failed,
            429 | 529 => Self::RateOfModel,
            400..=499 => Self::ClientMistake,
            500.. => Self::Failed,
            _ => Self::Answered,
        }
    }

    /// What an error answer shows by its status and its words. `names_identity` is whether the client named an
    /// organization or a project of its own, which a 401 or 403 is then about, unless it says otherwise.
    pub fn of_error(status: u16, words: ErrorWords<'_>, names_identity: bool) -> Self {
        let row = ROWS.iter().find(|row| row.applies(status, words));
        match row {
            Some(row) => row.finding,
            None if names_identity && matches!(status, 401 | 403) => Self::ClientIdentity,
            None => Self::of_status(status),
        }
    }

    /// What an error under the status of a success shows by its words, and by the `status` that it may name.
    pub fn of_hidden_error(status: Option<u16>, words: ErrorWords<'_>) -> Self {
        let by_words = || {
            ROWS.iter()
                .find(|row| row.has(words))
                .map(|row| row.finding)
        };
        match status {
            Some(status) => Self::of_error(status, words, false),
            None => by_words().unwrap_or(Self::HiddenError),
        }
    }

    /// One or two words for metrics and the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ClientMistake => "client_error",
            Self::ContextTooLong => "context_too_long",
            Self::ContentPolicy => "content_policy",
            Self::ClientIdentity => "client_identity",
            Self::Credential | Self::Forbidden => "credential_refused",
            Self::Account => "account",
            Self::ModelMissing => "model_missing",
            Self::RateOfModel | Self::RateOfAccount => "rate_limited",
            Self::Failed => "server_error",
            Self::Redirect => "redirect",
            Self::HiddenError => "hidden_error",
            Self::NotAnAnswer => "not_an_answer",
        }
    }

    /// Whether such an answer may go to the client where no better one comes.
    ///
    /// Not a refused credential, which the client cannot mend and whose message may quote a part of it; not a
    /// redirect, which a client would follow with the whole prompt; not what no client could read.
    pub const fn may_be_given(self) -> bool {
        !matches!(self, Self::Credential | Self::Redirect | Self::NotAnAnswer)
    }

    /// What follows from such an answer with `status`, by default settings.
    pub fn verdict(self, status: u16) -> Verdict {
        let answer = Outcome::Status {
            status,
            retry_after: None,
            finding: self,
        };
        answer.verdict(&super::RetryOn::default())
    }
}

impl ErrorRow {
    fn applies(&self, status: u16, words: ErrorWords<'_>) -> bool {
        self.statuses.contains(&status) && self.has(words)
    }

    fn has(&self, words: ErrorWords<'_>) -> bool {
        let is_word = |text: &str| {
            self.words
                .iter()
                .any(|word| word.eq_ignore_ascii_case(text))
        };
        let begins = |start: &&str| {
            let head = words.message.as_bytes().get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
        };
        is_word(words.code) || is_word(words.kind) || self.messages.iter().any(begins)
    }
}
