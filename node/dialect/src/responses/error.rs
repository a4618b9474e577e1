//! Errors of responses: `{"error": {"message", "type", "param", "code"}}` as a body, `{"code", "message"}` in a
//! response that failed, and the same with a `param` as an event of a stream.

use serde_json::{Value, json};

use super::DIALECT;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::error::{ErrorKind, ReportedError};

/// Reads an error's body; nothing if it is none.
pub(super) fn read(status: u16, body: Object) -> Option<ReportedError> {
    let mut fields = Fields::of(DIALECT, "", body);
    if let Some(message) = fields.text("error") {
        // Some servers say no more than this.
        let mut error = ReportedError::new(ErrorKind::of_status(status), message, DIALECT);
        fields.set_form("error", "string");
        error.rest = fields.finish();
        return Some(error);
    }
    let mut inside = fields.enter("error")?;
    let has_message = inside.peek("message").is_some_and(Value::is_string);
    let mut error = read_inside(&mut inside, Some(status));
    if !has_message {
        fields.set_form("message", "absent");
    }
    error.word = inside.text("type");
    let by_word = error.word.as_deref().and_then(kind_of_word);
    if error.code.as_ref().and_then(kind_of_code).is_none()
        && let Some(kind) = by_word
    {
        error.kind = kind;
    }
    fields.leave("error", inside);
    error.rest = fields.finish();
    Some(error)
}

/// Reads what a failed response or an event of a stream says.
pub(super) fn read_report(object: Object) -> ReportedError {
    let mut fields = Fields::of(DIALECT, "error", object);
    // Some servers put the body of an error into the event.
    match fields.enter("error") {
        Some(mut inside) => read_inside(&mut inside, None),
        None => read_inside(&mut fields, None),
    }
}

fn read_inside(fields: &mut Fields, status: Option<u16>) -> ReportedError {
    let message = fields.text("message").unwrap_or_default();
    let code = fields.take("code");
    let by_status = || status.map_or(ErrorKind::Internal, ErrorKind::of_status);
    let kind = code
        .as_ref()
        .and_then(kind_of_code)
        .unwrap_or_else(by_status);
    let mut error = ReportedError::new(kind, message, DIALECT);
    error.code = code;
    error.parameter = fields.text("param");
    error
}

fn kind_of_code(code: &Value) -> Option<ErrorKind> {
    if let Some(status) = code.as_u64().and_then(|code| u16::try_from(code).ok()) {
        return (400..600)
            .contains(&status)
            .then(|| ErrorKind::of_status(status));
    }
    kind_of_word(code.as_str()?)
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
        "server_is_overloaded" | "slow_down" | "overloaded_error" => ErrorKind::Overloaded,
        "timeout" | "timeout_error" => ErrorKind::Timeout,
        "invalid_prompt" | "context_length_exceeded" | "invalid_image" | "invalid_image_url" => {
            ErrorKind::InvalidRequest
        }
        _ => return None,
    })
}

/// Writes an error's body.
pub(super) fn write(error: &ReportedError) -> Object {
    let mut body = Object::new();
    let mut losses = Default::default();
    // One that nobody read has no form of its own yet.
    let is_home = error.rest.is_from(DIALECT) && !error.rest.is_empty();
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
        inside.insert("type".to_string(), json!(word_of(error.kind)));
        let code = json!(code_of(error.kind));
        inside.entry("code").or_insert(code);
        inside.entry("param").or_insert(Value::Null);
    }
    body.insert("error".to_string(), Value::Object(inside));
    error.rest.write(DIALECT, &mut body, &mut losses);
    if !is_home {
        put(&mut body, "request_id", error.request_id.clone());
    }
    body
}

/// What a failed response says of its error.
pub(super) fn write_report(error: &ReportedError) -> Object {
    let code = match &error.code {
        Some(Value::String(code)) if !code.is_empty() => code,
        _ if error.kind == ErrorKind::InvalidRequest => "invalid_prompt",
        _ => code_of(error.kind).unwrap_or("server_error"),
    };
    let mut report = Object::new();
    report.insert("code".to_string(), json!(code));
    report.insert("message".to_string(), json!(error.message));
    report
}

const fn word_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::RequestTooLarge => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Quota => "insufficient_quota",
        ErrorKind::Internal | ErrorKind::Overloaded | ErrorKind::Timeout => "server_error",
    }
}

// Tells kinds apart that share a type.
const fn code_of(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Authentication => Some("invalid_api_key"),
        ErrorKind::Billing => Some("billing_error"),
        ErrorKind::Permission => Some("permission_denied"),
        ErrorKind::NotFound => Some("not_found_error"),
        ErrorKind::RequestTooLarge => Some("request_too_large"),
        ErrorKind::RateLimit => Some("rate_limit_exceeded"),
        ErrorKind::Quota => Some("insufficient_quota"),
        ErrorKind::Overloaded => Some("server_is_overloaded"),
        ErrorKind::Timeout => Some("timeout_error"),
        ErrorKind::InvalidRequest | ErrorKind::Internal => None,
    }
}
