//! The head of a request, as it is read.
//!
//! Strict where two readers could differ on where a body ends (RFC 9112, 6.1 and 6.3): a length beside chunks, lengths
//! that differ, a coding other than `chunked`, chunks in HTTP/1.0 are all refused.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri, Version};
use httparse::{Header, Status};
use memchr::memchr;

use crate::http1::{HeadEnd, lists, take};

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
            && let Some(head) = parse(incoming, None, (count_max, bytes_max))?
        {
            return Ok(Some(head));
        }
        match self.end.find(incoming) {
            Some(end) if end <= bytes_max => {
                self.end = HeadEnd::default();
                parse(incoming, Some(end), (count_max, bytes_max))
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

/// Where the parts of a head stand, before its bytes are nobody else's.
struct Located {
    length: usize,
    method: Method,
    is_http10: bool,
    target: Range<usize>,
    /// How many headers there are.
    count: usize,
    stated: Result<Stated, Refused>,
}

/// Where a header's name and its value stand.
type Place = (Range<usize>, Range<usize>);

/// Why there is none.
enum Unlocated {
    /// It has more headers than there is room for.
    TooMany,
    /// Its end is not known, and it is not whole, or is to be refused once that is known.
    Unclear,
    Refused(Refused),
}

/// Takes a head, which ends at `end` where that is known; `None` where it is not, and the head is not whole or will be
/// refused.
fn parse(
    incoming: &mut BytesMut,
    end: Option<usize>,
    (count_max, bytes_max): (usize, usize),
) -> Result<Option<RequestHead>, Refused> {
    let bytes = &incoming[..end.unwrap_or(incoming.len())];
    let mut places = [const { (0..0, 0..0) }; FEW];
    let mut fields = [const { MaybeUninit::uninit() }; FEW];
    let room = count_max.min(FEW);
    match (
        locate(bytes, end, bytes_max, &mut fields[..room], &mut places),
        end,
    ) {
        (Ok(located), _) => build(incoming, located, &places).map(Some),
        (Err(Unlocated::TooMany), Some(_)) if count_max > FEW => {
            let mut places = vec![(0..0, 0..0); count_max];
            let mut fields: Vec<_> = (0..count_max).map(|_| MaybeUninit::uninit()).collect();
            match locate(bytes, end, bytes_max, &mut fields, &mut places) {
                Ok(located) => build(incoming, located, &places).map(Some),
                Err(why) => why.refused(),
            }
        }
        (Err(why), _) => why.refused(),
    }
}

impl Unlocated {
    fn refused(self) -> Result<Option<RequestHead>, Refused> {
        match self {
            Self::Unclear => Ok(None),
            Self::TooMany => Err(Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
            Self::Refused(refused) => Err(refused),
        }
    }
}

/// Finds the parts of the head that `bytes` are, or begin with where its `end` is not known.
fn locate<'b>(
    bytes: &'b [u8],
    end: Option<usize>,
    bytes_max: usize,
    fields: &mut [MaybeUninit<Header<'b>>],
    places: &mut [Place],
) -> Result<Located, Unlocated> {
    let malformed = Unlocated::Refused(MALFORMED);
    let mut parsed = httparse::Request::new(&mut []);
    let length = match (parsed.parse_with_uninit_headers(bytes, fields), end) {
        (Ok(Status::Complete(length)), None) if length <= bytes_max => length,
        (Ok(Status::Complete(length)), Some(end)) if length == end => length,
        (_, None) => return Err(Unlocated::Unclear),
        (Err(httparse::Error::TooManyHeaders), _) => return Err(Unlocated::TooMany),
        (Err(httparse::Error::Version), _) if states_version(bytes) => {
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return Err(Unlocated::Refused(Refused(status)));
        }
        _ => return Err(malformed),
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(malformed);
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(Unlocated::Refused(Refused(StatusCode::URI_TOO_LONG)));
    }
    let is_http10 = parsed.version == Some(0);
    let place = |part: &[u8]| {
        let start = part.as_ptr().addr() - bytes.as_ptr().addr();
        start..start + part.len()
    };
    for (at, Header { name, value }) in places.iter_mut().zip(&*parsed.headers) {
        *at = (place(name.as_bytes()), place(value));
    }
    Ok(Located {
        length,
        method: Method::from_bytes(method.as_bytes()).map_err(|_| malformed)?,
        is_http10,
        target: place(target.as_bytes()),
        count: parsed.headers.len(),
        stated: Stated::of(parsed.headers, is_http10),
    })
}

/// Takes the head that was found from the beginning of `incoming`.
fn build(
    incoming: &mut BytesMut,
    located: Located,
    places: &[Place],
) -> Result<RequestHead, Refused> {
    let bytes = take(incoming, located.length);
    let uri = Uri::from_maybe_shared(bytes.slice(located.target)).map_err(|_| MALFORMED)?;
    let stated = located.stated?;
    let mut headers = HeaderMap::with_capacity(located.count);
    for (name, value) in &places[..located.count] {
        let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(|_| MALFORMED)?;
        let value = bytes.slice(value.clone());
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| MALFORMED)?;
        headers.append(name, value);
    }
    Ok(stated.head((located.method, uri, located.is_http10), headers))
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
