//! Fields of requests that not every dialect has a counterpart of.
//!
//! Each dialect lists those that it lacks, with the reason that a client reads; whether one of them says anything is
//! decided here.

use serde_json::Number;

use crate::hub::request::HubRequest;
use crate::loss::LossList;

/// A field of a request.
#[derive(Clone, Copy)]
pub(crate) enum RequestField {
    FrequencyPenalty,
    PresencePenalty,
    Seed,
    TopK,
    Stop,
    Answers,
    Logprobs,
    TopLogprobs,
    ParallelToolCalls,
    Verbosity,
    User,
    SafetyIdentifier,
    Metadata,
    PromptCacheKey,
    Store,
}

/// Names as lost what `request` says in the fields that a dialect lacks.
pub(crate) fn lose(
    request: &HubRequest,
    lacked: &[(RequestField, &'static str)],
    losses: &mut LossList,
) {
    for (field, reason) in lacked {
        if is_said(request, *field) {
            losses.add(request.rest.at(name(*field)), *reason);
        }
    }
}

const fn name(field: RequestField) -> &'static str {
    match field {
        RequestField::FrequencyPenalty => "frequency_penalty",
        RequestField::PresencePenalty => "presence_penalty",
        RequestField::Seed => "seed",
        RequestField::TopK => "top_k",
        RequestField::Stop => "stop",
        RequestField::Answers => "answers",
        RequestField::Logprobs => "logprobs",
        RequestField::TopLogprobs => "top_logprobs",
        RequestField::ParallelToolCalls => "parallel_tool_calls",
        RequestField::Verbosity => "verbosity",
        RequestField::User => "user",
        RequestField::SafetyIdentifier => "safety_identifier",
        RequestField::Metadata => "metadata",
        RequestField::PromptCacheKey => "prompt_cache_key",
        RequestField::Store => "store",
    }
}

// What every dialect does without being asked says nothing.
fn is_said(request: &HubRequest, field: RequestField) -> bool {
    let sampling = &request.sampling;
    let is_penalty = |number: &Number| number.as_f64() != Some(0.0);
    match field {
        RequestField::FrequencyPenalty => {
            sampling.frequency_penalty.as_ref().is_some_and(is_penalty)
        }
        RequestField::PresencePenalty => sampling.presence_penalty.as_ref().is_some_and(is_penalty),
        RequestField::Seed => sampling.seed.is_some(),
        RequestField::TopK => sampling.top_k.is_some(),
        RequestField::Stop => !request.stop.is_empty(),
        RequestField::Answers => request.answers.is_some_and(|answers| answers != 1),
        RequestField::Logprobs => request.logprobs == Some(true),
        RequestField::TopLogprobs => request.top_logprobs.is_some(),
        RequestField::ParallelToolCalls => request.parallel_tool_calls == Some(false),
        RequestField::Verbosity => request
            .verbosity
            .as_deref()
            .is_some_and(|word| word != "medium"),
        RequestField::User => request.user.is_some(),
        RequestField::SafetyIdentifier => request.safety_identifier.is_some(),
        RequestField::Metadata => request
            .metadata
            .as_ref()
            .is_some_and(|labels| !labels.is_empty()),
        RequestField::PromptCacheKey => request.prompt_cache_key.is_some(),
        RequestField::Store => request.store == Some(true),
    }
}
