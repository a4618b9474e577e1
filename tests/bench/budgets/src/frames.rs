//! The heads of a request and its answer over a hop: each written by one node and read by the other.

use std::hint::black_box;
use std::time::Duration;

use grapevine_core::ids::UpstreamName;
use grapevine_core::residency::ClientOrigin;
use grapevine_proto::frame::{LENGTH_BYTES, RequestHead, ResponseHead, ResponseStart, WireLoad};

use crate::mesh;

const OF_REQUEST: [(&str, &[u8]); 6] = [
    ("accept", b"application/json"),
    ("content-type", b"application/json"),
    ("user-agent", b"OpenAI/Python 2.8.0"),
    ("x-stainless-lang", b"python"),
    ("x-stainless-retry-count", b"0"),
    ("cdn-loop", b"grapevine-mesh"),
];

const OF_ANSWER: [(&str, &[u8]); 6] = [
    ("content-type", b"application/json"),
    ("content-length", b"1024"),
    ("date", b"Mon, 30 Nov 2026 00:00:00 GMT"),
    ("openai-processing-ms", b"812"),
    ("x-ratelimit-remaining-requests", b"9999"),
    ("x-request-id", b"req_0123456789abcdef"),
];

/// One request and its answer, `count` times.
pub(crate) fn exchange(count: u32) -> anyhow::Result<()> {
    let upstream = UpstreamName::new("primary")?;
    let model = mesh::model()?;
    for _ in 0..count {
        let request = RequestHead {
            lossy: None,
            request_id: "req_0123456789abcdef01234567",
            upstream: upstream.clone(),
            model: Some(model.clone()),
            method: "POST",
            path: "/v1/chat/completions",
            headers: OF_REQUEST.to_vec(),
            body_bytes: 1_024,
            remaining: Duration::from_secs(600),
            hops: 1,
            last_resort: false,
            allow_regions: Vec::new(),
            traceparent: None,
            client: ClientOrigin::default(),
            key: Some("app"),
            mark: 1,
        };
        let frame = request.encode()?;
        black_box(RequestHead::decode(black_box(&frame[LENGTH_BYTES..]))?);
        let load = WireLoad {
            in_flight: 7,
            ttft: Duration::from_millis(300),
        };
        let answer = ResponseStart::Answer(ResponseHead {
            status: 200,
            headers: OF_ANSWER.to_vec(),
            load,
        });
        let frame = answer.encode()?;
        black_box(ResponseStart::decode(black_box(&frame[LENGTH_BYTES..]))?);
    }
    Ok(())
}
