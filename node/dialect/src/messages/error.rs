//! Errors of messages: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

use serde_json::json;

use super::DIALECT;
use crate::fields::Fields;
use crate::fields::put;
use crate::grammar::Object;
use crate::hub::error::{ErrorKind, ReportedError};

/// Reads an error's body, which is also what a stream says.
pub(super) fn read(status: Option<u16>, body: Object) -> Option<ReportedError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut inside = fields.enter("error")?;
    let message = inside.text("message");
    if message.is_none() {
        fields.set_form("message", "absent");
    }
    let message = message.unwrap_or_default();
    let word = inside.text("type");
    let by_status = || status.map_or(ErrorKind::Internal, ErrorKind::of_status);
    let kind = word
        .as_deref()
        .and_then(kind_of_word)
        .unwrap_or_else(by_status);
    let mut error = ReportedError::new(kind, message, DIALECT);
    error.word = word;
    error.request_id = fields.text("request_id");
    fields.leave("error", inside);
    fields.blank("type");
    error.rest = fields.finish();
    Some(error)
}

fn kind_of_word(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "invalid_request_error" => ErrorKind::InvalidRequest,
        "authentication_error" => ErrorKind::Authentication,
        "billing_error" => ErrorKind::Billing,
        "permission_error" => ErrorKind::Permission,
        "not_found_error" => ErrorKind::NotFound,
        "request_too_large" => ErrorKind::RequestTooLarge,
        "rate_limit_error" => ErrorKind::RateLimit,
        "api_error" => ErrorKind::Internal,
        "overloaded_error" => ErrorKind::Overloaded,
        "timeout_error" => ErrorKind::Timeout,
        _ => return None,
    })
}

/// Writes an error's body.
pub(super) fn write(error: &ReportedError) -> Object {
    let mut body = Object::new();
    let mut inside = Object::new();
    // One that nobody read has no form of its own yet.
    let is_home = error.rest.is_from(DIALECT) && !error.rest.is_empty();
    if error.rest.form(DIALECT, "message").is_none() {
        inside.insert("message".to_string(), json!(error.message));
    }
    let word = error.word.clone().filter(|_| is_home);
    let translated = (!is_home).then(|| word_of(error.kind).to_string());
    put(&mut inside, "type", word.or(translated));
    body.insert("error".to_string(), json!(inside));
    put(&mut body, "request_id", error.request_id.clone());
    error
        .rest
        .write(DIALECT, &mut body, &mut Default::default());
    if !is_home {
        body.insert("type".to_string(), json!("error"));
    }
    body
}

const fn word_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::RequestTooLarge => "request_too_large",
        ErrorKind::RateLimit | ErrorKind::Quota => "rate_limit_error",
        ErrorKind::Internal => "api_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Timeout => "timeout_error",
    }
}
