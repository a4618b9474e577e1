use grapevine_core::ids::{Generation, NodeName};
use proptest::prelude::*;

use super::*;

/// The digest's stream that holds nothing.
const EMPTY: &[u8] = &[0];

fn incarnation(name: &str, generation: u64) -> Incarnation {
    Incarnation {
        node: NodeName::new(name).expect("a valid name"),
        generation: Generation(generation),
        address: ([127, 0, 0, 1], 7_171).into(),
    }
}

fn key(key: &str, version: u64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: "{}".to_owned(),
        version,
        deletion: Deletion::Stays,
    }
}

fn delta(keys: Vec<KeyValue>) -> NodeDelta {
    NodeDelta {
        incarnation: incarnation("n1", 5),
        collected_version: 0,
        after_version: 0,
        keys,
        version: None,
    }
}

fn ack(delta: Vec<NodeDelta>) -> Message {
    Message::Ack { delta }
}

/// Reads what is written of `delta`.
fn read_back(delta: Vec<NodeDelta>) -> Result<Message, MessageError> {
    decode(&encode(&ack(delta)).expect("short enough"))
}

/// An ACK whose delta has these blocks: kind and bytes.
fn ack_of_blocks<'a>(blocks: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut bytes = vec![0x53, 0xb0, 1, 2];
    for (kind, block) in blocks {
        bytes.push(kind);
        bytes.extend((block.len() as u16).to_le_bytes());
        bytes.extend(block);
    }
    bytes.extend(EMPTY);
    bytes
}

fn compressed(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 0).expect("compressed")
}

#[test]
fn message_as_chitchat_writes_it_is_read() {
    // SYN of mesh m1: one node n1 in its generation 7 at 127.0.0.1:7001, alive for 3 heartbeats, at version 2.
    let mut content = vec![2, 0];
    content.extend(b"n1");
    content.extend(7_u64.to_le_bytes());
    content.extend([4, 127, 0, 0, 1, 0x59, 0x1b]);
    for number in [3_u64, 0, 2] {
        content.extend(number.to_le_bytes());
    }
    let mut syn = vec![0x53, 0xb0, 1, 0, 2, content.len() as u8, 0];
    syn.extend(&content);
    syn.extend([0, 2, 0]);
    syn.extend(b"m1");
    let message = decode(&syn).expect("a message");
    let entry = StateEntry {
        incarnation: Incarnation {
            address: ([127, 0, 0, 1], 7_001).into(),
            ..incarnation("n1", 7)
        },
        heartbeat: 3,
        collected_version: 0,
        version: 2,
    };
    let expected = Message::Syn {
        mesh: "m1".to_owned(),
        digest: vec![entry],
    };
    assert_eq!(message, expected);
    assert_eq!(encode(&message).expect("short"), syn);
}

#[test]
fn message_of_another_kind_or_version_is_refused() {
    for bytes in [&b""[..], b"\x53", b"\x53\xb0\x01"] {
        assert_eq!(decode(bytes), Err(MessageError::Length), "{bytes:?}");
    }
    for bytes in [
        &b"junk"[..],
        b"\x53\xb0\x00\x02\x00",
        b"\x53\xb0\x02\x02\x00",
        b"\x53\xb0\x01\x03",
        b"\x53\xb0\x01\x02\x03\x00\x00",
    ] {
        assert_eq!(decode(bytes), Err(MessageError::Kind), "{bytes:?}");
    }
    assert_eq!(
        decode(b"\x53\xb0\x01\x02\x00more"),
        Err(MessageError::Length)
    );
}

#[test]
fn small_blocks_of_much_content_are_refused_at_their_first() {
    let block = compressed(&[0; 60_000]);
    assert!(block.len() < 64);
    let bytes = ack_of_blocks(std::iter::repeat_n(
        (1, &block[..]),
        63_000 / (block.len() + 3),
    ));
    assert_eq!(decode(&bytes), Err(MessageError::Compression));
}

#[test]
fn blocks_of_the_longest_content_are_counted() {
    let block = compressed(&[0; BLOCK_BYTES_MAX]);
    let bytes = ack_of_blocks(std::iter::repeat_n((1, &block[..]), 1_000));
    assert_eq!(decode(&bytes), Err(MessageError::TooMuch));
}

