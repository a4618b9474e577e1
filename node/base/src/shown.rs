//! What an upstream's answer shows beyond its status: its error's words, or that it is no answer.
//!
//! Both nodes of a hop read it for themselves, so that nothing of it crosses. An error's body is read up to
//! [`PEEK_BYTES`] and for at most [`PEEK_TIME`], and then put back: the client gets every byte of it. Of a success only
//! the first piece is looked at, which is at hand anyway.

use std::time::Duration;

use grapevine_core::outcome::{ErrorWords, Finding};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::Instant;

use crate::asked::usage;
use crate::exchange::{Answer, AnswerBody};
use crate::headers::MediaType;
use crate::headers::ReadHeaders;
use crate::peeked::Peeked;

/// How much of an error's body is read. All that was seen in the wild fits.
const PEEK_BYTES: usize = 16 * 1_024;

/// How long that may take; what has not come until then does not count.
const PEEK_TIME: Duration = Duration::from_secs(1);

/// The longest code that is shown to the operator.
const CODE_BYTES_MAX: usize = 64;

/// Headers by which a client names an organization or a project of its own.
static IDENTITY_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
];

/// What an error answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whose fault it is.
    pub finding: Finding,
    /// The status with the error's code, or where a redirect leads, for the operator. Holds nothing of the message,
    /// which may quote a prompt or a key.
    pub detail: Option<String>,
    /// Whether the error is about the option that asks a stream for its token counts.
    pub refuses_usage_option: bool,
}

/// Whether a request's headers name an organization or a project of the client's own.
fn names_identity(headers: &HeaderMap) -> bool {
    IDENTITY_HEADERS
        .iter()
        .any(|name| headers.contains_key(name))
}

/// What `answer` shows by its head, and where it is an error by its body too. Its body is whole afterwards.
///
/// `asked` are the headers of its request.
pub async fn by_answer(answer: &mut Answer, asked: &HeaderMap) -> Shown {
    let status = answer.status.as_u16();
    let by_status = Finding::of_status(status);
    if by_status == Finding::Redirect {
        let location = answer.headers.get(header::LOCATION);
        return Shown {
            finding: by_status,
            detail: Some(redirect(status, location.and_then(|it| it.to_str().ok()))),
            refuses_usage_option: false,
        };
    }
    if status < 400 {
        return Shown {
            finding: by_status,
            detail: None,
            refuses_usage_option: false,
        };
    }
    if answer.headers.contains_key(crate::headers::ACCOUNT_LIMIT) {
        return Shown {
            finding: Finding::AccountLimit,
            detail: Some(format!("{status} account_limit_reached")),
            refuses_usage_option: false,
        };
    }
    let body = std::mem::take(&mut answer.body);
    let (read, body) = peek(body).await;
    answer.body = AnswerBody::new(body);
    // A translation keeps the message at most: the upstream's own words say more.
    let own = answer.headers.get(crate::headers::UPSTREAM_ERROR);
    let own = own.and_then(|own| ErrorText::read(own.as_bytes()));
    let error = own.or_else(|| ErrorText::read(&read)).unwrap_or_default();
    Shown {
        finding: Finding::of_error(status, error.words(), names_identity(asked)),
        detail: Some(error.shown(status)),
        refuses_usage_option: matches!(status, 400 | 422) && usage::is_named_in(&read),
    }
}

/// What the first piece of an answer with the status of a success shows, where it is none; `None` for an answer, and
/// for what cannot be told from one.
///
/// `first` is `None` where the body ended before any piece.
pub fn by_first_piece(
    status: StatusCode,
    headers: &impl ReadHeaders,
    first: Option<&[u8]>,
) -> Option<Finding> {
    let status = status.as_u16();
    if !(200..300).contains(&status) || matches!(status, 204 | 205) {
        return None;
    }
    let Some(first) = first else {
        return Some(Finding::NotAnAnswer);
    };
    let kind = MediaType::of(headers);
    if kind.is("text/html") {
        return Some(Finding::NotAnAnswer);
    }
    let text = first.trim_ascii_start();
    if kind.is("text/event-stream") {
        return hidden(first_data(text)?);
    }
    hidden(text)
}

