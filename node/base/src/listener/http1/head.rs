//! The head of a request, as it is read.
//!
//! Strict where two readers could differ on where a body ends (RFC 9112, 6.1 and 6.3): a length beside chunks, lengths
//! that differ, a coding other than `chunked`, chunks in HTTP/1.0 are all refused.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};
use httparse::{Header, Status};
use memchr::memchr;

use crate::http1::{HeadEnd, header_map, lists, take};

/// Headers that most requests do not exceed: room for more is made where it is needed.
const FEW: usize = 48;

/// The longest target, as `http::Uri` has it.
const TARGET_BYTES_MAX: usize = 65_534;

/// Where a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A request whose body is still to come.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    /// Whether its client sends another request on the same connection.
    pub(super) is_kept: bool,
    /// Whether it offers another protocol, whichever.
    pub(super) is_upgrade: bool,
    /// Whether its client waits to be told to send the body.
    pub(super) awaits_continue: bool,
}

/// The status of a request that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) StatusCode);

const MALFORMED: Refused = Refused(StatusCode::BAD_REQUEST);
/// Of a coding other than `chunked` (RFC 9112, 6.1).
const NOT_IMPLEMENTED: Refused = Refused(StatusCode::NOT_IMPLEMENTED);

/// Finds the head of one request in what arrives.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    end: HeadEnd,
}

impl HeadReader {
    /// Takes the head from the beginning of `incoming`; `None` where more must arrive.
    ///
    /// # Errors
    /// It is malformed or exceeds a limit.
    pub(super) fn take(
        &mut self,
        incoming: &mut BytesMut,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Option<RequestHead>, Refused> {
        self.skip_empty_lines(incoming);
        // Mostly all of it arrives at once. Its end is looked for only where it does not: what arrives byte by byte is
        // not parsed each time.
        if self.end.is_new()
            && let Some(head) = whole(incoming, count_max, bytes_max)?
        {
            return Ok(Some(head));
        }
        match self.end.find(incoming) {
            Some(end) if end <= bytes_max => {
                self.end = HeadEnd::default();
                parse(take(incoming, end), count_max).map(Some)
            }
            None if incoming.len() <= bytes_max => Ok(None),
            Some(_) | None => Err(Refused(match memchr(b'\n', &incoming[..bytes_max]) {
                None => StatusCode::URI_TOO_LONG,
                Some(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            })),
        }
    }

    /// Before a request they mean nothing (RFC 9112, 2.2): some clients send one after a body.
    fn skip_empty_lines(&mut self, incoming: &mut BytesMut) {
        let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let empty = incoming.iter().take_while(is_end).count();
        if empty > 0 {
            let _ = incoming.split_to(empty);
            self.end.taken(empty);
        }
    }
}

/// Takes a head that is there with all of its lines, and not more than [`FEW`]; `None` for every other, which [`parse`]
/// reads or refuses.
fn whole(
    incoming: &mut BytesMut,
    count_max: usize,
    bytes_max: usize,
) -> Result<Option<RequestHead>, Refused> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(incoming, &mut few[..count_max.min(FEW)]);
    let Ok(Status::Complete(end)) = status else {
        return Ok(None);
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Ok(None);
    };
    if end > bytes_max || target.len() > TARGET_BYTES_MAX {
        return Ok(None);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| MALFORMED)?;
    let is_http10 = parsed.version == Some(0);
    let stated = Stated::of(parsed.headers, is_http10)?;
    // Where they stand, until the bytes are nobody else's.
    let place = |part: &[u8]| {
        let start = part.as_ptr().addr() - incoming.as_ptr().addr();
        start..start + part.len()
    };
    let target = place(target.as_bytes());
    let mut places = [const { (0..0, 0..0) }; FEW];
    let count = parsed.headers.len();
    for (at, Header { name, value }) in places.iter_mut().zip(&*parsed.headers) {
        *at = (place(name.as_bytes()), place(value));
    }
    let bytes = take(incoming, end);
    let uri = Uri::from_maybe_shared(bytes.slice(target)).map_err(|_| MALFORMED)?;
    let mut headers = HeaderMap::with_capacity(count);
    for (name, value) in places.into_iter().take(count) {
        let name = HeaderName::from_bytes(&bytes[name]).map_err(|_| MALFORMED)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value)).map_err(|_| MALFORMED)?;
        headers.append(name, value);
    }
    Ok(Some(stated.head((method, uri, is_http10), headers)))
}

