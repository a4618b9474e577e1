//! The table of findings as the manual shows it: made from the verdicts, so that it says what is done.

use std::fmt::Write;

use super::{Blame, CooldownScope, Finding, Next};
use crate::request::FallbackCause;

impl Finding {
    /// An answer that shows it: the statuses, and what else must be seen.
    const fn example(self) -> (u16, &'static str) {
        match self {
            Self::Answered => (200, "a success that is one"),
            Self::ClientMistake => (400, "other 4xx"),
            Self::ContextTooLong => (
                400,
                "`context_length_exceeded`, `exceed_context_size_error`, \"prompt is too long\", \"Input is too long for \
                 requested model\" under 400, 413 or 422",
            ),
            Self::ContentPolicy => (
                400,
                "`content_filter`, `content_policy_violation`, \"Input was flagged\" under 400, 403, 422 or 451",
            ),
            Self::ClientIdentity => (
                401,
                "401 or 403 with `mismatched_organization` or `invalid_project`, or with no word on the key where the \
                 client sent `OpenAI-Organization` or `OpenAI-Project`",
            ),
            Self::Credential => (401, "401, or 403 with `invalid_api_key`"),
            Self::Forbidden => (403, "403 with no word on whose fault it is"),
            Self::Account => (
                402,
                "402; `insufficient_quota`, `billing_hard_limit_reached`, \"Your credit balance is too low\" under 400 \
                 to 429",
            ),
            Self::ModelMissing => (
                404,
                "`model_not_found`, `DeploymentNotFound`, \"The model `x` does not exist\" under 400, 403 or 404",
            ),
            Self::RateOfModel => (429, "429"),
            Self::RateOfAccount => (
                429,
                "429 or 529 with `account_rate_limit_exceeded` or `organization_rate_limit_exceeded`",
            ),
            Self::RateOfPlace => (
                529,
                "529; 429 with `overloaded_error`, `ThrottlingException`, \"Requests to the ... have exceeded\" (Azure), \
                 \"Resource exhausted, please try again later\" (Vertex AI)",
            ),
            Self::AccountLimit => (
                429,
                "the limit of one's own of an [account](accounts.md): the upstream was not asked",
            ),
            Self::Failed => (500, "408, 5xx"),
            Self::Redirect => (307, "301, 302, 303, 307, 308"),
            Self::HiddenError => (
                200,
                "2xx whose JSON or first event is an error and nothing else",
            ),
            Self::NotAnAnswer => (200, "2xx with an empty body or with HTML"),
        }
    }

    /// The status of that answer.
    #[cfg(test)]
    pub(super) const fn example_status(self) -> u16 {
        self.example().0
    }

    /// What becomes of the request.
    fn request(self, next: Next) -> &'static str {
        match (next, self.may_be_given()) {
            _ if self == Self::AccountLimit => {
                "tried elsewhere; 429 `account_limit_reached` where nothing better comes"
            }
            (Next::GoOn, true) => "tried elsewhere; passed through where nothing better comes",
            (Next::GoOn, false) => "tried elsewhere; 502 where nothing better comes",
            _ if FallbackCause::of(self).is_some() => {
                "goes to the model's fallback, where one is configured; else passed through"
            }
            _ => "passed through",
        }
    }
}

/// Who is blamed, and for how long.
const fn consequence(
    blame: Blame,
    cooldown: Option<CooldownScope>,
) -> (&'static str, &'static str) {
    match (blame, cooldown) {
        (_, Some(CooldownScope::Model)) => (
            "nobody",
            "the model rests at this upstream as `Retry-After` says (else 1 s), for at most 5 minutes",
        ),
        (_, Some(CooldownScope::Upstream)) => (
            "nobody",
            "the upstream rests as `Retry-After` says (else 1 s), for at most 5 minutes",
        ),
        (Blame::Success | Blame::Nobody | Blame::Peer, None) => ("nobody", ""),
        (Blame::Upstream, None) => (
            "the upstream, or the model where it serves others",
            "ejected after `health.failure_threshold` failures in a row that several clients saw; suspect before",
        ),
        (Blame::Credential, None) => (
            "the upstream",
            "suspect; ejected once a probe or another client's request is refused too",
        ),
        (Blame::Account, None) => (
            "the upstream",
            "ejected at once for 2 minutes, doubled each time, up to 30 minutes",
        ),
        (Blame::Model, None) => (
            "the model at this upstream",
            "out for a minute, doubled each time, up to 15 minutes",
        ),
    }
}

/// The table of the manual's page on health and failover, in Markdown.
pub fn findings_table() -> String {
    let mut table =
        "| what an upstream says | the request | who is blamed | for how long |\n".to_owned();
    table.push_str("| --- | --- | --- | --- |\n");
    for finding in Finding::ALL {
        let (status, says) = finding.example();
        let verdict = finding.verdict(status);
        let request = finding.request(verdict.next);
        let cooldown = verdict.cooldown.map(|(_, scope)| scope);
        let (blamed, span) = consequence(verdict.blame, cooldown);
        // Writing to a text cannot fail.
        let _ = writeln!(table, "| {says} | {request} | {blamed} | {span} |");
    }
    table
}
