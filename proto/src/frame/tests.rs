//! What holds for every kind of frame.

use std::time::Duration;

use grapevine_core::country::{Continent, CountryCode};
use grapevine_core::fact::Load;
use grapevine_core::ids::{Generation, ModelName, NodeName, RegionName, UpstreamName};
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use grapevine_core::residency::ClientOrigin;
use proptest::prelude::*;

use super::*;

fn request() -> RequestHead<'static> {
    RequestHead {
        request_id: "req-1",
        upstream: UpstreamName::new("primary").expect("a name"),
        model: Some(ModelName::new("gpt-4o").expect("a name")),
        method: "POST",
        path: "/v1/chat/completions",
        headers: vec![("content-type", b"application/json"), ("x-a", b"\xff")],
        body_bytes: 300,
        remaining: Duration::from_micros(1_500_000),
        hops: 1,
        last_resort: false,
        allow_regions: vec![RegionName::new("eur").expect("a name")],
        traceparent: None,
        client: ClientOrigin::Unknown,
        key: None,
        mark: 0,
        lossy: None,
    }
}

fn answer() -> ResponseStart<'static> {
    ResponseStart::Answer(ResponseHead {
        status: 200,
        headers: vec![("content-type", b"text/event-stream")],
        load: WireLoad {
            in_flight: 7,
            ttft: Duration::from_millis(310),
        },
    })
}

fn refusal() -> ResponseStart<'static> {
    ResponseStart::None(NoAnswer {
        outcome: Outcome::Refused(Refusal::Full),
        load: Some(WireLoad {
            in_flight: 256,
            ttft: Duration::ZERO,
        }),
        detail: "full",
    })
}

fn greeting() -> Greeting {
    Greeting {
        node: NodeName::new("sgp-1").expect("a name"),
        generation: Generation(1_700_000_000_000),
        address: "203.0.113.5:7171".parse().expect("an address"),
        host: "sgp.example.net:7171".into(),
        version_min: 1,
        version_max: 1,
    }
}

