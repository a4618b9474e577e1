//! The heads of a forwarded request and of its answer.

use std::time::Duration;

use bincode::{BorrowDecode, Encode};
use grapevine_core::admission::Forwarded;
use grapevine_core::fact::Load;
use grapevine_core::ids::{ModelName, RegionName, UpstreamName};
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use grapevine_core::residency::{ClientOrigin, ResidencyQuestion};

use super::client::{self, Headers};
use super::codec;
use super::{
    BODY_BYTES_MAX, DETAIL_BYTES_MAX, DecodeError, EncodeError, HEAD_BYTES_MAX, HEADER_BYTES_MAX,
    HEADERS_MAX, METHOD_BYTES_MAX, PATH_BYTES_MAX, REGIONS_MAX, REQUEST_ID_BYTES_MAX,
    TRACEPARENT_BYTES_MAX,
};

/// The head of a forwarded request. Texts and headers are borrowed from the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHead<'a> {
    /// Names the request. 1 to [`REQUEST_ID_BYTES_MAX`] bytes.
    pub request_id: &'a str,
    /// The upstream, by its name at the peer.
    pub upstream: UpstreamName,
    /// The model as the client named it.
    pub model: Option<ModelName>,
    /// The client's method.
    pub method: &'a str,
    /// The client's path and query.
    pub path: &'a str,
    /// The client's headers.
    pub headers: Headers<'a>,
    /// How long the body is that follows. At most [`BODY_BYTES_MAX`].
    pub body_bytes: usize,
    /// The time left for the whole request. A span: nodes share no clock.
    pub remaining: Duration,
    /// How often the request was forwarded, this time included.
    pub hops: u8,
    /// Whether to try the upstream although it is not usable.
    pub last_resort: bool,
    /// The regions that may answer it; empty when all may.
    pub allow_regions: Vec<RegionName>,
    /// The W3C trace context to go on with.
    pub traceparent: Option<&'a str>,
    /// Where the client is, for the peer's own residency rules.
    pub client: ClientOrigin,
    /// The name of the client's key, for the same.
    pub key: Option<&'a str>,
    /// Tells the client from others, and says nothing else of it; zero where that is not known.
    pub mark: u64,
    /// Whether the client accepts what a translation of the request loses; `None` where it does not say.
    pub lossy: Option<bool>,
}

impl RequestHead<'_> {
    /// What its owner's admission checks.
    pub fn forwarded(&self) -> Forwarded<'_> {
        Forwarded {
            hops: self.hops,
            question: ResidencyQuestion {
                client: self.client,
                key: self.key,
                model: self.model.as_ref(),
            },
            allow_regions: &self.allow_regions,
            last_resort: self.last_resort,
        }
    }
}

/// The load that a peer reports of the upstream it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLoad {
    /// Requests in flight there, from all nodes.
    pub in_flight: u32,
    /// Expected time to first byte; zero when unmeasured.
    pub ttft: Duration,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseHead<'a> {
    /// The upstream's status: 100 to 999.
    pub status: u16,
    /// The upstream's headers.
    pub headers: Headers<'a>,
    /// The upstream's load.
    pub load: WireLoad,
}

/// Why there is no answer: a refusal, or how the call at the upstream failed.
#[derive(Clone, Debug, PartialEq)]
pub struct NoAnswer<'a> {
    /// What happened. A status or a lost peer has no code; they become [`Outcome::Reset`].
    pub outcome: Outcome,
    /// The upstream's load, where the peer has that upstream.
    pub load: Option<WireLoad>,
    /// The same for the operator. Cut to [`DETAIL_BYTES_MAX`].
    pub detail: &'a str,
}

/// The first frame of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseStart<'a> {
    /// An answer; its body follows.
    Answer(ResponseHead<'a>),
    /// None; nothing follows.
    None(NoAnswer<'a>),
}

impl WireLoad {
    /// As core knows it.
    pub fn of(self, upstream: UpstreamName) -> Load {
        Load {
            upstream,
            in_flight: self.in_flight,
            ttft: self.ttft,
        }
    }
}

#[derive(Encode, BorrowDecode)]
struct WireRequest<'a> {
    request_id: &'a str,
    upstream: &'a str,
    model: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    headers: Headers<'a>,
    body_bytes: u64,
    remaining_micros: u64,
    hops: u8,
    last_resort: bool,
    allow_regions: Vec<&'a str>,
    traceparent: Option<&'a str>,
}