#[test]
fn frames_that_hide_their_size_or_come_in_a_row_count_by_what_they_hold() {
    use std::io::Write as _;
    let streamed = |content: &[u8]| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 0).expect("an encoder");
        encoder.write_all(content).expect("written");
        encoder.finish().expect("finished")
    };
    // Of unknown size, and of a window far above the limit.
    let hidden = streamed(&[0; BLOCK_BYTES_MAX + 1]);
    let wide = streamed(&vec![0; 8 * 1_024 * 1_024]);
    // Two frames, each within the limit, and a skippable one before another.
    let row = [compressed(&[0; 9_000]), compressed(&[0; 9_000])].concat();
    for block in [hidden, wide, row] {
        let bytes = ack_of_blocks([(1, &block[..])]);
        assert_eq!(decode(&bytes), Err(MessageError::Compression));
    }
    let skipped = [
        &b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"[..],
        &compressed(b""),
    ]
    .concat();
    assert_eq!(
        decode(&ack_of_blocks([(1, &skipped[..])])),
        Ok(ack(Vec::new()))
    );
    let torn = &compressed(&[7; 1_000])[..12];
    assert_eq!(
        decode(&ack_of_blocks([(1, torn)])),
        Err(MessageError::Compression)
    );
}

#[test]
fn versions_that_do_not_rise_are_refused() {
    let lower = NodeDelta {
        version: Some(1_000),
        ..delta(vec![key("x", 1_000_000)])
    };
    for node in [
        lower,
        delta(vec![key("x", 2), key("y", 2)]),
        delta(vec![key("x", 0)]),
    ] {
        assert_eq!(read_back(vec![node]), Err(MessageError::Order));
    }
    let twice = vec![delta(vec![key("x", 1)]), delta(vec![key("y", 2)])];
    assert_eq!(read_back(twice), Err(MessageError::Order));
    // A key, and a highest version, of no node.
    for operation in [
        &[2, 9, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 1, 0, b'x', 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let bytes = ack_of_blocks([(2, operation)]);
        assert_eq!(decode(&bytes), Err(MessageError::Order));
    }
}

#[test]
fn numbers_near_their_end_are_refused() {
    let ended = |change: fn(&mut NodeDelta)| {
        let mut node = delta(Vec::new());
        change(&mut node);
        read_back(vec![node])
    };
    for result in [
        ended(|node| node.incarnation.generation = Generation(u64::MAX)),
        ended(|node| node.collected_version = u64::MAX),
        ended(|node| node.after_version = NUMBER_MAX + 1),
        ended(|node| node.version = Some(u64::MAX)),
        ended(|node| node.keys = vec![key("x", u64::MAX)]),
    ] {
        assert_eq!(result, Err(MessageError::Number));
    }
    assert!(ended(|node| node.version = Some(NUMBER_MAX)).is_ok());
    let digest = vec![StateEntry {
        incarnation: incarnation("n1", 1),
        heartbeat: u64::MAX,
        collected_version: 0,
        version: 0,
    }];
    let mesh = "m1".to_owned();
    let syn = encode(&Message::Syn { mesh, digest }).expect("short");
    assert_eq!(decode(&syn), Err(MessageError::Number));
}

#[test]
fn keys_and_values_that_none_may_have_are_refused() {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    // Chitchat takes the first byte of a key for a character.
    for text in ["", "\u{e9}t\u{e9}", "up.\u{1f347}", "two words", &long] {
        assert_eq!(
            read_back(vec![delta(vec![key(text, 1)])]),
            Err(MessageError::Text),
            "{text:?}"
        );
    }
    let mut huge = key("x", 1);
    huge.value = "v".repeat(VALUE_BYTES_MAX + 1);
    assert_eq!(read_back(vec![delta(vec![huge])]), Err(MessageError::Text));
    let mut bytes = encode(&ack(vec![delta(vec![key("x", 1)])])).expect("short");
    let at = bytes.len() - 12;
    assert_eq!(bytes[at], b'{');
    bytes[at] = 0xff;
    assert_eq!(decode(&bytes), Err(MessageError::Text));
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    for address in [
        "0.0.0.0:7171",
        "224.0.0.1:7171",
        "255.255.255.255:1",
        "[ff02::1]:9",
        "[::]:9",
        "10.0.0.1:0",
    ] {
        let mut node = delta(Vec::new());
        node.incarnation.address = address.parse().expect("an address");
        assert_eq!(
            read_back(vec![node]),
            Err(MessageError::Address),
            "{address}"
        );
    }
}

#[test]
fn more_nodes_or_keys_than_a_message_may_hold_are_refused() {
    let nodes = |count: usize| {
        let node = |number: usize| NodeDelta {
            incarnation: incarnation("n", number as u64),
            ..delta(Vec::new())
        };
        (0..count).map(node).collect::<Vec<_>>()
    };
    assert!(read_back(nodes(NODES_MAX)).is_ok());
    assert_eq!(read_back(nodes(NODES_MAX + 1)), Err(MessageError::TooMuch));
    let keys = |count: u64| {
        vec![delta(
            (1..=count).map(|version| key("k", version)).collect(),
        )]
    };
    assert!(read_back(keys(KEYS_MAX as u64)).is_ok());
    assert_eq!(
        read_back(keys(KEYS_MAX as u64 + 1)),
        Err(MessageError::TooMuch)
    );
}

#[test]
fn message_that_is_too_long_is_not_written() {
    // Nothing that can be compressed.
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + (state >> 57) as u8 % 90)
    };
    let keys = (1..=25).map(|version| KeyValue {
        value: (0..VALUE_BYTES_MAX).map(|_| random()).collect(),
        ..key("k", version)
    });
    assert_eq!(encode(&ack(vec![delta(keys.collect())])), Err(TooLong));
}

