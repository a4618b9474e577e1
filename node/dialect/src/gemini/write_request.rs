//! Writes a request for content. Neither model nor stream stands in the body: the path names both.

use serde_json::{Value, json};

use super::names::{SERVICE_TIER, SYSTEM};
use super::{DIALECT, content, tools, write_config, write_parts, write_turns};
use crate::cache_mark;
use crate::fields::put;
use crate::grammar::Object;
use crate::hub::request::HubRequest;
use crate::loss::LossList;
use crate::unsayable::{self, RequestField};

/// What the dialect lacks, and what a client reads about that.
const UNSAYABLE: [(RequestField, &str); 7] = [
    (
        RequestField::ParallelToolCalls,
        "gemini calls several functions at its own will",
    ),
    (RequestField::Verbosity, "gemini has no verbosity"),
    (RequestField::User, "gemini takes no id of a user"),
    (
        RequestField::SafetyIdentifier,
        "gemini takes no id of a user",
    ),
    (
        RequestField::Metadata,
        "gemini takes no labels, save on Vertex",
    ),
    (RequestField::PromptCacheKey, "gemini has no cache keys"),
    (RequestField::Store, "gemini keeps no answers"),
];

pub(super) fn write(request: &HubRequest, losses: &mut LossList) -> Object {
    let mut body = Object::new();
    if request.rest.is_from(DIALECT) {
        write_home(request, &mut body, losses);
    } else {
        let (system, contents) = write_turns::foreign(request, losses);
        put(&mut body, SYSTEM.camel(), system);
        body.insert("contents".to_string(), Value::Array(contents));
        let functions = tools::write_foreign(&request.tools, losses);
        let has_functions = functions.is_some();
        put(&mut body, "tools", functions);
        if has_functions {
            tools::write_selection(request, &mut body, losses);
        }
        write_tier(request, &mut body, losses);
        unsayable::lose(request, &UNSAYABLE, losses);
        cache_mark::lose(request.cache.as_ref(), losses);
    }
    write_config::write(request, &mut body, losses);
    request.rest.write(DIALECT, &mut body, losses);
    body
}

fn write_home(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let rest = &request.rest;
    let model = request.model.clone();
    let is_in_body = rest.form(DIALECT, "model").is_some();
    put(body, "model", model.filter(|_| is_in_body));
    let turns = request.turns.iter();
    let mut contents: Vec<Value> = turns.map(|turn| content::write(turn, losses)).collect();
    let contents = match contents.pop() {
        Some(only) if rest.form(DIALECT, "contents").is_some() => only,
        last => {
            contents.extend(last);
            Value::Array(contents)
        }
    };
    body.insert("contents".to_string(), contents);
    write_instructions(request, body, losses);
    let tools = tools::write_home(&request.tools, losses);
    if !tools.is_empty() {
        body.insert("tools".to_string(), Value::Array(tools));
    }
    tools::write_selection(request, body, losses);
    put(body, "labels", request.metadata.clone());
    let tier = SERVICE_TIER.in_rest(rest);
    put(body, tier, request.service_tier.clone());
}

fn write_instructions(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let field = SYSTEM.in_rest(&request.rest);
    let parts = &request.instructions;
    let Some(first) = parts.first() else { return };
    let value = match request.rest.form(DIALECT, "instructions") {
        Some("string") => json!(first.text()),
        Some("part") => {
            let mut written = write_parts::write_home(parts, losses);
            written.pop().unwrap_or_default()
        }
        Some(_) => Value::Array(write_parts::write_home(parts, losses)),
        None => {
            let mut content = Object::new();
            let kept = request.rest.nested(field);
            let rest = kept.unwrap_or(&request.rest);
            content::write_parts(parts, rest, &mut content, losses);
            Value::Object(content)
        }
    };
    body.insert(field.to_string(), value);
}

fn write_tier(request: &HubRequest, body: &mut Object, losses: &mut LossList) {
    let tier = match request.service_tier.as_deref() {
        Some("default" | "standard" | "standard_only") => Some("standard"),
        Some(tier @ ("flex" | "priority")) => Some(tier),
        Some("auto") | None => None,
        Some(_) => {
            losses.add(request.rest.at("service_tier"), "gemini has no such tier");
            None
        }
    };
    put(body, SERVICE_TIER.camel(), tier);
}