#[derive(Encode, BorrowDecode)]
enum WireResponse<'a> {
    Answer {
        status: u16,
        headers: Headers<'a>,
        in_flight: u32,
        ttft_micros: u64,
    },
    None {
        outcome: u8,
        load: Option<(u32, u64)>,
        detail: &'a str,
    },
}

impl<'a> RequestHead<'a> {
    /// The frame, length included.
    ///
    /// # Errors
    /// When a field is beyond its limit.
    pub fn encode(self) -> Result<Vec<u8>, EncodeError> {
        at_most("request id", self.request_id.len(), REQUEST_ID_BYTES_MAX)?;
        at_most("method", self.method.len(), METHOD_BYTES_MAX)?;
        at_most("path", self.path.len(), PATH_BYTES_MAX)?;
        at_most("body", self.body_bytes, BODY_BYTES_MAX)?;
        at_most("list of regions", self.allow_regions.len(), REGIONS_MAX)?;
        let traceparent = self.traceparent.map_or(0, str::len);
        at_most("trace context", traceparent, TRACEPARENT_BYTES_MAX)?;
        let area = client::area_text(self.client);
        let mark = (self.mark != 0).then(|| client::mark_text(self.mark));
        let headers = client::with_own(
            self.headers,
            area.as_deref(),
            self.key,
            mark.as_deref(),
            self.lossy,
        );
        check_headers(&headers)?;
        let wire = WireRequest {
            request_id: self.request_id,
            upstream: self.upstream.as_str(),
            model: self.model.as_ref().map(ModelName::as_str),
            method: self.method,
            path: self.path,
            headers,
            body_bytes: self.body_bytes as u64,
            remaining_micros: micros(self.remaining),
            hops: self.hops,
            last_resort: self.last_resort,
            allow_regions: self.allow_regions.iter().map(RegionName::as_str).collect(),
            traceparent: self.traceparent,
        };
        codec::framed(&wire, "head", HEAD_BYTES_MAX)
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let wire: WireRequest<'a> = codec::read(payload)?;
        in_range("request id", wire.request_id.len(), 1, REQUEST_ID_BYTES_MAX)?;
        in_range("method", wire.method.len(), 1, METHOD_BYTES_MAX)?;
        in_range("path", wire.path.len(), 1, PATH_BYTES_MAX)?;
        in_range("list of regions", wire.allow_regions.len(), 0, REGIONS_MAX)?;
        let traceparent = wire.traceparent.map_or(0, str::len);
        in_range("trace context", traceparent, 0, TRACEPARENT_BYTES_MAX)?;
        let body_bytes = usize::try_from(wire.body_bytes).unwrap_or(usize::MAX);
        in_range("body length", body_bytes, 0, BODY_BYTES_MAX)?;
        check_headers(&wire.headers).map_err(|_| DecodeError::OutOfRange { field: "headers" })?;
        let (headers, client) = client::without_own(wire.headers)?;
        let regions = wire.allow_regions.iter().map(|text| {
            RegionName::new(text).map_err(|source| DecodeError::BadName {
                field: "region",
                source,
            })
        });
        Ok(Self {
            request_id: wire.request_id,
            upstream: UpstreamName::new(wire.upstream).map_err(|source| DecodeError::BadName {
                field: "upstream",
                source,
            })?,
            model: wire
                .model
                .map(ModelName::new)
                .transpose()
                .map_err(|source| DecodeError::BadName {
                    field: "model",
                    source,
                })?,
            method: wire.method,
            path: wire.path,
            headers,
            body_bytes,
            remaining: Duration::from_micros(wire.remaining_micros),
            hops: wire.hops,
            last_resort: wire.last_resort,
            allow_regions: regions.collect::<Result<_, _>>()?,
            traceparent: wire.traceparent,
            client: client.origin,
            key: client.key,
            mark: client.mark,
            lossy: client.lossy,
        })
    }
}

