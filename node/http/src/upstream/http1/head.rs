//! The heads of a request, as it is written, and of an answer, as it is read.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use grapevine_base::answer_headers::{AnswerHeaders, HeadField, HeadFields};
use grapevine_base::http1::{HeadEnd, lists, take};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use httparse::{Header, ParserConfig, Response, Status};

use super::Http1Error;

/// The longest head of an answer.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// What interim answers (1xx) may take before the head. An upstream that sends `102` every few seconds while it works
/// stays far below it; without a bound it would keep a thread busy until the time for the first byte is over.
pub(super) const INTERIM_BYTES_MAX: usize = 128 * 1_024;

/// Room for most heads of requests, so that they are not moved while they are written.
const EXPECTED_BYTES: usize = 1_024;

/// The most headers of an answer.
const HEADERS_MAX: usize = 128;

/// The head of a request, as it is sent, its credential included.
pub(in crate::upstream) struct RequestHead(Vec<u8>);

impl RequestHead {
    /// The head of a request with a body of `length` bytes; `headers` writes the lines of its headers, none of which is
    /// about the body's length.
    pub(in crate::upstream) fn new(
        method: &Method,
        path: &PathAndQuery,
        length: usize,
        headers: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut head = Vec::with_capacity(EXPECTED_BYTES);
        for text in [method.as_str(), " ", path.as_str(), " HTTP/1.1\r\n"] {
            head.extend_from_slice(text.as_bytes());
        }
        headers(&mut head);
        if length > 0 || announces_empty_body(method) {
            head.extend_from_slice(b"content-length: ");
            head.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Self(head)
    }
}

impl From<RequestHead> for Bytes {
    fn from(head: RequestHead) -> Self {
        head.0.into()
    }
}

/// Whether a request of `method` with an empty body says so: others have none as a rule (RFC 9110, 8.6).
fn announces_empty_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// The head of an answer.
#[derive(Debug)]
pub(in crate::upstream) struct AnswerHead {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) headers: AnswerHeaders,
    /// Whether its connection may be used again.
    pub(in crate::upstream) is_kept: bool,
    /// Where the body ends, or why that is not certain.
    framing: Result<Framing, &'static str>,
}

/// Where an answer's body ends (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Framing {
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

impl AnswerHead {
    /// Whether another one follows.
    fn is_interim(&self) -> bool {
        // What switches protocols is final: nothing of HTTP follows.
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Where the body ends.
    ///
    /// # Errors
    /// Where that is not certain. What [`settle_answer`](grapevine_base::headers::settle_answer) refuses is not
    /// refused here.
    pub(in crate::upstream) fn framing(&self) -> Result<Framing, Http1Error> {
        self.framing.map_err(Http1Error::Head)
    }
}

/// What a head states about its body and its connection. Read before there is a map, in one pass.
struct Stated {
    is_kept: bool,
    framing: Result<Framing, &'static str>,
}

impl Stated {
    fn of(fields: &[Header<'_>], is_http10: bool) -> Self {
        let (mut length, mut is_coded) = (None, false);
        let mut is_kept = !is_http10;
        for Header { name, value } in fields {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            match name.len() {
                // Of several, the first: that they are alike is checked where the answer is taken.
                14 if is("content-length") => length = length.or(Some(*value)),
                17 if is("transfer-encoding") => is_coded = true,
                10 if is("connection") => {
                    is_kept = match is_http10 {
                        true => is_kept || lists(value, "keep-alive"),
                        false => is_kept && !lists(value, "close"),
                    };
                }
                _ => {}
            }
        }
        Self {
            is_kept,
            framing: framing(length, is_coded, is_http10),
        }
    }
}

fn framing(
    length: Option<&[u8]>,
    is_coded: bool,
    is_http10: bool,
) -> Result<Framing, &'static str> {
    match (is_coded, length) {
        (true, _) if is_http10 => Err("HTTP/1.0 has no chunks"),
        (true, _) => Ok(Framing::Chunked),
        (false, None) => Ok(Framing::Close),
        (false, Some(length)) => {
            let length = std::str::from_utf8(length).ok();
            let length = length.and_then(|length| length.parse().ok());
            length.map(Framing::Length).ok_or("its length is no number")
        }
    }
}

/// Finds the head of one answer in what comes.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    end: HeadEnd,
    interim_bytes: usize,
}

impl HeadReader {
    /// Takes the head, past interim ones, from the beginning of `incoming`; `None` where more must come.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(
        &mut self,
        incoming: &mut BytesMut,
    ) -> Result<Option<AnswerHead>, Http1Error> {
        while let Some((head, length)) = self.next(incoming)? {
            self.end = HeadEnd::default();
            if !head.is_interim() {
                return Ok(Some(head));
            }
            self.interim_bytes += length;
        }
        if self.interim_bytes + incoming.len() > INTERIM_BYTES_MAX {
            return Err(Http1Error::Interim);
        }
        match incoming.len() > HEAD_BYTES_MAX {
            true => Err(Http1Error::Head("it is too long")),
            false => Ok(None),
        }
    }

    /// Takes one head from the beginning of `incoming`, with its length. Mostly all of it comes at once: its end is
    /// looked for only where it does not, so that a head that comes byte by byte is parsed twice and not each time.
    fn next(&mut self, incoming: &mut BytesMut) -> Result<Option<(AnswerHead, usize)>, Http1Error> {
        match incoming.first() {
            None => return Ok(None),
            Some(b'\r' | b'\n') => return Err(Http1Error::Head("it begins with an empty line")),
            Some(_) => {}
        }
        if self.end.is_new()
            && let Some(whole) = parse(incoming, None)?
        {
            return Ok(Some(whole));
        }
        match self.end.find(incoming) {
            Some(end) => parse(incoming, Some(end)),
            None => Ok(None),
        }
    }
}

/// Takes a head, which ends at `end` where that is known; `None` where it is not and none was found.
fn parse(
    incoming: &mut BytesMut,
    end: Option<usize>,
) -> Result<Option<(AnswerHead, usize)>, Http1Error> {
    let bytes = &incoming[..end.unwrap_or(incoming.len())];
    let mut parsed = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = Response::new(&mut []);
    let config = ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut parsed);
    let length = match (parsed, end) {
        (Ok(Status::Complete(length)), None) => length,
        (Ok(Status::Complete(length)), Some(end)) if length == end => length,
        (_, None) => return Ok(None),
        (Ok(_), Some(_)) => return Err(Http1Error::Head("it ends twice")),
        (Err(error), Some(_)) => return Err(Http1Error::Head(said(error))),
    };
    let unfit = Http1Error::Head;
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(unfit("its status is none"))?;
    let stated = Stated::of(response.headers, response.version == Some(0));
    let mut fields = Vec::with_capacity(response.headers.len());
    for Header { name, value } in &*response.headers {
        fields.push(HeadField::within(bytes, name, value).ok_or(unfit("a header is none"))?);
    }
    for field in &fields {
        field.name_mut(incoming).make_ascii_lowercase();
    }
    let head = AnswerHead {
        status,
        headers: HeadFields::new(take(incoming, length), fields).into(),
        is_kept: stated.is_kept,
        framing: stated.framing,
    };
    Ok(Some((head, length)))
}

const fn said(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header's name is none",
        httparse::Error::HeaderValue => "a header's value is none",
        httparse::Error::NewLine => "a line ends wrongly",
        httparse::Error::Status => "its status is none",
        httparse::Error::TooManyHeaders => "it has too many headers",
        httparse::Error::Version => "its version is none of HTTP/1",
        httparse::Error::Token => "its first line is none",
    }
}
