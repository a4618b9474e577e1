//! Which trace a request belongs to, by W3C Trace Context, and which requests are sampled.
//!
//! The origin of the trace decides: a sampled `traceparent` is followed, one that is not sampled is passed on
//! untouched, and of requests without one a share is sampled. Only a sampled request has a [`Trace`]: all others
//! cost the look at one header.
//!
//! The ids of a span's children are derived from numbers, not random, so that an attempt's span is known
//! before it ends without being stored.

use std::fmt;
use std::num::NonZeroU64;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use rand_core::Rng;

/// The header of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Its companion, which is meaningless with another `traceparent`.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of the header in its version 00, in bytes.
const LENGTH: usize = 55;

/// The lowest bit of the flags.
const SAMPLED: u8 = 1;

/// A trace's name: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// A span's name within its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(NonZeroU64);

/// A span of a sampled trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The span above; `None` where the trace begins here.
    pub parent: Option<SpanId>,
    /// The span.
    pub span: SpanId,
}

/// The trace context of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IncomingTrace {
    /// None, or none that can be read.
    Nothing,
    /// It belongs to a trace that is not sampled.
    Unsampled,
    /// It belongs to this trace, below this span.
    Sampled(TraceId, SpanId),
}

impl TraceId {
    /// Its bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl SpanId {
    /// Its bytes.
    pub const fn bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    fn from_number(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

impl Trace {
    /// The span below this one with that number; equal for equal numbers.
    pub fn child(&self, number: u64) -> Self {
        // SplitMix64 (Steele, Lea and Flood, 2014): neighbours become unrelated.
        let step = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.span.0.get().wrapping_add(step);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            id: self.id,
            parent: Some(self.span),
            span: SpanId::from_number(mixed ^ (mixed >> 31)),
        }
    }

    /// Makes this span the parent in `headers`.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let text = format!("00-{}-{:016x}-01", self.id, self.span.0);
        // Hex digits and dashes are a header's value always.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// The span of a request below the parent in its `headers`; `None` where that is not sampled.
    pub fn below(headers: &HeaderMap) -> Option<Self> {
        match incoming(headers) {
            IncomingTrace::Sampled(id, span) => Some(
                Self {
                    id,
                    parent: None,
                    span,
                }
                .child(0),
            ),
            IncomingTrace::Nothing | IncomingTrace::Unsampled => None,
        }
    }
}

/// Decides which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Of 2^64 requests without trace context, this many are.
    share: u64,
    all: bool,
}

impl Sampler {
    /// Traces this `share` of the requests without trace context, 0 to 1.
    pub fn new(share: f64) -> Self {
        Self {
            // Saturates at both ends.
            share: (share * 2f64.powi(64)) as u64,
            all: share >= 1.0,
        }
    }

    /// The span of a request with these `headers`; `None` where it is not traced.
    pub fn begin(&self, headers: &mut HeaderMap, rng: &mut impl Rng) -> Option<Trace> {
        match incoming(headers) {
            IncomingTrace::Unsampled => None,
            IncomingTrace::Sampled(id, parent) => Some(Trace {
                id,
                parent: Some(parent),
                span: SpanId::from_number(rng.next_u64()),
            }),
            IncomingTrace::Nothing if self.all || rng.next_u64() < self.share => {
                headers.remove(TRACESTATE);
                let mut id = [0; 16];
                rng.fill_bytes(&mut id);
                // All zero is no valid trace id, and as likely as a guessed key.
                id[15] |= u8::from(id == [0; 16]);
                Some(Trace {
                    id: TraceId(id),
                    parent: None,
                    span: SpanId::from_number(rng.next_u64()),
                })
            }
            IncomingTrace::Nothing => None,
        }
    }
}

fn incoming(headers: &HeaderMap) -> IncomingTrace {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => read(value.as_bytes()).unwrap_or(IncomingTrace::Nothing),
        _ => IncomingTrace::Nothing,
    }
}

