//! One request of a batch, and its line of output.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use grapevine_base::exchange::CallApi;
use grapevine_base::headers;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::super::lenient::BYTE_ORDER_MARK;
use super::super::own;
use super::super::pace::jittered;
use super::super::store::NOTE_BYTES_MAX;
use super::super::task::NewTask;
use super::input::Line;

/// The error of a line, or of a batch, that may be why its workers died.
pub(super) const WORKER_LOST: &str = "worker_lost";

/// The longest answer that is kept, in bytes: a note holds it with its metadata.
const ANSWER_BYTES_MAX: usize = NOTE_BYTES_MAX - 64 * 1_024;

/// The longest name of a line in bytes.
const CUSTOM_ID_BYTES_MAX: usize = 512;

/// Attempts at one line, each through the mesh with all of its candidates.
const ATTEMPTS_MAX: u32 = 6;

/// The wait after the first attempt; doubles with each, up to the longest that an answer may ask for.
const BACKOFF: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A request as its line contains it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) custom_id: CustomId,
    body: Bytes,
}

/// The name of a line.
#[derive(Debug)]
pub(super) struct CustomId {
    /// As its line has it, quotes included: its line of output has the same.
    pub(super) written: Box<RawValue>,
    /// What it says, whatever it was escaped with. A name that is no text, with half a surrogate pair, is what it was
    /// written as.
    pub(super) text: String,
}

/// How a line ended: its line of output, and which file it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineEnd {
    pub(super) is_good: bool,
    json: Bytes,
}

/// A line of output, with the fields of OpenAI's.
#[derive(Serialize)]
struct Output<'a> {
    id: Option<String>,
    custom_id: Option<&'a RawValue>,
    response: Option<Answered<'a>>,
    error: Option<LineError<'a>>,
}

#[derive(Serialize)]
struct Answered<'a> {
    status_code: u16,
    request_id: &'a str,
    body: AnsweredBody<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnsweredBody<'a> {
    Json(Cow<'a, RawValue>),
    Text(Cow<'a, str>),
}

#[derive(Serialize)]
struct LineError<'a> {
    code: &'a str,
    message: &'a str,
}

/// The first byte of a note: which file its line belongs to.
const GOOD: u8 = b'o';
const BAD: u8 = b'e';

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    method: Option<String>,
    url: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// What a line asks for.
///
/// # Errors
/// The end of a line that asks for nothing.
pub(super) fn read(line: &Line, endpoint: &str) -> Result<Request, LineEnd> {
    let line = match line {
        Line::Whole(line) => line,
        Line::TooLong => {
            return Err(LineEnd::refused(
                None,
                "line_too_long",
                "the line is too long",
            ));
        }
    };
    let invalid = |why: String| {
        let message = format!("the line is no JSON object of a request: {why}");
        LineEnd::refused(None, "invalid_json_line", &message)
    };
    // A list of the fields' values would be read too.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(invalid("it does not begin with {".to_owned()));
    }
    let written: Written<'_> =
        serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))?;
    let refuse = |code, message: &str| Err(LineEnd::refused(written.custom_id, code, message));
    let named = written.custom_id.filter(|id| id.get() != r#""""#);
    let Some(custom_id) = named.map(CustomId::of) else {
        return refuse("missing_custom_id", "the line has no custom_id");
    };
    let Some(custom_id) = custom_id else {
        let message = "the custom_id must be a text of 1 to 512 bytes";
        return Err(LineEnd::refused(None, "invalid_custom_id", message));
    };
    if written.method.as_deref() != Some("POST") {
        return refuse("invalid_method", "the method must be POST");
    }
    if written.url.as_deref() != Some(endpoint) {
        let message = format!("the url must be the batch's endpoint, {endpoint}");
        return refuse("invalid_url", &message);
    }
    let body = written.body.map(RawValue::get).unwrap_or_default();
    if !body.starts_with('{') {
        return refuse("missing_body", "the line has no body that is an object");
    }
    if asks_for_stream(body) {
        return refuse("stream_not_supported", "stream must not be true in a batch");
    }
    Ok(Request {
        custom_id,
        body: Bytes::copy_from_slice(body.as_bytes()),
    })
}

/// The end of a line that the batch's time did not suffice for.
pub(super) fn expired(line: &Line, endpoint: &str) -> LineEnd {
    let message = "the batch's completion window was over before this line";
    match read(line, endpoint) {
        Ok(request) => LineEnd::refused(Some(&request.custom_id.written), "batch_expired", message),
        Err(end) => end,
    }
}

fn asks_for_stream(body: &str) -> bool {
    #[derive(Deserialize)]
    struct Stream {
        #[serde(default)]
        stream: Option<bool>,
    }
    serde_json::from_str(body).is_ok_and(|it: Stream| it.stream == Some(true))
}

