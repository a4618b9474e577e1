//! What follows from each outcome.

use super::*;

fn verdict(outcome: Outcome) -> Verdict {
    outcome.verdict(&RetryOn::default())
}

#[test]
fn good_answer_is_a_success_and_goes_to_the_client() {
    let verdict = verdict(Outcome::status(200));
    assert_eq!(
        (verdict.blame, verdict.next),
        (Blame::Success, Next::Answer)
    );
}

#[test]
fn client_error_counts_against_nobody() {
    for status in [400, 404, 409, 413, 422] {
        let verdict = verdict(Outcome::status(status));
        assert_eq!(
            (verdict.blame, verdict.next),
            (Blame::Nobody, Next::Answer),
            "{status}"
        );
    }
}

#[test]
fn refused_credential_ejects_and_goes_on_whatever_is_configured() {
    let never = RetryOn {
        connect: false,
        timeout: false,
        answer_timeout: false,
        statuses: vec![],
        server_errors: false,
    };
    let verdict = Outcome::status(401).verdict(&never);
    assert_eq!(
        (verdict.blame, verdict.next),
        (Blame::Credential, Next::GoOn)
    );
}

#[test]
fn rate_limit_cools_down_and_blames_nobody() {
    let with_retry_after = Outcome::Status {
        finding: Finding::RateOfAccount,
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
    };
    let verdict_with_retry_after = verdict(with_retry_after);
    assert_eq!(verdict_with_retry_after.blame, Blame::Nobody);
    assert_eq!(
        verdict_with_retry_after.cooldown,
        Some((Duration::from_secs(7), CooldownScope::Upstream))
    );
    assert_eq!(
        verdict(Outcome::status(429)).cooldown,
        Some((COOLDOWN_DEFAULT, CooldownScope::Model))
    );
}

#[test]
fn cooldown_has_a_limit_however_long_the_requested_one() {
    let outcome = Outcome::Status {
        finding: Finding::RateOfAccount,
        status: 429,
        retry_after: Some(Duration::from_secs(86_400)),
    };
    assert_eq!(
        verdict(outcome).cooldown,
        Some((COOLDOWN_MAX, CooldownScope::Upstream))
    );
}

#[test]
fn server_errors_and_overload_go_on() {
    for status in [408, 500, 502, 503] {
        let verdict = verdict(Outcome::status(status));
        assert_eq!(
            (verdict.blame, verdict.next),
            (Blame::Upstream, Next::GoOn),
            "{status}"
        );
    }
}

#[test]
fn unlisted_failure_goes_to_the_client() {
    let only_connect = RetryOn {
        timeout: false,
        answer_timeout: false,
        statuses: vec![],
        server_errors: false,
        ..RetryOn::default()
    };
    assert_eq!(
        Outcome::status(500).verdict(&only_connect).next,
        Next::Answer
    );
    assert_eq!(
        Outcome::TimedOut(Stage::FirstByte)
            .verdict(&only_connect)
            .next,
        Next::Stop
    );
    assert_eq!(
        Outcome::ConnectFailed.verdict(&only_connect).next,
        Next::GoOn
    );
}

#[test]
fn refused_connection_costs_no_retry() {
    assert!(!verdict(Outcome::ConnectFailed).costs_retry);
    assert!(!verdict(Outcome::Refused(Refusal::Full)).costs_retry);
    assert!(verdict(Outcome::Reset).costs_retry);
}

#[test]
fn request_that_reached_nobody_costs_no_retry() {
    let unreached = verdict(Outcome::PeerUnreached);
    assert_eq!((unreached.blame, unreached.next), (Blame::Peer, Next::GoOn));
    assert!(!unreached.costs_retry);
    assert!(verdict(Outcome::PeerLost).costs_retry);
}

