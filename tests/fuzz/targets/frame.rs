//! The frames between nodes. The first byte selects which.

use grapevine_proto::frame::{
    BODY_BYTES_MAX, Datagram, GREETING_BYTES_MAX, Greeting, HEAD_BYTES_MAX, InsideHead,
    LENGTH_BYTES, LOADS_MAX, RIGHTS_BYTES_MAX, RequestHead, ResponseStart, TAG_RIGHTS,
    decode_rights, encode_rights, payload_length, reset,
};

/// What is read can be written within its limit, and is then read the same.
pub(crate) fn target(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else {
        return;
    };
    match kind % 6 {
        0 => request(payload),
        1 => response(payload),
        2 => greeting(payload),
        3 => datagram(payload),
        4 => numbers(payload),
        _ => rights(payload),
    }
}

fn request(payload: &[u8]) {
    let Ok(head) = RequestHead::decode(payload) else {
        return;
    };
    assert!(head.body_bytes <= BODY_BYTES_MAX);
    let written = head.clone().encode().expect("what was read can be written");
    assert_eq!(
        RequestHead::decode(unframed(&written, HEAD_BYTES_MAX)),
        Ok(head.clone())
    );
    if let Some(inside) = InsideHead::of(&head) {
        let written = inside.encode().expect("what was read can be written");
        let again = RequestHead::decode(unframed(&written, HEAD_BYTES_MAX)).expect("a head");
        assert_eq!(InsideHead::of(&again), Some(inside));
    }
}

fn response(payload: &[u8]) {
    let Ok(start) = ResponseStart::decode(payload) else {
        return;
    };
    let written = start
        .clone()
        .encode()
        .expect("what was read can be written");
    assert_eq!(
        ResponseStart::decode(unframed(&written, HEAD_BYTES_MAX)),
        Ok(start)
    );
}

fn greeting(payload: &[u8]) {
    let Ok(greeting) = Greeting::decode(payload) else {
        return;
    };
    let written = greeting.encode().expect("what was read can be written");
    assert_eq!(
        Greeting::decode(unframed(&written, GREETING_BYTES_MAX)),
        Ok(greeting)
    );
}

fn datagram(payload: &[u8]) {
    match Datagram::decode(payload) {
        Ok(Datagram::Ping(ping)) => {
            assert_eq!(Datagram::decode(&ping.encode()), Ok(Datagram::Ping(ping)));
        }
        Ok(Datagram::Pong(pong)) => {
            assert!(pong.loads.len() <= LOADS_MAX);
            let written = pong.encode(usize::MAX);
            assert_eq!(Datagram::decode(&written), Ok(Datagram::Pong(pong.clone())));
            assert!(pong.encode(1_200).len() <= 1_200);
        }
        Ok(Datagram::Gossip(message) | Datagram::Rights(message)) => {
            assert_eq!(message, &payload[1..]);
        }
        Err(_) => {}
    }
}

fn rights(payload: &[u8]) {
    let Ok(message) = decode_rights(payload) else {
        return;
    };
    let written = encode_rights(&message);
    let (tag, again) = written.split_first().expect("a tag");
    assert_eq!(*tag, TAG_RIGHTS);
    assert!(again.len() <= RIGHTS_BYTES_MAX);
    assert_eq!(decode_rights(again), Ok(message));
}

/// The length before a frame, and the code that a stream is reset with.
fn numbers(payload: &[u8]) {
    let Some(bytes) = payload.first_chunk::<8>() else {
        return;
    };
    let [a, b, c, d, ..] = *bytes;
    if let Ok(length) = payload_length([a, b, c, d], HEAD_BYTES_MAX) {
        assert!(length <= HEAD_BYTES_MAX);
    }
    let outcome = reset::outcome(u64::from_le_bytes(*bytes));
    let code = reset::code(&outcome);
    assert_eq!(reset::code(&reset::outcome(code.into())), code);
}

fn unframed(frame: &[u8], max: usize) -> &[u8] {
    let (prefix, payload) = frame.split_first_chunk::<LENGTH_BYTES>().expect("a length");
    assert_eq!(payload_length(*prefix, max), Ok(payload.len()));
    payload
}