/// `VERSION-TRACE-SPAN-FLAGS`, all in lower-case hex. Later versions may have more behind it.
fn read(text: &[u8]) -> Option<IncomingTrace> {
    let (head, rest) = text.split_at_checked(LENGTH)?;
    let version = number(&head[..2])?;
    let is_whole = match version {
        0x00 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let dashes = [head[2], head[35], head[52]];
    if !is_whole || dashes != [b'-'; 3] {
        return None;
    }
    let trace = number(&head[3..35]).filter(|id| *id != 0)?;
    let span = u64::try_from(number(&head[36..52])?).ok()?;
    let span = SpanId(NonZeroU64::new(span)?);
    let flags = u8::try_from(number(&head[53..])?).ok()?;
    Some(match flags & SAMPLED {
        SAMPLED => IncomingTrace::Sampled(TraceId(trace.to_be_bytes()), span),
        _ => IncomingTrace::Unsampled,
    })
}

/// The number that lower-case hex digits write; at most 32 of them.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_base::entropy;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| (TRACEPARENT, text.parse().expect("a valid value"));
        values.iter().map(value).collect()
    }

    fn begun(share: f64, values: &[&str]) -> Option<Trace> {
        Sampler::new(share).begin(&mut headers(values), &mut entropy::generator())
    }

    #[test]
    fn sampled_trace_is_followed_whatever_the_share() {
        let trace = begun(0.0, &[GIVEN]).expect("traced");
        assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let parent = trace.parent.map(SpanId::bytes);
        assert_eq!(
            parent,
            Some([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
        );
        assert_ne!(Some(trace.span), trace.parent);
    }

    #[test]
    fn unsampled_trace_stays_unsampled() {
        assert_eq!(begun(1.0, &[&GIVEN.replace("-01", "-00")]), None);
        assert_eq!(begun(1.0, &[&GIVEN.replace("-01", "-02")]), None);
    }

    #[test]
    fn share_is_sampled_without_trace_context() {
        assert_eq!(begun(0.0, &[]), None);
        assert!(begun(1.0, &[]).is_some_and(|trace| trace.parent.is_none()));
        let sampler = Sampler::new(0.25);
        let mut rng = entropy::generator();
        let drawn = (0..4_000).filter(|_| sampler.begin(&mut HeaderMap::new(), &mut rng).is_some());
        // 1,000 expected, with a deviation of 27: ten of them on either side.
        let drawn = drawn.count();
        assert!((730..1_270).contains(&drawn), "{drawn}");
    }

    #[test]
    fn unreadable_header_begins_a_trace_without_the_old_state() {
        let mut headers = headers(&["00-xyz"]);
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        let trace = Sampler::new(1.0).begin(&mut headers, &mut entropy::generator());
        assert!(trace.is_some_and(|trace| trace.parent.is_none()));
        assert!(!headers.contains_key(TRACESTATE));
    }

    #[test]
    fn malformed_headers_are_no_trace_context() {
        let zero_trace = GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16));
        for text in [
            "",
            "00",
            &GIVEN.to_uppercase(),
            &GIVEN.replace("00-4", "ff-4"),
            &format!("{GIVEN}-more"),
            &GIVEN.replace("-01", "_01"),
            &GIVEN.replace("-01", "-0g"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(
                incoming(&headers(&[text])),
                IncomingTrace::Nothing,
                "{text}"
            );
        }
        assert_eq!(incoming(&headers(&[GIVEN, GIVEN])), IncomingTrace::Nothing);
        let later = format!("01{}-more", &GIVEN[2..]);
        assert!(matches!(
            incoming(&headers(&[&later])),
            IncomingTrace::Sampled(..)
        ));
    }

    #[test]
    fn marked_request_is_below_the_span_that_marked_it() {
        let trace = begun(1.0, &[]).expect("traced");
        let (first, second) = (trace.child(0), trace.child(1));
        assert_ne!(first.span, second.span);
        assert_eq!((first, first.parent), (trace.child(0), Some(trace.span)));
        let mut headers = HeaderMap::new();
        first.mark(&mut headers);
        let there = Trace::below(&headers).expect("sampled");
        assert_eq!((there.id, there.parent), (trace.id, Some(first.span)));
    }
}
