//! Errors of chat completions: `{"error": {"message", "type", "param", "code"}}`.

use serde_json::{Value, json};

use super::DIALECT;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::error::{ErrorKind, ReportedError};

/// Reads an error's body or the `error` of a stream; nothing if there is none.
pub(super) fn read(status: Option<u16>, body: Object) -> Option<ReportedError> {
    let mut fields = Fields::of(DIALECT, "", body);
    if let Some(message) = fields.text("error") {
        // Some servers say no more than this.
        let kind = status.map_or(ErrorKind::Internal, ErrorKind::of_status);
        let mut error = ReportedError::new(kind, message, DIALECT);
        fields.set_form("error", "string");
        error.rest = fields.finish();
        return Some(error);
    }
    let mut inside = fields.enter("error")?;
    let message = inside.text("message");
    if message.is_none() {
        fields.set_form("message", "absent");
    }
    let message = message.unwrap_or_default();
    let word = inside.text("type");
    let code = inside.take("code");
    let kind = kind(word.as_deref(), code.as_ref(), status);
    let mut error = ReportedError::new(kind, message, DIALECT);
    error.word = word;
    error.code = code;
    error.parameter = inside.text("param");
    fields.leave("error", inside);
    error.rest = fields.finish();
    Some(error)
}

fn kind(word: Option<&str>, code: Option<&Value>, status: Option<u16>) -> ErrorKind {
    let code_word = code.and_then(Value::as_str);
    let kind = [code_word, word]
        .into_iter()
        .flatten()
        .find_map(kind_of_word);
    if let Some(kind) = kind {
        return kind;
    }
    // In a stream the code may be the status that the answer would have had.
    let coded = code
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok());
    let coded = coded.filter(|code| (400..600).contains(code));
    match status.filter(|status| *status >= 400).or(coded) {
        Some(status) => ErrorKind::of_status(status),
        None if word == Some("invalid_request_error") => ErrorKind::InvalidRequest,
        None => ErrorKind::Internal,
    }
}

fn kind_of_word(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "invalid_api_key" | "authentication_error" => ErrorKind::Authentication,
        "billing_error" => ErrorKind::Billing,
        "permission_error" | "permission_denied" => ErrorKind::Permission,
        "model_not_found" | "not_found_error" => ErrorKind::NotFound,
        "request_too_large" => ErrorKind::RequestTooLarge,
        "rate_limit_exceeded" | "rate_limit_error" | "requests" | "tokens" => ErrorKind::RateLimit,
        "insufficient_quota" => ErrorKind::Quota,
        "overloaded_error" | "overloaded" | "service_unavailable" => ErrorKind::Overloaded,
        "timeout" | "timeout_error" => ErrorKind::Timeout,
        "context_length_exceeded" => ErrorKind::InvalidRequest,
        _ => return None,
    })
}

/// Writes an error's body, which is also what a stream says in place of a chunk.
pub(super) fn write(error: &ReportedError) -> Object {
    // One that nobody read has no form of its own yet.
    let is_home = error.rest.is_from(DIALECT) && !error.rest.is_empty();
    let mut body = Object::new();
    let mut losses = Default::default();
    if error.rest.form(DIALECT, "error").is_some() {
        body.insert("error".to_string(), json!(error.message));
        error.rest.write(DIALECT, &mut body, &mut losses);
        return body;
    }
    let mut inside = Object::new();
    if error.rest.form(DIALECT, "message").is_none() {
        inside.insert("message".to_string(), json!(error.message));
    }
    put(&mut inside, "type", error.word.clone().filter(|_| is_home));
    put(&mut inside, "code", error.code.clone());
    put(&mut inside, "param", error.parameter.clone());
    if !is_home {
        let (word, code) = words(error.kind);
        inside.insert("type".to_string(), json!(word));
        inside
            .entry("code")
            .or_insert_with(|| code.map_or(Value::Null, |code| json!(code)));
        inside.entry("param").or_insert(Value::Null);
    }
    body.insert("error".to_string(), Value::Object(inside));
    error.rest.write(DIALECT, &mut body, &mut losses);
    if !is_home {
        put(&mut body, "request_id", error.request_id.clone());
    }
    body
}

// `type` and `code` of a kind; the code tells kinds apart that share a type.
const fn words(kind: ErrorKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidRequest => ("invalid_request_error", None),
        ErrorKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::Billing => ("billing_error", Some("billing_error")),
        ErrorKind::Permission => ("permission_error", Some("permission_denied")),
        ErrorKind::NotFound => ("not_found_error", Some("not_found_error")),
        ErrorKind::RequestTooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Quota => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Internal => ("server_error", None),
        ErrorKind::Overloaded => ("server_error", Some("overloaded_error")),
        ErrorKind::Timeout => ("server_error", Some("timeout_error")),
    }
}