/// What an error answer shows: status, code, type, message, whether the client named an organization.
type Case = (u16, &'static str, &'static str, &'static str, bool);

#[test]
fn words_of_an_error_say_whose_fault_it_is() {
    let cases: &[(Case, Finding)] = &[
        // No money, as DeepSeek, Anthropic, OpenAI, OpenRouter and Moonshot say it.
        (
            (402, "", "unknown_error", "Insufficient Balance", false),
            Finding::Account,
        ),
        (
            (
                400,
                "",
                "invalid_request_error",
                "Your credit balance is too low to access the API",
                false,
            ),
            Finding::Account,
        ),
        (
            (429, "insufficient_quota", "insufficient_quota", "", false),
            Finding::Account,
        ),
        (
            (429, "billing_hard_limit_reached", "", "", false),
            Finding::Account,
        ),
        (
            (402, "", "", "Insufficient credits. Add more", false),
            Finding::Account,
        ),
        (
            (429, "", "exceeded_current_quota_error", "", false),
            Finding::Account,
        ),
        // Our key.
        (
            (
                401,
                "invalid_api_key",
                "invalid_request_error",
                "Incorrect API key provided",
                true,
            ),
            Finding::Credential,
        ),
        (
            (401, "", "authentication_error", "invalid x-api-key", false),
            Finding::Credential,
        ),
        // The client's own identity.
        (
            (401, "mismatched_organization", "", "", false),
            Finding::ClientIdentity,
        ),
        (
            (401, "", "", "No such organization: org-1", true),
            Finding::ClientIdentity,
        ),
        (
            (403, "", "", "project is archived", true),
            Finding::ClientIdentity,
        ),
        // What it asked for.
        (
            (403, "", "", "Input was flagged by moderation", false),
            Finding::ContentPolicy,
        ),
        (
            (400, "content_filter", "", "", false),
            Finding::ContentPolicy,
        ),
        (
            (
                400,
                "context_length_exceeded",
                "invalid_request_error",
                "",
                false,
            ),
            Finding::ContextTooLong,
        ),
        // A model that is not there, as OpenAI, vLLM, Ollama, Anthropic, Google, DeepSeek and OpenRouter say it.
        (
            (404, "model_not_found", "invalid_request_error", "", false),
            Finding::ModelMissing,
        ),
        (
            (
                404,
                "",
                "NotFoundError",
                "The model `x` does not exist.",
                false,
            ),
            Finding::ModelMissing,
        ),
        (
            (
                404,
                "",
                "api_error",
                "model \"x\" not found, try pulling it first",
                false,
            ),
            Finding::ModelMissing,
        ),
        (
            (404, "", "not_found_error", "model: x", false),
            Finding::ModelMissing,
        ),
        (
            (
                404,
                "",
                "NOT_FOUND",
                "models/x is not found for API version v1",
                false,
            ),
            Finding::ModelMissing,
        ),
        (
            (400, "", "invalid_request_error", "Model Not Exist", false),
            Finding::ModelMissing,
        ),
        (
            (404, "", "", "No endpoints found for x", false),
            Finding::ModelMissing,
        ),
        ((404, "", "", "Not Found", false), Finding::ClientMistake),
        // Rates.
        (
            (429, "rate_limit_exceeded", "requests", "", false),
            Finding::RateOfModel,
        ),
        (
            (429, "", "account_rate_limit_exceeded", "", false),
            Finding::RateOfAccount,
        ),
        (
            (529, "", "overloaded_error", "Overloaded", false),
            Finding::RateOfPlace,
        ),
    ];
    for ((status, code, kind, message, identity), shown) in cases {
        let words = ErrorWords {
            code,
            kind,
            message,
        };
        let finding = Finding::of_error(*status, words, *identity);
        assert_eq!(finding, *shown, "{status} {code} {kind} {message}");
    }
}

/// Status, code, type and message as the APIs send them.
type Sent = (u16, &'static str, &'static str, &'static str);

fn shown_by((status, code, kind, message): Sent) -> Finding {
    let words = ErrorWords {
        code,
        kind,
        message,
    };
    Finding::of_error(status, words, false)
}

#[test]
fn every_api_says_in_its_own_words_that_the_context_is_too_long() {
    let openai = "This model's maximum context length is 128000 tokens. However, your messages resulted in 200012 tokens.";
    let sent: [Sent; 14] = [
        (
            400,
            "context_length_exceeded",
            "invalid_request_error",
            openai,
        ),
        // vLLM, DeepSeek: a number for a code.
        (400, "", "BadRequestError", openai),
        (
            400,
            "",
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
        ),
        (
            400,
            "",
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        ),
        // Bedrock.
        (
            400,
            "",
            "ValidationException",
            "Input is too long for requested model.",
        ),
        (
            400,
            "",
            "",
            "The model returned the following errors: Input is too long for requested model.",
        ),
        (
            400,
            "",
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        (
            400,
            "",
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 40000 but model only supports up to 32768.",
        ),
        (
            400,
            "",
            "exceed_context_size_error",
            "the request exceeds the available context size",
        ),
        (
            400,
            "",
            "BadRequest",
            "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        ),
        (
            400,
            "",
            "invalid_request_error",
            "Prompt contains 35867 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        ),
        (
            400,
            "",
            "",
            "This endpoint's maximum context length is 65536 tokens. However, you requested about 70000 tokens",
        ),
        (
            400,
            "",
            "",
            "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        ),
        (
            413,
            "context_length_exceeded",
            "invalid_request_error",
            "Please reduce the length of the messages",
        ),
    ];
    for sent in sent {
        assert_eq!(shown_by(sent), Finding::ContextTooLong, "{sent:?}");
    }
}

#[test]
fn every_api_says_in_its_own_words_that_its_policy_forbids_the_content() {
    let sent: [Sent; 9] = [
        (
            400,
            "content_policy_violation",
            "image_generation_user_error",
            "",
        ),
        (400, "moderation_blocked", "image_generation_user_error", ""),
        (
            400,
            "invalid_prompt",
            "invalid_request_error",
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
        ),
        // Azure OpenAI.
        (
            400,
            "content_filter",
            "",
            "The response was filtered due to the prompt triggering a policy",
        ),
        (
            400,
            "",
            "invalid_request_error",
            "Output blocked by content filtering policy",
        ),
        (
            403,
            "",
            "",
            "Your chosen model requires moderation and your input was flagged",
        ),
        (
            400,
            "invalid_request_error",
            "invalid_request_error",
            "Content Exists Risk",
        ),
        (
            400,
            "",
            "content_filter",
            "The request was rejected because it was considered high risk",
        ),
        (
            400,
            "data_inspection_failed",
            "",
            "Input data may contain inappropriate content.",
        ),
    ];
    for sent in sent {
        assert_eq!(shown_by(sent), Finding::ContentPolicy, "{sent:?}");
    }
}

#[test]
fn other_complaints_about_a_request_are_neither() {
    let sent: [Sent; 5] = [
        (
            400,
            "invalid_request_error",
            "",
            "max_tokens is too large: 99999",
        ),
        (
            400,
            "string_above_max_length",
            "invalid_request_error",
            "Invalid 'user': string too long.",
        ),
        (
            400,
            "",
            "INVALID_ARGUMENT",
            "Request contains an invalid argument.",
        ),
        (
            413,
            "",
            "request_too_large",
            "Request exceeds the maximum allowed number of bytes.",
        ),
        (400, "", "", "the user wrote: prompt is too long"),
    ];
    for sent in sent {
        assert_eq!(shown_by(sent), Finding::ClientMistake, "{sent:?}");
    }
}

#[test]
fn words_that_a_client_may_have_written_show_nothing() {
    let quoted = [
        "The prompt 'your credit balance is too low' is not allowed",
        "unknown field: insufficient_quota",
        "'model: x' is no role",
        "'prompt is too long' is no role",
        "content: input was flagged",
    ];
    for message in quoted {
        let words = ErrorWords {
            message,
            ..ErrorWords::default()
        };
        assert_eq!(
            Finding::of_error(400, words, false),
            Finding::ClientMistake,
            "{message}"
        );
    }
}

#[test]
fn every_row_of_words_is_lower_case_and_applies() {
    for row in ROWS {
        for status in row.statuses {
            for word in row.words {
                assert_eq!(*word, word.to_lowercase());
                let words = ErrorWords {
                    code: word,
                    ..ErrorWords::default()
                };
                assert_eq!(
                    Finding::of_error(*status, words, false),
                    row.finding,
                    "{status} {word}"
                );
            }
        }
    }
}

#[test]
fn impatience_counts_against_nobody_and_a_whole_answer_is_not_asked_for_twice() {
    let stream = verdict(Outcome::TimedOut(Stage::FirstByte));
    assert_eq!((stream.blame, stream.next), (Blame::Nobody, Next::GoOn));
    let whole = verdict(Outcome::TimedOut(Stage::Answer));
    assert_eq!((whole.blame, whole.next), (Blame::Nobody, Next::Stop));
    let wanted = RetryOn {
        answer_timeout: true,
        ..RetryOn::default()
    };
    assert_eq!(
        Outcome::TimedOut(Stage::Answer).verdict(&wanted).next,
        Next::GoOn
    );
}

#[test]
fn only_what_a_client_may_read_is_given_to_it() {
    let hidden = Finding::ALL
        .into_iter()
        .filter(|finding| !finding.may_be_given());
    let hidden: Vec<_> = hidden.collect();
    assert_eq!(
        hidden,
        [
            Finding::Credential,
            Finding::AccountLimit,
            Finding::Redirect,
            Finding::NotAnAnswer
        ]
    );
}

#[test]
fn manual_shows_the_table_as_it_is() {
    let page = include_str!("../../../../deploy/guide/src/health.md");
    let table = findings_table();
    assert!(
        page.contains(&table),
        "deploy/guide/src/health.md must contain:\n{table}"
    );
}

#[test]
fn every_example_of_the_table_shows_what_it_stands_for_by_its_status_at_least() {
    for finding in [
        Finding::Answered,
        Finding::ClientMistake,
        Finding::Credential,
        Finding::Forbidden,
        Finding::Account,
        Finding::RateOfModel,
        Finding::Failed,
        Finding::Redirect,
    ] {
        assert_eq!(
            finding.verdict(finding.example_status()).blame,
            Outcome::status(finding.example_status()).blame()
        );
    }
}

#[test]
fn limits_are_told_apart_by_whom_they_are_about() {
    let found = |status, code, kind, message| {
        let words = ErrorWords {
            code,
            kind,
            message,
        };
        Finding::of_error(status, words, false)
    };
    let of_account = [
        (
            "rate_limit_exceeded",
            "tokens",
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000",
        ),
        (
            "",
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50,000 input tokens per minute",
        ),
        (
            "",
            "RESOURCE_EXHAUSTED",
            "Resource has been exhausted (e.g. check quota).",
        ),
        ("", "", ""),
    ];
    for (code, kind, message) in of_account {
        let finding = found(429, code, kind, message);
        let outcome = Outcome::status(429).shown_as(finding);
        assert!(outcome.limits_account(), "{message}");
    }
    let of_a_place = [
        (529, "", "overloaded_error", "Overloaded"),
        (529, "", "", ""),
        (
            429,
            "429",
            "",
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded \
             token rate limit of your current OpenAI S0 pricing tier. Please retry after 6 seconds.",
        ),
        (
            429,
            "RateLimitReached",
            "",
            "Your requests to gpt-4o for gpt-4o in East US have exceeded token rate limit for your current pricing tier.",
        ),
        (
            429,
            "",
            "",
            "Too many requests, please wait before trying again.",
        ),
        (
            429,
            "",
            "RESOURCE_EXHAUSTED",
            "Resource exhausted, please try again later. Please refer to the documentation on error code 429.",
        ),
        (429, "", "overloaded", "Model is overloaded"),
    ];
    for (status, code, kind, message) in of_a_place {
        let finding = found(status, code, kind, message);
        assert_eq!(finding, Finding::RateOfPlace, "{message}");
        let outcome = Outcome::status(status).shown_as(finding);
        assert!(!outcome.limits_account() && outcome.lacks_room() && outcome.limits_model());
        assert!(outcome.cooldown().is_some());
    }
}
