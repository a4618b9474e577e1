//! Log probabilities: `logprobsResult` here, a list of `content` in the hub, as chat completions writes it.

use serde_json::{Value, json};

use crate::grammar::Object;

/// The hub's form of `logprobsResult`.
pub(super) fn read(result: &Value) -> Value {
    let chosen = result["chosenCandidates"].as_array();
    let top = result["topCandidates"].as_array();
    let tokens = chosen.into_iter().flatten().enumerate();
    let tokens = tokens.map(|(index, candidate)| {
        let others = top.and_then(|top| top.get(index)?["candidates"].as_array());
        let others = others.into_iter().flatten().map(read_token);
        let mut token = read_token(candidate);
        token.insert("top_logprobs".to_string(), objects(others));
        token
    });
    json!({"content": objects(tokens)})
}

/// `logprobsResult` of the hub's form; nothing if it is none.
pub(super) fn write(logprobs: &Value) -> Option<Value> {
    let tokens = logprobs["content"].as_array()?;
    let chosen = tokens.iter().map(write_token);
    let top = tokens.iter().map(|token| {
        let others = token["top_logprobs"].as_array();
        let mut entry = Object::new();
        let others = others.into_iter().flatten().map(write_token);
        entry.insert("candidates".to_string(), objects(others));
        entry
    });
    Some(json!({"chosenCandidates": objects(chosen), "topCandidates": objects(top)}))
}

fn objects(list: impl Iterator<Item = Object>) -> Value {
    Value::Array(list.map(Value::Object).collect())
}

fn read_token(candidate: &Value) -> Object {
    let text = candidate["token"].as_str().unwrap_or_default();
    let mut token = Object::new();
    token.insert("token".to_string(), json!(text));
    let logprob = number(&candidate["logProbability"]);
    token.insert("logprob".to_string(), logprob);
    token.insert("bytes".to_string(), json!(text.as_bytes()));
    token
}

fn write_token(token: &Value) -> Object {
    let mut candidate = Object::new();
    candidate.insert("token".to_string(), token["token"].clone());
    candidate.insert("logProbability".to_string(), number(&token["logprob"]));
    candidate
}

// Google's JSON leaves a zero out.
fn number(value: &Value) -> Value {
    match value {
        Value::Number(_) => value.clone(),
        _ => json!(0.0),
    }
}