fn pong() -> Pong {
    let load = |name: &str| Load {
        upstream: UpstreamName::new(name).expect("a name"),
        in_flight: 3,
        ttft: Duration::from_millis(2),
    };
    Pong {
        sequence: 9,
        loads: vec![load("a"), load("b")],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The payload of a frame, after checking its length.
fn payload(frame: &[u8]) -> &[u8] {
    let (prefix, payload) = frame.split_at(LENGTH_BYTES);
    let prefix = prefix.try_into().expect("four bytes");
    let length = payload_length(prefix, HEAD_BYTES_MAX).expect("a length within the limit");
    assert_eq!(length, payload.len());
    payload
}

#[test]
fn call_to_the_inside_has_these_bytes_and_comes_back() {
    let inside = InsideHead {
        path: "/tasks/lease",
        body_bytes: 300,
        remaining: Duration::from_micros(1_500_000),
    };
    let frame = inside.encode().expect("a frame");
    assert_eq!(
        hex(&frame),
        "33000000\
         0106696e7369646506696e7369646500\
         08696e736964652f310c2f7461736b732f6c6561736500\
         fb2c01fc60e3160001000000"
    );
    let head = RequestHead::decode(payload(&frame)).expect("a request's head");
    assert_eq!(InsideHead::of(&head), Some(inside));
    assert_eq!(InsideHead::of(&request()), None);
    let long = InsideHead {
        body_bytes: BODY_BYTES_MAX + 1,
        ..inside
    };
    assert!(long.encode().is_err());
}

#[test]
fn bytes_of_version_1_stay_as_they_are() {
    assert_eq!(
        hex(&request().encode().expect("a frame")),
        "66000000\
         01057265712d31077072696d617279010667\
         70742d346f04504f5354142f76312f636861742f636f6d706c6574696f6e73\
         020c636f6e74656e742d74797065106170706c69636174696f6e2f6a736f6e03782d6101ff\
         fb2c01fc60e316000100010365757200"
    );
    assert_eq!(
        hex(&answer().encode().expect("a frame")),
        "290000000100c8010c636f6e74656e742d7479706511746578742f6576656e742d73747265616d07fc\
         f0ba0400"
    );
    assert_eq!(
        hex(&refusal().encode().expect("a frame")),
        "0d000000010120\
         01fb0001000466756c6c"
    );
    assert_eq!(
        hex(&greeting().encode().expect("a frame")),
        "3800000001057367702d31fd0068e5cf8b010000103230332e302e3131332e353a37313731147367702e6578\
         616d706c652e6e65743a373137310101"
    );
    assert_eq!(hex(&Ping { sequence: 9 }.encode()), "020109");
    assert_eq!(
        hex(&pong().encode(1_200)),
        "03010902016103fbd007016203fbd007"
    );
}

#[test]
fn every_frame_reads_back_as_written() {
    let frame = request().encode().expect("a frame");
    assert_eq!(RequestHead::decode(payload(&frame)), Ok(request()));
    for start in [answer(), refusal()] {
        let frame = start.clone().encode().expect("a frame");
        assert_eq!(ResponseStart::decode(payload(&frame)), Ok(start));
    }
    let frame = greeting().encode().expect("a frame");
    assert_eq!(Greeting::decode(payload(&frame)), Ok(greeting()));
    let ping = Ping { sequence: u64::MAX };
    assert_eq!(Datagram::decode(&ping.encode()), Ok(Datagram::Ping(ping)));
    let echo = pong().encode(1_200);
    assert_eq!(Datagram::decode(&echo), Ok(Datagram::Pong(pong())));
}

#[test]
fn client_of_a_request_survives_the_hop_and_leaves_no_header() {
    let country = CountryCode::new("DE").expect("a code");
    for client in [
        ClientOrigin::Country(country),
        ClientOrigin::Continent(Continent::Asia),
    ] {
        let sent = RequestHead {
            client,
            key: Some("app"),
            mark: 0,
            lossy: None,
            ..request()
        };
        let frame = sent.clone().encode().expect("a frame");
        assert_eq!(RequestHead::decode(payload(&frame)), Ok(sent));
    }
}

#[test]
fn client_is_described_by_the_node_and_not_by_a_header_of_the_client() {
    let mut spoofed = request();
    spoofed.headers.push(("x-grapevine-client-area", b"US"));
    spoofed.headers.push(("x-grapevine-client-key", b"root"));
    let frame = spoofed.encode().expect("a frame");
    assert_eq!(RequestHead::decode(payload(&frame)), Ok(request()));
}

#[test]
fn every_outcome_but_status_and_lost_peer_survives_the_hop() {
    let outcomes = [
        Outcome::ConnectFailed,
        Outcome::TimedOut(Stage::FirstByte),
        Outcome::TimedOut(Stage::Answer),
        Outcome::Reset,
        Outcome::DeadlinePassed,
        Outcome::Refused(Refusal::Draining),
        Outcome::Refused(Refusal::Protocol),
    ];
    let over_the_wire = |outcome| {
        let none = NoAnswer {
            outcome,
            load: None,
            detail: "",
        };
        let frame = ResponseStart::None(none).encode().expect("a frame");
        match ResponseStart::decode(payload(&frame)) {
            Ok(ResponseStart::None(none)) => none.outcome,
            other => panic!("{other:?}"),
        }
    };
    for outcome in outcomes {
        assert_eq!(over_the_wire(outcome), outcome);
    }
    assert_eq!(over_the_wire(Outcome::PeerLost), Outcome::Reset);
    assert_eq!(over_the_wire(Outcome::status(500)), Outcome::Reset);
}

#[test]
fn every_truncation_is_an_error_and_so_is_a_byte_more() {
    let request = request().encode().expect("a frame");
    let greeting = greeting().encode().expect("a frame");
    let answer = answer().encode().expect("a frame");
    let pong = pong().encode(1_200);
    for length in 0..payload(&request).len() {
        assert!(RequestHead::decode(&payload(&request)[..length]).is_err());
    }
    for length in 0..payload(&answer).len() {
        assert!(ResponseStart::decode(&payload(&answer)[..length]).is_err());
    }
    for length in 0..payload(&greeting).len() {
        assert!(Greeting::decode(&payload(&greeting)[..length]).is_err());
    }
    for length in 0..pong.len() {
        assert!(Datagram::decode(&pong[..length]).is_err());
    }
    let longer = [payload(&request), &[0]].concat();
    assert_eq!(RequestHead::decode(&longer), Err(DecodeError::Malformed));
}

#[test]
fn other_version_is_refused_by_both_names_whatever_follows() {
    let error = RequestHead::decode(&[2, 0xff, 0xff]).expect_err("version 2");
    assert_eq!(error, DecodeError::Version { theirs: 2, ours: 1 });
    let text = error.to_string();
    assert!(
        text.contains("version 2") && text.contains("version 1"),
        "{text}"
    );
}

#[test]
fn greeting_without_a_common_version_is_refused() {
    let newer = Greeting {
        version_min: 2,
        version_max: 3,
        ..greeting()
    };
    let frame = newer.encode().expect("a frame");
    assert_eq!(
        Greeting::decode(payload(&frame)),
        Err(DecodeError::Version { theirs: 3, ours: 1 })
    );
}

#[test]
fn hostile_lengths_are_errors() {
    // Version 1, then a length of 2^64 - 1 for the first text.
    let hostile = [&[1, 0xfd][..], &[0xff; 8]].concat();
    assert_eq!(RequestHead::decode(&hostile), Err(DecodeError::Malformed));
    // A list of headers of 2^32 - 1 in an answer.
    let hostile = [&[1, 0, 200, 0xfc][..], &[0xff; 4]].concat();
    assert_eq!(ResponseStart::decode(&hostile), Err(DecodeError::Malformed));
    let error = payload_length([0xff; 4], HEAD_BYTES_MAX).expect_err("4 GiB");
    assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
}

#[test]
fn header_limits_hold_on_both_sides() {
    let many = RequestHead {
        headers: vec![("a", b""); HEADERS_MAX + 1],
        ..request()
    };
    assert!(many.encode().is_err());
    let most = RequestHead {
        headers: vec![("a", b""); HEADERS_MAX],
        ..request()
    };
    let frame = most.clone().encode().expect("a frame");
    assert_eq!(RequestHead::decode(payload(&frame)), Ok(most));
    let value = vec![b'v'; HEADER_BYTES_MAX];
    let long = |value| RequestHead {
        headers: vec![("a", value)],
        ..request()
    };
    assert!(long(&value).encode().is_err());
    let frame = long(&value[1..]).encode().expect("a frame");
    assert!(RequestHead::decode(payload(&frame)).is_ok());
}

#[test]
fn body_beyond_its_limit_is_refused() {
    let large = RequestHead {
        body_bytes: BODY_BYTES_MAX + 1,
        ..request()
    };
    assert!(large.encode().is_err());
}

#[test]
fn long_detail_is_cut_between_characters() {
    let detail = "é".repeat(DETAIL_BYTES_MAX);
    let none = NoAnswer {
        outcome: Outcome::Reset,
        load: None,
        detail: &detail,
    };
    let frame = ResponseStart::None(none).encode().expect("a frame");
    let Ok(ResponseStart::None(read)) = ResponseStart::decode(payload(&frame)) else {
        panic!("no answer expected");
    };
    assert_eq!(read.detail.len(), DETAIL_BYTES_MAX);
}

#[test]
fn echo_fits_into_its_datagram_however_many_loads() {
    let load = Load {
        upstream: UpstreamName::new(&"u".repeat(63)).expect("a name"),
        in_flight: u32::MAX,
        ttft: Duration::MAX,
    };
    let pong = Pong {
        sequence: u64::MAX,
        loads: vec![load; 100],
    };
    for bytes_max in [14, 100, 1_162, 9_000] {
        let datagram = pong.encode(bytes_max);
        assert!(datagram.len() <= bytes_max, "{}", datagram.len());
        assert!(matches!(
            Datagram::decode(&datagram),
            Ok(Datagram::Pong(read)) if read.loads.len() <= LOADS_MAX
        ));
    }
}

proptest! {
    #[test]
    fn any_request_head_reads_back(
        request_id in "[!-~]{1,128}",
        upstream in "[a-z0-9._-]{1,63}",
        model in proptest::option::of("[!-~]{1,128}"),
        path in "/[!-~]{0,200}",
        headers in proptest::collection::vec(("[a-z-]{1,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        body_bytes in 0..=BODY_BYTES_MAX,
        micros in any::<u32>(),
        hops in any::<u8>(),
        last_resort in any::<bool>(),
        traceparent in proptest::option::of("[!-~]{1,55}"),
    ) {
        let head = RequestHead {
            request_id: &request_id,
            upstream: UpstreamName::new(&upstream).expect("a name"),
            model: model.as_deref().map(|model| ModelName::new(model).expect("a name")),
            method: "POST",
            path: &path,
            headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect(),
            body_bytes,
            remaining: Duration::from_micros(u64::from(micros)),
            hops,
            last_resort,
            allow_regions: vec![],
            traceparent: traceparent.as_deref(),
            client: ClientOrigin::Unknown,
            key: None,
            mark: 0, lossy: None,
        };
        let frame = head.clone().encode().expect("within the limits");
        prop_assert_eq!(RequestHead::decode(payload(&frame)), Ok(head));
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for first in [None, Some(1)] {
            if let (Some(first), Some(byte)) = (first, bytes.first_mut()) {
                *byte = first;
            }
            let _ = RequestHead::decode(&bytes);
            let _ = ResponseStart::decode(&bytes);
            let _ = Greeting::decode(&bytes);
            let _ = Datagram::decode(&bytes);
        }
    }

    #[test]
    fn any_flipped_byte_is_read_or_refused(position in 0usize..102, byte in any::<u8>()) {
        let mut frame = request().encode().expect("a frame");
        frame[LENGTH_BYTES + position] = byte;
        // Whatever it reads as is written within the limits again.
        if let Ok(head) = RequestHead::decode(&frame[LENGTH_BYTES..]) {
            prop_assert!(head.encode().is_ok());
        }
    }
}