/// What `json` shows where it is an error and nothing else.
fn hidden(json: &[u8]) -> Option<Finding> {
    /// An error says so at once; an answer that has an `error` among its fields begins with others.
    const LOOK_AT: usize = 48;
    const KEY: &[u8] = b"\"error\"";
    let head = &json[..json.len().min(LOOK_AT)];
    // Compared in each place: to prepare a search takes longer than this little text.
    if !head.starts_with(b"{") || !head.windows(KEY.len()).any(|text| text == KEY) {
        return None;
    }
    let value: Value = serde_json::from_slice(json.trim_ascii_end()).ok()?;
    let is_answer = ["choices", "output", "content", "data", "object"];
    let is_error = value.get("error").is_some_and(|error| !error.is_null())
        || value.get("type").is_some_and(|kind| kind == "error");
    if !is_error || is_answer.iter().any(|field| value.get(field).is_some()) {
        return None;
    }
    let error = ErrorText::of(&value);
    Some(Finding::of_hidden_error(error.status, error.words()))
}

/// The data of the first event, without the name of the field.
fn first_data(text: &[u8]) -> Option<&[u8]> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"data:"))?;
    Some(line.trim_ascii())
}

fn redirect(status: u16, location: Option<&str>) -> String {
    let host = location
        .and_then(|location| location.parse::<http::Uri>().ok())
        .and_then(|uri| Some(uri.authority()?.host().to_owned()));
    match host {
        Some(host) => format!("{status}: answers with a redirect to {host}: set base_url to it"),
        None => format!("{status}: answers with a redirect: base_url is not the API's"),
    }
}

/// The words of an error, of whatever API.
#[derive(Default)]
struct ErrorText {
    /// A status that the body names.
    status: Option<u16>,
    code: String,
    kind: String,
    message: String,
}

impl ErrorText {
    fn read(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        Some(Self::of(&value))
    }

    fn of(value: &Value) -> Self {
        // Google's streams begin with a list.
        let value = value.get(0).unwrap_or(value);
        let error = match value.get("error") {
            Some(error @ Value::Object(_)) => error,
            _ => value,
        };
        let text = |field: &str| error.get(field).and_then(Value::as_str).unwrap_or_default();
        let code = error.get("code").or_else(|| error.get("status"));
        let number = code.and_then(|code| {
            let number = code.as_u64().or_else(|| code.as_str()?.parse().ok());
            number.and_then(|number| u16::try_from(number).ok())
        });
        let kind = match text("type") {
            "" => text("status"),
            kind => kind,
        };
        // `{"error": "text"}` and `{"detail": "text"}` have no more.
        let bare = ["error", "detail"].map(|field| value.get(field).and_then(Value::as_str));
        let bare = bare.into_iter().flatten().next().unwrap_or_default();
        Self {
            status: number.filter(|number| (400..600).contains(number)),
            code: text("code").to_owned(),
            kind: kind.to_owned(),
            message: match text("message") {
                "" => bare.to_owned(),
                message => message.to_owned(),
            },
        }
    }

    fn words(&self) -> ErrorWords<'_> {
        ErrorWords {
            code: &self.code,
            kind: &self.kind,
            message: &self.message,
        }
    }

    fn shown(&self, status: u16) -> String {
        let word = [&self.code, &self.kind]
            .into_iter()
            .find(|word| is_plain(word));
        word.map_or_else(|| status.to_string(), |word| format!("{status} {word}"))
    }
}

/// Whether `word` is a code as APIs write them, and no text of a client's.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !word.is_empty() && word.len() <= CODE_BYTES_MAX && word.bytes().all(plain)
}

/// The beginning of `body`, and the whole of it to be read again.
async fn peek(mut body: AnswerBody) -> (Vec<u8>, Peeked) {
    let mut peeked = Peeked::default();
    let mut read = Vec::new();
    let until = Instant::now() + PEEK_TIME;
    while read.len() < PEEK_BYTES {
        match tokio::time::timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let room = PEEK_BYTES - read.len();
                    read.extend_from_slice(&data[..data.len().min(room)]);
                }
                peeked.frames.push_back(frame);
            }
            Ok(Some(Err(failure))) => {
                peeked.failure = Some(failure);
                return (read, peeked);
            }
            Ok(None) => return (read, peeked),
            Err(_) => break,
        }
    }
    peeked.rest = Some(body);
    (read, peeked)
}

#[cfg(test)]
mod tests;
