//! Why an upstream is suspected or ejected.

/// Why an upstream is suspected or ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EjectionReason {
    /// `failure_threshold` failures in a row, the last of them of this kind.
    Failures(FailureKind),
    /// Too many of the attempts in the window failed.
    ErrorRate,
    /// Too many of the answers in the window broke off.
    BreakRate,
    /// The upstream refused our credential (401 or 403).
    Credential,
    /// Our account there has no money or no quota left.
    Account,
    /// Nothing came from it while several requests waited.
    Stall,
    /// It does not have the model.
    Missing,
    /// Its owner's operator has taken it out of use; no health is judged by it.
    Disabled,
}

/// What kind of failure an attempt or a probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// No connection, TLS included.
    Connect,
    /// A wait ran out.
    Timeout,
    /// The connection broke.
    Reset,
    /// A status of 500 and above, or 408.
    Status,
    /// It sent its client elsewhere.
    Redirect,
    /// An error or nothing under the status of a success.
    NoAnswer,
}

impl EjectionReason {
    /// One word for gossip, headers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures(FailureKind::Connect) => "connect",
            Self::Failures(FailureKind::Timeout) => "timeout",
            Self::Failures(FailureKind::Reset) => "reset",
            Self::Failures(FailureKind::Status) => "status",
            Self::Failures(FailureKind::Redirect) => "redirect",
            Self::Failures(FailureKind::NoAnswer) => "no_answer",
            Self::ErrorRate => "error_rate",
            Self::BreakRate => "break_rate",
            Self::Credential => "credential",
            Self::Account => "account",
            Self::Stall => "stall",
            Self::Missing => "missing",
            Self::Disabled => "disabled",
        }
    }

    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::Failures(FailureKind::Connect),
        Self::Failures(FailureKind::Timeout),
        Self::Failures(FailureKind::Reset),
        Self::Failures(FailureKind::Status),
        Self::Failures(FailureKind::Redirect),
        Self::Failures(FailureKind::NoAnswer),
        Self::ErrorRate,
        Self::BreakRate,
        Self::Credential,
        Self::Account,
        Self::Stall,
        Self::Missing,
        Self::Disabled,
    ];

    /// The reason that [`EjectionReason::as_str`] calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Whether a probe that costs nothing asks for what failed, so that its success takes the reason back.
    pub const fn is_shown_by_free_probe(self) -> bool {
        matches!(self, Self::Failures(kind) if kind.is_independent_of_request())
    }
}

impl FailureKind {
    /// Whether no request can have caused it by its content: it happened before any was sent, or is a matter of the
    /// configured address.
    pub const fn is_independent_of_request(self) -> bool {
        matches!(self, Self::Connect | Self::Redirect)
    }
}