impl CustomId {
    /// `None` where `written` is no text, or too short or long for a name.
    fn of(written: &RawValue) -> Option<Self> {
        let content = written.get().strip_prefix('"')?.strip_suffix('"')?;
        let text = serde_json::from_str(written.get()).unwrap_or_else(|_| content.to_owned());
        let written = written.to_owned();
        (1..=CUSTOM_ID_BYTES_MAX)
            .contains(&text.len())
            .then_some(Self { written, text })
    }
}

/// `body` as one line of JSON, otherwise as it is; `None` where it is no JSON. Line ends are blanks there: within
/// texts they are escaped.
fn on_one_line(body: &[u8]) -> Option<Cow<'_, RawValue>> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let json: &RawValue = serde_json::from_slice(body).ok()?;
    if !json.get().contains(['\n', '\r']) {
        return Some(Cow::Borrowed(json));
    }
    let line = json.get().replace(['\n', '\r'], " ");
    RawValue::from_string(line).ok().map(Cow::Owned)
}

impl Request {
    /// Calls `path` on behalf of the submitter of `task`, until a call succeeds or no attempt is left.
    pub(super) async fn call(
        self,
        task: &NewTask,
        path: PathAndQuery,
        api: &dyn CallApi,
    ) -> LineEnd {
        let mut attempt = 1;
        loop {
            let request = own::request(task, Method::POST, path.clone(), self.body.clone());
            let answer = api.call(request).await;
            let status = answer.status;
            let wait = headers::retry_after(&answer.headers, std::time::SystemTime::now());
            let id = answer.headers.get(headers::REQUEST_ID);
            let id = id
                .and_then(|id| id.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            let body = Limited::new(answer.body, ANSWER_BYTES_MAX).collect().await;
            let may_do_better = matches!(status.as_u16(), 408 | 429 | 500..=599);
            let ended = match body {
                Ok(body) if !may_do_better => {
                    return LineEnd::answered(
                        &self.custom_id.written,
                        status,
                        &id,
                        &body.to_bytes(),
                    );
                }
                Ok(body) => {
                    LineEnd::answered(&self.custom_id.written, status, &id, &body.to_bytes())
                }
                Err(error) if error.is::<LengthLimitError>() => {
                    let message = "the answer is longer than can be kept";
                    return LineEnd::refused(
                        Some(&self.custom_id.written),
                        "answer_too_long",
                        message,
                    );
                }
                Err(_) => {
                    let message = "the answer broke off";
                    LineEnd::refused(Some(&self.custom_id.written), "broken_off", message)
                }
            };
            if attempt == ATTEMPTS_MAX {
                return ended;
            }
            sleep(pause(attempt).max(wait.unwrap_or_default()).min(WAIT_MAX)).await;
            attempt += 1;
        }
    }
}

/// The wait after `attempt`, jittered down to half of it.
fn pause(attempt: u32) -> Duration {
    jittered(BACKOFF.saturating_mul(1 << (attempt - 1).min(8)))
}

impl Request {
    /// The end of a line that was called, and no other, when its worker died.
    pub(super) fn lost(&self) -> LineEnd {
        let message = "the worker that called this line alone died: it is not called again";
        LineEnd::refused(Some(&self.custom_id.written), WORKER_LOST, message)
    }
}

impl LineEnd {
    /// An upstream's answer, or the node's own: `status` decides which file it belongs to. A body that is JSON is
    /// in the line as it came.
    fn answered(custom_id: &RawValue, status: StatusCode, request_id: &str, body: &[u8]) -> Self {
        let body = match on_one_line(body) {
            Some(json) => AnsweredBody::Json(json),
            None => AnsweredBody::Text(String::from_utf8_lossy(body)),
        };
        let line = Output {
            id: Some(format!("batch_req_{request_id}")),
            custom_id: Some(custom_id),
            response: Some(Answered {
                status_code: status.as_u16(),
                request_id,
                body,
            }),
            error: None,
        };
        Self::of(status.is_success(), &line)
    }

    /// Nothing that counts was answered.
    pub(super) fn refused(custom_id: Option<&RawValue>, code: &str, message: &str) -> Self {
        let line = Output {
            id: None,
            custom_id,
            response: None,
            error: Some(LineError { code, message }),
        };
        Self::of(false, &line)
    }

    fn of(is_good: bool, line: &Output<'_>) -> Self {
        // Texts, numbers and JSON are JSON.
        let json = serde_json::to_vec(line).unwrap_or_default();
        Self {
            is_good,
            json: json.into(),
        }
    }

    /// Its note.
    pub(super) fn note(&self) -> Bytes {
        let mut note = BytesMut::with_capacity(self.json.len() + 1);
        note.put_u8(if self.is_good { GOOD } else { BAD });
        note.put_slice(&self.json);
        note.freeze()
    }

    /// The end that a note holds; `None` when it is not the note of a line.
    pub(super) fn read(note: &Bytes) -> Option<Self> {
        let is_good = match *note.first()? {
            GOOD => true,
            BAD => false,
            _ => return None,
        };
        Some(Self {
            is_good,
            json: note.slice(1..),
        })
    }

