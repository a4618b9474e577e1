//! Errors: `{"error": {"code", "message", "status", "details"}}`. The code is the HTTP status, the status a word.

use serde_json::{Value, json};

use super::DIALECT;
use crate::fields::Fields;
use crate::grammar::Object;
use crate::hub::error::{ErrorKind, ReportedError};

/// Reads an error's body, which is also what a stream says; nothing if there is none.
pub(super) fn read(status: Option<u16>, body: Object) -> Option<ReportedError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let mut inside = fields.enter("error")?;
    let message = inside.text("message");
    if message.is_none() {
        fields.set_form("message", "absent");
    }
    let word = inside.text("status");
    let code = inside.peek("code").and_then(Value::as_u64);
    let code = code.and_then(|code| u16::try_from(code).ok());
    let details = inside.peek("details");
    let kind = kind(word.as_deref(), details, status.or(code));
    let parameter = details.and_then(parameter);
    let mut error = ReportedError::new(kind, message.unwrap_or_default(), DIALECT);
    error.word = word;
    error.parameter = parameter;
    fields.leave("error", inside);
    error.rest = fields.finish();
    Some(error)
}

// A wrong key is an invalid argument to Google; the details say that it is the key.
fn kind(word: Option<&str>, details: Option<&Value>, status: Option<u16>) -> ErrorKind {
    let details = details.and_then(Value::as_array);
    let has_reason = |reason: &str| {
        let mut details = details.into_iter().flatten();
        details.any(|detail| detail["reason"] == reason)
    };
    if has_reason("API_KEY_INVALID") {
        return ErrorKind::Authentication;
    }
    let by_status = || status.map_or(ErrorKind::Internal, ErrorKind::of_status);
    word.and_then(kind_of_word).unwrap_or_else(by_status)
}

fn kind_of_word(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => ErrorKind::InvalidRequest,
        "UNAUTHENTICATED" => ErrorKind::Authentication,
        "PERMISSION_DENIED" => ErrorKind::Permission,
        "NOT_FOUND" => ErrorKind::NotFound,
        "RESOURCE_EXHAUSTED" => ErrorKind::RateLimit,
        "UNAVAILABLE" => ErrorKind::Overloaded,
        "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" => ErrorKind::Internal,
        _ => return None,
    })
}

fn parameter(details: &Value) -> Option<String> {
    let mut details = details.as_array()?.iter();
    let violation = details.find_map(|detail| detail["fieldViolations"].as_array()?.first())?;
    violation["field"].as_str().map(ToString::to_string)
}

/// Writes an error's body.
pub(super) fn write(error: &ReportedError) -> Object {
    // One that nobody read has no form of its own yet.
    let is_home = error.rest.is_from(DIALECT) && !error.rest.is_empty();
    let mut body = Object::new();
    let mut inside = Object::new();
    if error.rest.form(DIALECT, "message").is_none() {
        inside.insert("message".to_string(), json!(error.message));
    }
    if let Some(word) = error.word.as_ref().filter(|_| is_home) {
        inside.insert("status".to_string(), json!(word));
    }
    if !is_home {
        let (code, word) = words(error.kind);
        inside.insert("code".to_string(), json!(code));
        inside.insert("status".to_string(), json!(word));
    }
    body.insert("error".to_string(), Value::Object(inside));
    error
        .rest
        .write(DIALECT, &mut body, &mut Default::default());
    body
}

// The code and the status of a kind.
const fn words(kind: ErrorKind) -> (u16, &'static str) {
    let word = match kind {
        ErrorKind::InvalidRequest | ErrorKind::RequestTooLarge => "INVALID_ARGUMENT",
        ErrorKind::Authentication => "UNAUTHENTICATED",
        ErrorKind::Billing => "FAILED_PRECONDITION",
        ErrorKind::Permission => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::RateLimit | ErrorKind::Quota => "RESOURCE_EXHAUSTED",
        ErrorKind::Internal => "INTERNAL",
        ErrorKind::Overloaded => return (503, "UNAVAILABLE"),
        ErrorKind::Timeout => "DEADLINE_EXCEEDED",
    };
    (kind.status(), word)
}