impl<'a> ResponseStart<'a> {
    /// The frame, length included.
    ///
    /// # Errors
    /// When the headers are beyond their limits.
    pub fn encode(self) -> Result<Vec<u8>, EncodeError> {
        let wire = match self {
            Self::Answer(head) => {
                check_headers(&head.headers)?;
                WireResponse::Answer {
                    status: head.status,
                    headers: head.headers,
                    in_flight: head.load.in_flight,
                    ttft_micros: micros(head.load.ttft),
                }
            }
            Self::None(none) => WireResponse::None {
                outcome: outcome_code(&none.outcome),
                load: none.load.map(|load| (load.in_flight, micros(load.ttft))),
                detail: cut(none.detail, DETAIL_BYTES_MAX),
            },
        };
        codec::framed(&wire, "head", HEAD_BYTES_MAX)
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        match codec::read(payload)? {
            WireResponse::Answer {
                status,
                headers,
                in_flight,
                ttft_micros,
            } => {
                in_range("status", usize::from(status), 100, 999)?;
                check_headers(&headers)
                    .map_err(|_| DecodeError::OutOfRange { field: "headers" })?;
                Ok(Self::Answer(ResponseHead {
                    status,
                    headers,
                    load: load(in_flight, ttft_micros),
                }))
            }
            WireResponse::None {
                outcome,
                load: reported,
                detail,
            } => {
                in_range("detail", detail.len(), 0, DETAIL_BYTES_MAX)?;
                Ok(Self::None(NoAnswer {
                    outcome: outcome_of(outcome)
                        .ok_or(DecodeError::OutOfRange { field: "outcome" })?,
                    load: reported.map(|(in_flight, ttft_micros)| load(in_flight, ttft_micros)),
                    detail,
                }))
            }
        }
    }
}

fn load(in_flight: u32, ttft_micros: u64) -> WireLoad {
    WireLoad {
        in_flight,
        ttft: Duration::from_micros(ttft_micros),
    }
}

/// Every outcome that has a code, with its number on the wire. Numbers are never reused.
const OUTCOMES: &[(u8, Outcome)] = &[
    (1, Outcome::ConnectFailed),
    (2, Outcome::TimedOut(Stage::Connect)),
    (3, Outcome::TimedOut(Stage::FirstByte)),
    (4, Outcome::TimedOut(Stage::Idle)),
    (5, Outcome::TimedOut(Stage::Total)),
    (6, Outcome::Reset),
    (7, Outcome::BrokenOff),
    (8, Outcome::Cancelled),
    (9, Outcome::DeadlinePassed),
    (10, Outcome::TimedOut(Stage::Answer)),
    (32, Outcome::Refused(Refusal::Full)),
    (33, Outcome::Refused(Refusal::Draining)),
    (34, Outcome::Refused(Refusal::UnknownUpstream)),
    (35, Outcome::Refused(Refusal::Ejected)),
    (36, Outcome::Refused(Refusal::Residency)),
    (37, Outcome::Refused(Refusal::HopLimit)),
    (38, Outcome::Refused(Refusal::Duplicate)),
    (39, Outcome::Refused(Refusal::Protocol)),
];

/// What a status or a lost peer is sent as: the call ended without an answer.
const OUTCOME_RESET: u8 = 6;

fn outcome_code(outcome: &Outcome) -> u8 {
    let known = OUTCOMES.iter().find(|(_, known)| known == outcome);
    known.map_or(OUTCOME_RESET, |(code, _)| *code)
}

fn outcome_of(code: u8) -> Option<Outcome> {
    let known = OUTCOMES.iter().find(|(known, _)| *known == code);
    known.map(|(_, outcome)| *outcome)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The longest start of `text` within `max` bytes that ends between characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

const fn at_most(field: &'static str, length: usize, max: usize) -> Result<(), EncodeError> {
    if length > max {
        return Err(EncodeError::TooLong { field, max });
    }
    Ok(())
}

const fn in_range(
    field: &'static str,
    length: usize,
    min: usize,
    max: usize,
) -> Result<(), DecodeError> {
    if length < min || length > max {
        return Err(DecodeError::OutOfRange { field });
    }
    Ok(())
}

fn check_headers(headers: &[(&str, &[u8])]) -> Result<(), EncodeError> {
    at_most("list of headers", headers.len(), HEADERS_MAX)?;
    let bytes = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    at_most("headers", bytes, HEADER_BYTES_MAX)
}
