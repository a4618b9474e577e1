//! Errors of Bedrock: `{"message"}`, with what kind it is in the header `x-amzn-errortype`, or in the type of a
//! stream's exception.

use serde_json::json;

use super::DIALECT;
use crate::fields::Fields;
use crate::framing::EXCEPTION;
use crate::grammar::Object;
use crate::hub::error::{ErrorKind, ReportedError};

/// Reads an error's body. `name` is what the header or the stream calls it.
pub(super) fn read(status: Option<u16>, name: Option<&str>, body: Object) -> Option<ReportedError> {
    let mut fields = Fields::of(DIALECT, "", body);
    let word = name.or(fields.peek_text("__type"));
    let word = word.map(plain_name).filter(|word| !word.is_empty());
    let word = word.map(ToString::to_string);
    let mut message = fields.text("message");
    if message.is_none() {
        message = fields.text("Message");
        let form = if message.is_some() {
            "Message"
        } else {
            "absent"
        };
        fields.set_form("message", form);
    }
    if message.is_none() && word.is_none() {
        return None;
    }
    let by_status = || status.map_or(ErrorKind::Internal, ErrorKind::of_status);
    let kind = word.as_deref().and_then(kind_of_name);
    let message = message.unwrap_or_default();
    let mut error = ReportedError::new(kind.unwrap_or_else(by_status), message, DIALECT);
    error.word = word;
    error.rest = fields.finish();
    Some(error)
}

// `ThrottlingException:http://..` in the header, `com.amazon.coral#ThrottlingException` in a body.
fn plain_name(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

fn kind_of_name(name: &str) -> Option<ErrorKind> {
    let mut chars = name.chars();
    let first = chars.next()?.to_ascii_uppercase();
    let name = format!("{first}{}", chars.as_str());
    Some(match name.as_str() {
        "ValidationException" | "SerializationException" => ErrorKind::InvalidRequest,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException" => ErrorKind::Authentication,
        "AccessDeniedException" => ErrorKind::Permission,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "RequestEntityTooLargeException" => ErrorKind::RequestTooLarge,
        "ThrottlingException" | "TooManyRequestsException" => ErrorKind::RateLimit,
        "ServiceQuotaExceededException" => ErrorKind::Quota,
        "ServiceUnavailableException" | "ModelNotReadyException" => ErrorKind::Overloaded,
        "ModelTimeoutException" => ErrorKind::Timeout,
        "InternalServerException" | "ModelErrorException" | "ModelStreamErrorException" => {
            ErrorKind::Internal
        }
        _ => return None,
    })
}

/// Writes an error's body.
pub(super) fn write(error: &ReportedError) -> Object {
    let mut body = Object::new();
    match error.rest.form(DIALECT, "message") {
        Some("absent") if error.message.is_empty() => {}
        Some("Message") => drop(body.insert("Message".to_string(), json!(error.message))),
        _ => drop(body.insert("message".to_string(), json!(error.message))),
    }
    if error.rest.is_from(DIALECT) {
        error
            .rest
            .write(DIALECT, &mut body, &mut Default::default());
    }
    body
}

/// The name of an error in the header of an answer.
pub(super) fn header_name(error: &ReportedError) -> String {
    let name = match error.kind {
        ErrorKind::InvalidRequest | ErrorKind::RequestTooLarge => "ValidationException",
        ErrorKind::Authentication => "UnrecognizedClientException",
        ErrorKind::Billing | ErrorKind::Permission => "AccessDeniedException",
        ErrorKind::NotFound => "ResourceNotFoundException",
        ErrorKind::RateLimit => "ThrottlingException",
        ErrorKind::Quota => "ServiceQuotaExceededException",
        ErrorKind::Internal => "InternalServerException",
        ErrorKind::Overloaded => "ServiceUnavailableException",
        ErrorKind::Timeout => "ModelTimeoutException",
    };
    own_name(error).unwrap_or_else(|| name.to_string())
}

/// The name of an error within a stream, which has fewer.
pub(super) fn stream_name(error: &ReportedError) -> String {
    let name = match error.kind {
        ErrorKind::InvalidRequest
        | ErrorKind::RequestTooLarge
        | ErrorKind::Authentication
        | ErrorKind::Billing
        | ErrorKind::Permission
        | ErrorKind::NotFound => "validationException",
        ErrorKind::RateLimit | ErrorKind::Quota => "throttlingException",
        ErrorKind::Internal => "internalServerException",
        ErrorKind::Overloaded => "serviceUnavailableException",
        ErrorKind::Timeout => "modelStreamErrorException",
    };
    own_name(error)
        .filter(|name| is_exception(name))
        .unwrap_or_else(|| name.to_string())
}

/// Whether an event of this name is an error.
pub(super) fn is_exception(name: &str) -> bool {
    name.ends_with(EXCEPTION)
}

fn own_name(error: &ReportedError) -> Option<String> {
    error.word.clone().filter(|_| error.rest.is_from(DIALECT))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn kind(status: u16, name: Option<&str>, body: Value) -> Option<ErrorKind> {
        let body = body.as_object().cloned().unwrap_or_default();
        read(Some(status), name, body).map(|error| error.kind)
    }

    #[test]
    fn name_in_the_header_decides_and_then_the_status() {
        let name = "ServiceQuotaExceededException:http://internal.amazon.com/coral/";
        let body = json!({"message": "m"});
        assert_eq!(kind(400, Some(name), body.clone()), Some(ErrorKind::Quota));
        assert_eq!(kind(503, None, body.clone()), Some(ErrorKind::Overloaded));
        assert_eq!(
            kind(429, Some("NewException"), body),
            Some(ErrorKind::RateLimit)
        );
    }

    #[test]
    fn message_may_have_a_capital_and_the_name_may_stand_in_the_body() {
        assert_eq!(
            kind(403, None, json!({"Message": "m"})),
            Some(ErrorKind::Permission)
        );
        let named = json!({"__type": "a#ThrottlingException"});
        assert_eq!(kind(400, None, named), Some(ErrorKind::RateLimit));
        assert_eq!(kind(500, None, json!({"error": "m"})), None);
    }
}
