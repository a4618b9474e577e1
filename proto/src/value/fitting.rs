//! The payload of an upstream within its limit of bytes.

use grapevine_core::fact::UpstreamFact;
use grapevine_core::ids::ModelName;

use super::further::FurtherPayload;
use super::models_out::ModelsOut;
use super::{Payload, UpstreamPayload, json};

/// The payload of `fact` with as much of its models as fits: first go the further figures, those of models before the others, then the rests of its account and what stands
/// against models that clients name, then the times, then what stands against the others, then models.
pub(super) fn fitting(fact: &UpstreamFact, bytes_max: usize) -> Payload {
    let mut payload = UpstreamPayload::from_fact(fact);
    let complete = |payload: &UpstreamPayload| {
        let json = json(payload);
        (json.len() <= bytes_max).then_some(Payload {
            json,
            models_left_out: 0,
        })
    };
    if let Some(complete) = complete(&payload) {
        return complete;
    }
    payload.more.leave_models_out();
    if let Some(complete) = complete(&payload) {
        return complete;
    }
    payload.more = FurtherPayload::default();
    if let Some(complete) = complete(&payload) {
        return complete;
    }
    if let Some(account) = &mut payload.account {
        account.leave_rests_out();
    }
    payload.models_out.keep_listed(&fact.models);
    if let Some(complete) = complete(&payload) {
        return complete;
    }
    let times: Vec<_> = payload.models.values_mut().map(Option::take).collect();
    if let Some(complete) = complete(&payload) {
        return complete;
    }
    payload.models_out = ModelsOut::default();
    for (model, time) in payload.models.values_mut().zip(times) {
        *model = time;
    }
    if let Some(complete) = complete(&payload) {
        return complete;
    }
    let models = std::mem::take(&mut payload.models);
    let mut bytes = json(&payload).len() + r#","models":{}"#.len();
    let (any, named): (Vec<_>, Vec<_>) = models
        .into_keys()
        .partition(|model| model == ModelName::ANY);
    let total = any.len() + named.len();
    for model in any.into_iter().chain(named) {
        // `"model":0,`; the first needs no comma, which leaves one byte unused.
        bytes += json(&model).len() + 3;
        if bytes > bytes_max {
            break;
        }
        payload.models.insert(model, None);
    }
    Payload {
        models_left_out: total - payload.models.len(),
        json: json(&payload),
    }
}