fn incarnations() -> impl Strategy<Value = Incarnation> {
    let address = (any::<[u8; 16]>(), any::<bool>(), 1..u16::MAX).prop_map(|(ip, is_4, port)| {
        if is_4 {
            ([10, ip[1], ip[2], ip[3]], port).into()
        } else {
            let mut ip = ip;
            ip[0] = 0xfd;
            (ip, port).into()
        }
    });
    ("[a-z0-9._-]{1,63}", 0..=NUMBER_MAX, address).prop_map(|(node, generation, address)| {
        Incarnation {
            node: NodeName::new(&node).expect("a valid name"),
            generation: Generation(generation),
            address,
        }
    })
}

fn digests() -> impl Strategy<Value = Vec<StateEntry>> {
    let number = || 0..=NUMBER_MAX;
    let entries = (incarnations(), number(), number(), number());
    let entry = |(incarnation, heartbeat, collected_version, version)| StateEntry {
        incarnation,
        heartbeat,
        collected_version,
        version,
    };
    proptest::collection::vec(entries.prop_map(entry), 0..20).prop_map(|mut entries| {
        entries.sort_by(|one, other| one.incarnation.cmp(&other.incarnation));
        entries.dedup_by(|one, other| one.incarnation == other.incarnation);
        entries
    })
}

fn deltas() -> impl Strategy<Value = Vec<NodeDelta>> {
    let deletion = prop_oneof![
        Just(Deletion::Stays),
        Just(Deletion::Gone),
        Just(Deletion::Passing)
    ];
    let keys = proptest::collection::btree_map(
        1..=NUMBER_MAX,
        ("[!-~]{1,128}", ".{0,200}", deletion),
        0..8,
    )
    .prop_map(|keys| {
        let key = |(version, (key, value, deletion))| KeyValue {
            key,
            value,
            version,
            deletion,
        };
        keys.into_iter().map(key).collect::<Vec<_>>()
    });
    let node = (
        incarnations(),
        0..=NUMBER_MAX,
        0..=NUMBER_MAX,
        keys,
        proptest::option::of(0..=NUMBER_MAX),
    );
    let node = node.prop_map(
        |(incarnation, collected_version, after_version, keys, version)| NodeDelta {
            incarnation,
            collected_version,
            after_version,
            version: version.filter(|_| keys.is_empty()),
            keys,
        },
    );
    proptest::collection::vec(node, 0..6).prop_map(|mut nodes| {
        nodes.sort_by(|one, other| one.incarnation.cmp(&other.incarnation));
        nodes.dedup_by(|one, other| one.incarnation == other.incarnation);
        nodes
    })
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        ("[a-z0-9]{1,63}", digests()).prop_map(|(mesh, digest)| Message::Syn { mesh, digest }),
        (digests(), deltas()).prop_map(|(digest, delta)| Message::SynAck { digest, delta }),
        deltas().prop_map(|delta| Message::Ack { delta }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(message in messages()) {
        if let Ok(bytes) = encode(&message) {
            prop_assert_eq!(decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = decode(&bytes);
        let _ = decode(&[&[0x53, 0xb0, 1, 1, 2][..], &bytes].concat());
        let _ = decode(&ack_of_blocks([(2, &bytes[..])]));
        let _ = decode(&ack_of_blocks([(1, &compressed(&bytes)[..])]));
    }

    #[test]
    fn altered_messages_give_another_message_or_an_error(
        message in messages(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        if let Ok(mut bytes) = encode(&message) {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = decode(&bytes)
                && let Ok(written) = encode(&read)
            {
                prop_assert_eq!(decode(&written), Ok(read));
            }
        }
    }
}
