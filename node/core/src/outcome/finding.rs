//! What an upstream's answer shows: whose fault it is, of what scope.
//!
//! The status alone does not tell. 401 may mean this gateway's credential or the organization that the client named,
//! 429 a rate or an account without money, 200 an error in disguise. So the error's own words are looked up in
//! [`ROWS`]; where none applies, the status decides ([`Finding::of_status`]).
//!
//! Who chooses the words? The upstream, and some of them quote what the client sent. A client must not be able to
//! have an upstream ejected by a prompt or a model's name, so codes and types are compared whole, and messages by
//! how they begin, where no API quotes anything.

use super::{Outcome, ROWS, Verdict};

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
    /// Too much at once for this deployment, region or server: nothing of other upstreams of its account.
    RateOfPlace,
    /// Its owner's own limit of the account that the upstream draws on: the upstream was not asked.
    AccountLimit,
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

impl Finding {
    /// Every finding, in the order of the guide's table.
    pub const ALL: [Self; 17] = [
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
        Self::RateOfPlace,
        Self::AccountLimit,
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
            429 => Self::RateOfModel,
            529 => Self::RateOfPlace,
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
            Self::RateOfModel | Self::RateOfAccount | Self::RateOfPlace => "rate_limited",
            Self::AccountLimit => "account_limit",
            Self::Failed => "server_error",
            Self::Redirect => "redirect",
            Self::HiddenError => "hidden_error",
            Self::NotAnAnswer => "not_an_answer",
        }
    }

    /// Whether such an answer may go to the client where no better one comes.
    ///
    /// Not a refused credential, which the client cannot mend and whose message may quote a part of it; not a
    /// redirect, which a client would follow with the whole prompt; not what no client could read; not what another
    /// node says to this one.
    pub const fn may_be_given(self) -> bool {
        !matches!(
            self,
            Self::Credential | Self::Redirect | Self::NotAnAnswer | Self::AccountLimit
        )
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