    /// Its line of output.
    pub(super) fn json(&self) -> &Bytes {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn code(line: &str) -> String {
        let line = Line::Whole(Bytes::copy_from_slice(line.as_bytes()));
        let end = read(&line, CHAT).expect_err("a bad line");
        assert!(!end.is_good);
        let json: Value = serde_json::from_slice(end.json()).expect("JSON");
        json["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn bad_lines_have_codes_of_their_own() {
        let good = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","stream":false}}"#;
        let request = read(&Line::Whole(Bytes::from(good)), CHAT).expect("a request");
        assert_eq!(request.custom_id.text, "a");
        assert_eq!(request.body, r#"{"model":"m","stream":false}"#);
        let cases = [
            ("nonsense", "invalid_json_line"),
            ("[1]", "invalid_json_line"),
            (
                r#"["a","POST","/v1/chat/completions",{"model":"m"}]"#,
                "invalid_json_line",
            ),
            (r#"{"method":"POST"}"#, "missing_custom_id"),
            (r#"{"custom_id":null}"#, "missing_custom_id"),
            (r#"{"custom_id":"","method":"POST"}"#, "missing_custom_id"),
            (r#"{"custom_id":5,"method":"POST"}"#, "invalid_custom_id"),
            (r#"{"custom_id":"a","custom_id":"b"}"#, "invalid_json_line"),
            (
                r#"{"custom_id":"a","body":{},"body":{}}"#,
                "invalid_json_line",
            ),
            (r#"{"custom_id":"a","method":"GET"}"#, "invalid_method"),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings"}"#,
                "invalid_url",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":3}"#,
                "missing_body",
            ),
        ];
        for (line, wanted) in cases {
            assert_eq!(code(line), wanted, "{line}");
        }
        assert_eq!(code(&good.replace("false", "true")), "stream_not_supported");
        assert!(read(&Line::TooLong, CHAT).is_err());
    }

    fn id(written: &str) -> Box<RawValue> {
        RawValue::from_string(written.to_owned()).expect("JSON")
    }

    #[test]
    fn body_and_name_are_passed_on_byte_by_byte() {
        let body = r#"{"model":"m","n":1.0,"big":1e400,"x":"\ud800 \u0041","n":2, "a" : [ ]}"#;
        let line = format!(
            r#"{{"custom_id":"\ud83d\u0061","method":"POST","url":"{CHAT}","body":{body}}}{}"#,
            "\r"
        );
        let request = read(&Line::Whole(Bytes::from(line)), CHAT).expect("a request");
        assert_eq!(request.body, body);
        let end = LineEnd::answered(
            &request.custom_id.written,
            StatusCode::OK,
            "r",
            body.as_bytes(),
        );
        let text = std::str::from_utf8(end.json()).expect("text");
        let wanted = format!(
            r#"{{"id":"batch_req_r","custom_id":"\ud83d\u0061","response":{{"status_code":200,"request_id":"r","body":{body}}},"error":null}}"#
        );
        assert_eq!(text, wanted);
        let lost = request.lost();
        assert!(String::from_utf8_lossy(lost.json()).contains(r#""custom_id":"\ud83d\u0061""#));
    }

    #[test]
    fn answer_is_on_one_line_and_text_where_it_is_no_json() {
        let line = |body: &[u8]| {
            let end = LineEnd::answered(&id("\"a\""), StatusCode::OK, "r", body);
            let text = String::from_utf8(end.json().to_vec()).expect("text");
            let body = text.split_once("\"body\":").expect("a body").1;
            body.strip_suffix("},\"error\":null}")
                .expect("its end")
                .to_owned()
        };
        assert_eq!(line(b"{\r\n  \"a\": \"\\n\"\n}\n"), "{    \"a\": \"\\n\" }");
        assert_eq!(line("\u{feff}{}".as_bytes()), "{}");
        assert_eq!(line(b"<html>\n"), "\"<html>\\n\"");
        assert_eq!(line(b"\xff"), "\"\u{fffd}\"");
        assert_eq!(line(b""), "\"\"");
    }

    #[test]
    fn end_of_a_line_comes_back_from_its_note() {
        let body = Bytes::from(r#"{"id":"x"}"#);
        let end = LineEnd::answered(&id("\"a\""), StatusCode::OK, "r1", &body);
        assert!(end.is_good);
        assert_eq!(LineEnd::read(&end.note()), Some(end.clone()));
        let json: Value = serde_json::from_slice(end.json()).expect("JSON");
        assert_eq!(json["response"]["body"]["id"], "x");
        assert!(!LineEnd::answered(&id("\"a\""), StatusCode::BAD_REQUEST, "r1", &body).is_good);
        assert_eq!(LineEnd::read(&Bytes::from_static(b"?{}")), None);
    }
}