/// Reads a whole head.
fn parse(bytes: Bytes, count_max: usize) -> Result<RequestHead, Refused> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let count = count_max.min(FEW);
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&bytes, &mut few[..count]) {
        Err(httparse::Error::TooManyHeaders) if count_max > FEW => {
            let mut many: Vec<MaybeUninit<Header<'_>>> =
                (0..count_max).map(|_| MaybeUninit::uninit()).collect();
            let mut parsed = httparse::Request::new(&mut []);
            let status = parsed.parse_with_uninit_headers(&bytes, &mut many);
            read(&bytes, status, &parsed)
        }
        status => read(&bytes, status, &parsed),
    }
}

/// The head that `parsed` is.
fn read(
    bytes: &Bytes,
    status: httparse::Result<usize>,
    parsed: &httparse::Request<'_, '_>,
) -> Result<RequestHead, Refused> {
    match status {
        Ok(Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(MALFORMED),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        Err(httparse::Error::Version) if states_version(bytes) => {
            return Err(Refused(StatusCode::HTTP_VERSION_NOT_SUPPORTED));
        }
        Err(_) => return Err(MALFORMED),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(MALFORMED);
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refused(StatusCode::URI_TOO_LONG));
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| MALFORMED)?;
    let target = bytes.slice_ref(target.as_bytes());
    let uri = Uri::from_maybe_shared(target).map_err(|_| MALFORMED)?;
    let value = |value: &[u8]| HeaderValue::from_maybe_shared(bytes.slice_ref(value));
    let is_http10 = parsed.version == Some(0);
    let stated = Stated::of(parsed.headers, is_http10)?;
    let headers = header_map(parsed.headers, value).map_err(|_| MALFORMED)?;
    Ok(stated.head((method, uri, is_http10), headers))
}

/// Whether the first line ends with a version of HTTP, and not with anything else.
fn states_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
    let version = words.nth(2).and_then(|word| word.strip_prefix(b"HTTP/"));
    let is_version = matches!(version, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit());
    is_version && words.next().is_none()
}

/// What a head states about its body and its connection. Read before there is a map, in one pass.
struct Stated {
    framing: Framing,
    /// A length that is stated several times, alike, is left once.
    is_length_repeated: bool,
    is_kept: bool,
    is_upgrade: bool,
    awaits_continue: bool,
}

impl Stated {
    fn of(fields: &[Header<'_>], is_http10: bool) -> Result<Self, Refused> {
        let (mut length, mut is_length_repeated) = (None, false);
        let mut coding = None;
        let (mut is_kept, mut awaits_continue) = (!is_http10, false);
        let mut is_upgrade = false;
        for Header { name, value } in fields {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            match name.len() {
                14 if is("content-length") => {
                    is_length_repeated = length.is_some();
                    if *length.get_or_insert(*value) != *value {
                        return Err(MALFORMED);
                    }
                }
                17 if is("transfer-encoding") && coding.replace(*value).is_some() => {
                    return Err(NOT_IMPLEMENTED);
                }
                10 if is("connection") => {
                    is_kept = match is_http10 {
                        true => is_kept || lists(value, "keep-alive"),
                        false => is_kept && !lists(value, "close"),
                    };
                }
                7 if is("upgrade") => is_upgrade = true,
                6 if is("expect") => {
                    awaits_continue = !is_http10 && value.eq_ignore_ascii_case(b"100-continue");
                }
                _ => {}
            }
        }
        Ok(Self {
            framing: framing(length, coding, is_http10)?,
            is_length_repeated,
            is_kept,
            is_upgrade,
            awaits_continue,
        })
    }
}

impl Stated {
    /// The head of a request that states this.
    fn head(
        self,
        (method, uri, is_http10): (Method, Uri, bool),
        mut headers: HeaderMap,
    ) -> RequestHead {
        if self.is_length_repeated
            && let Some(length) = headers.get(header::CONTENT_LENGTH).cloned()
        {
            headers.insert(header::CONTENT_LENGTH, length);
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = match is_http10 {
            true => Version::HTTP_10,
            false => Version::HTTP_11,
        };
        *request.headers_mut() = headers;
        RequestHead {
            request,
            framing: self.framing,
            is_kept: self.is_kept,
            is_upgrade: self.is_upgrade,
            awaits_continue: self.awaits_continue,
        }
    }
}

/// Where the body ends, if that is certain.
fn framing(
    length: Option<&[u8]>,
    coding: Option<&[u8]>,
    is_http10: bool,
) -> Result<Framing, Refused> {
    match (length, coding) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err(MALFORMED),
        (None, Some(_)) if is_http10 => Err(MALFORMED),
        (None, Some(coding)) => match coding.eq_ignore_ascii_case(b"chunked") {
            true => Ok(Framing::Chunked),
            false => Err(NOT_IMPLEMENTED),
        },
        (Some(digits), None) => {
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let digits = std::str::from_utf8(digits).ok().filter(|_| is_number);
            let length = digits.and_then(|digits| digits.parse().ok());
            length.map(Framing::Length).ok_or(MALFORMED)
        }
    }
}
