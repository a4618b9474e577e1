//! `GET /v1/models`: the models of the mesh, in the shape of the client's API.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_config::prices::PriceTable;
use grapevine_core::dialect::{Dialect, DialectSet};
use grapevine_core::ids::ModelName;
use grapevine_core::view::{Candidate, Routes, View};
use http::HeaderMap;
use serde_json::{Value, json};

use super::problem::Problem;
use grapevine_keys::rights::ClientKey;

/// Both APIs require a date; the mesh knows none, and it should be the same on every node.
const CREATED: u64 = 0;
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// Prices are of this many tokens.
const PRICED_TOKENS: u64 = 1_000_000;

/// What a node's configuration says of models, beside who serves them.
#[derive(Clone, Debug, Default)]
pub struct ModelNotes {
    /// The tokens that a request and its answer may have together.
    pub context_lengths: BTreeMap<ModelName, u64>,
    /// What models cost.
    pub prices: PriceTable,
}

impl ModelNotes {
    /// Adds what is said of `model` to its `entry`.
    fn add_to(&self, entry: &mut Value, model: &ModelName) {
        if let Some(tokens) = self.context_lengths.get(model) {
            entry["context_length"] = (*tokens).into();
        }
        if let Some(price) = self.prices.of(model) {
            entry["price"] = json!({
                "input": price.input.as_dollars(),
                "cached_input": price.cached_input.as_dollars(),
                "output": price.output.as_dollars(),
                "request": price.request.as_dollars(),
                "currency": "usd",
                "per_tokens": PRICED_TOKENS,
            });
        }
    }
}

/// The API whose list is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListShape {
    OpenAi,
    Anthropic,
}

impl ListShape {
    /// Anthropic's clients always send the version of their API.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key("anthropic-version") {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }
}

/// The list of models, or the one that `path` names.
///
/// # Errors
/// When there is no such model.
pub(super) fn answer(
    (view, notes): (&View, &ModelNotes),
    key: Option<&ClientKey>,
    path: &str,
    shape: ListShape,
) -> Result<Value, Problem> {
    let name = path
        .strip_prefix("/v1/models/")
        .filter(|name| !name.is_empty());
    let Some(name) = name else {
        return Ok(list((view, notes), key, shape));
    };
    let model = model_of(name);
    let found = model
        .as_ref()
        .and_then(|model| find((view, notes), key, model, shape));
    found.ok_or_else(|| match model {
        Some(_) if !view.settled => Problem::joining(),
        Some(model) => Problem::unknown_model(Some(&model), &[]),
        None => Problem::invalid(Some("model"), "the path names no model that could exist"),
    })
}

/// The models of `view` that the holder of `key` may use, in the order of their names.
fn list((view, notes): (&View, &ModelNotes), key: Option<&ClientKey>, shape: ListShape) -> Value {
    let models: Vec<Value> = view
        .models
        .iter()
        .filter(|(model, _)| is_shown(model, key))
        .map(|(model, routes)| entry(model, (routes, notes), shape))
        .collect();
    match shape {
        ListShape::OpenAi => json!({"object": "list", "data": models}),
        ListShape::Anthropic => {
            let id = |entry: Option<&Value>| entry.map(|entry| entry["id"].clone());
            json!({
                "first_id": id(models.first()),
                "last_id": id(models.last()),
                "has_more": false,
                "data": models,
            })
        }
    }
}

/// One model of `view`; `None` when it is not known or not for the holder of `key`.
fn find(
    (view, notes): (&View, &ModelNotes),
    key: Option<&ClientKey>,
    model: &ModelName,
    shape: ListShape,
) -> Option<Value> {
    let routes = view.models.get(model)?;
    is_shown(model, key).then(|| entry(model, (routes, notes), shape))
}

fn is_shown(model: &ModelName, key: Option<&ClientKey>) -> bool {
    !model.is_any() && key.is_none_or(|key| key.allows(model))
}

fn entry(model: &ModelName, (routes, notes): (&Routes, &ModelNotes), shape: ListShape) -> Value {
    let mut entry = match shape {
        ListShape::OpenAi => json!({
            "id": model.as_str(),
            "object": "model",
            "created": CREATED,
            "owned_by": regions(routes),
            "dialects": dialects(routes),
        }),
        ListShape::Anthropic => json!({
            "type": "model",
            "id": model.as_str(),
            "display_name": model.as_str(),
            "created_at": CREATED_AT,
            "dialects": dialects(routes),
        }),
    };
    notes.add_to(&mut entry, model);
    entry
}

/// The regions that serve a model, such as `jpn,sgp`.
fn regions(routes: &Routes) -> String {
    let regions: BTreeSet<&str> = candidates(routes)
        .map(|candidate| candidate.upstream.region.as_str())
        .collect();
    Vec::from_iter(regions).join(",")
}

/// The dialects that some upstream of a model reads; any other one is translated.
fn dialects(routes: &Routes) -> Vec<&'static str> {
    let each = candidates(routes).map(|candidate| candidate.upstream.dialects);
    let all = each.fold(DialectSet::NONE, DialectSet::with);
    all.iter().map(Dialect::name).collect()
}

/// Whoever serves a model, in whatever state.
fn candidates(routes: &Routes) -> impl Iterator<Item = &Candidate> {
    let each = routes.tiers.iter().flat_map(|tier| {
        let others = tier.suspect.iter().chain(&tier.unusable);
        tier.usable.iter().chain(others)
    });
    each.map(AsRef::as_ref)
}

/// A model's name from a path, `%` escapes resolved; `None` when it is not valid.
fn model_of(text: &str) -> Option<ModelName> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    ModelName::new(std::str::from_utf8(&bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_slash_in_a_models_name_is_resolved() {
        let name = |text: &str| model_of(text).map(|model| model.as_str().to_owned());
        assert_eq!(name("org%2Fm").as_deref(), Some("org/m"));
        assert_eq!(name("org/m").as_deref(), Some("org/m"));
        assert_eq!(name("m%2"), None);
        assert_eq!(name("m%zz"), None);
        assert_eq!(name("two%20w%C3%B6rter").as_deref(), Some("two wörter"));
        assert_eq!(name("%20"), None);
        assert_eq!(name("%ff"), None);
    }
}
