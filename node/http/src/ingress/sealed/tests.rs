//! What leaves is what came with seals at its ids, and comes back as it was.

use bytes::Bytes;
use grapevine_core::ids::{NodeName, RegionName, UpstreamName};
use grapevine_core::seal::{self, Owner};
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::found::RestoreError;
use super::keys::SealKeys;
use super::restored::{Restored, is_sealed, restore};
use super::sealer::Sealer;

fn keys() -> SealKeys {
    SealKeys::of_secrets([b"a secret of this mesh".as_slice()])
}

fn owner(region: &str, node: &str) -> Owner {
    Owner::of(
        &RegionName::new(region).expect("a region"),
        &UpstreamName::new("openai").expect("an upstream"),
        &NodeName::new(node).expect("a node"),
    )
}

fn path(text: &str) -> PathAndQuery {
    text.parse().expect("a path")
}

const RESPONSES: &str = "/v1/responses";

/// `answer` of the owner in `region`, sealed in pieces of `length`.
fn sealed_by(region: &str, answer: &[u8], length: usize) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, json);
    let owner = Some(owner(region, "n1"));
    let mut sealer = Sealer::of(&keys(), owner, RESPONSES, &headers).expect("it holds ids");
    let mut sealed = Vec::new();
    for piece in answer.chunks(length.max(1)) {
        let piece = Bytes::copy_from_slice(piece);
        sealer.take(piece, |piece| sealed.extend_from_slice(&piece));
    }
    sealed
}

fn sealed(answer: &str) -> String {
    String::from_utf8(sealed_by("eur", answer.as_bytes(), usize::MAX)).expect("text")
}

fn restored(body: &[u8]) -> Result<Restored, RestoreError> {
    restore(&keys(), &path(RESPONSES), &Bytes::copy_from_slice(body))
}

/// The body as its upstream sees it.
fn original(body: &[u8]) -> Vec<u8> {
    let restored = restored(body).expect("seals of this mesh");
    restored
        .body
        .map_or_else(|| body.to_vec(), |body| body.to_vec())
}

const ANSWER: &str = r#"{"id":"resp_68a","object":"response","previous_response_id":null,
    "conversation":{"id":"conv_1"},"metadata":{"id":"mine"},"output":[
    {"id":"rs_1","type":"reasoning","encrypted_content":"gAAAAABo-_x1yz=="},
    {"id":"msg_1","type":"message","content":[{"type":"output_text",
    "text":"The id is \"resp_68a\", \"id\":\"resp_68a\".","annotations":[
    {"type":"container_file_citation","container_id":"cntr_7","file_id":"cfile_3"}]}]},
    {"id":"ci_1","container_id":"cntr_7","file_ids":["file-a", "file-b"],"file_id": "file-c"}]}"#;

#[test]
fn ids_that_an_upstream_keeps_are_sealed_and_nothing_else() {
    let text = sealed(ANSWER);
    let answer: Value = serde_json::from_str(&text).expect("still JSON");
    let at = |pointer: &str| {
        answer
            .pointer(pointer)
            .and_then(Value::as_str)
            .expect(pointer)
    };
    for (pointer, id) in [
        ("/id", "resp_68a"),
        ("/conversation/id", "conv_1"),
        ("/output/0/id", "rs_1"),
        ("/output/1/content/0/annotations/0/container_id", "cntr_7"),
        ("/output/2/container_id", "cntr_7"),
        ("/output/2/file_ids/0", "file-a"),
        ("/output/2/file_ids/1", "file-b"),
        ("/output/2/file_id", "file-c"),
    ] {
        assert!(
            at(pointer).starts_with(id) && is_sealed(at(pointer)),
            "{pointer}"
        );
    }
    let content = at("/output/0/encrypted_content");
    assert_eq!(content.len(), "gAAAAABo-_x1yz==".len() + 19);
    for (pointer, value) in [
        ("/metadata/id", "mine"),
        ("/output/1/id", "msg_1"),
        ("/output/2/id", "ci_1"),
        ("/output/1/content/0/annotations/0/file_id", "cfile_3"),
        (
            "/output/1/content/0/text",
            r#"The id is "resp_68a", "id":"resp_68a"."#,
        ),
    ] {
        assert_eq!(at(pointer), value);
    }
    assert_eq!(original(text.as_bytes()), ANSWER.as_bytes());
    assert_eq!(text.len(), ANSWER.len() + 8 * 17 + 19);
}

#[test]
fn owner_is_found_from_body_path_and_query() {
    let id = sealed(r#"{"id":"resp_1"}"#);
    let id = id.split('"').nth(3).expect("an id");
    let of_path = |text: &str| {
        let restored = restore(&keys(), &path(text), &Bytes::new()).expect("a seal of this mesh");
        let path = restored.path.expect("a path that changed").to_string();
        (path, restored.owner)
    };
    let eur = Some(owner("eur", "n1"));
    for (given, wanted) in [
        (format!("/v1/responses/{id}"), "/v1/responses/resp_1"),
        (
            format!("/v1/responses/{id}/input_items?after=x&limit=2"),
            "/v1/responses/resp_1/input_items?after=x&limit=2",
        ),
        (
            format!("/v1/conversations/conv_9/items?after={id}&order=asc"),
            "/v1/conversations/conv_9/items?after=resp_1&order=asc",
        ),
    ] {
        assert_eq!(of_path(&given), (wanted.to_owned(), eur));
    }
    let body = format!(r#"{{"previous_response_id":"{id}","input":"hi"}}"#);
    assert_eq!(restored(body.as_bytes()).expect("sealed").owner, eur);
}

#[test]
fn ids_from_before_pass_as_they_are() {
    let body =
        br#"{"previous_response_id":"resp_old","input":[{"type":"item_reference","id":"rs_2"}]}"#;
    assert_eq!(restored(body), Ok(Restored::default()));
    let old = restore(&keys(), &path("/v1/responses/resp_old"), &Bytes::new());
    assert_eq!(old, Ok(Restored::default()));
}

#[test]
fn changed_and_foreign_ids_are_unknown() {
    let id = sealed(r#"{"id":"resp_1"}"#);
    let other = SealKeys::of_secrets([b"a secret of another mesh".as_slice()]);
    let body = Bytes::copy_from_slice(id.as_bytes());
    let unknown = Err(RestoreError::Unknown);
    assert_eq!(restore(&other, &path(RESPONSES), &body), unknown);
    let at = id.find("_g").expect("a seal") + 2;
    for index in (at..id.len() - 2).chain([8, 12]) {
        let mut forged = id.clone().into_bytes();
        forged[index] = if forged[index] == b'0' { b'1' } else { b'0' };
        // Another digit at the front may be no number of a seal: then it is an id from before, and routes nowhere.
        let restored = restored(&forged);
        let is_no_seal = restored == Ok(Restored::default());
        assert!(restored == unknown || is_no_seal, "{index}: {restored:?}");
        assert!(restored.is_err() || index <= at || index == 8, "{index}");
    }
}

fn sealed_at(region: &str, answer: &str) -> String {
    String::from_utf8(sealed_by(region, answer.as_bytes(), 99)).expect("text")
}

#[test]
fn what_two_upstreams_keep_is_refused_and_two_nodes_of_one_is_not() {
    let file = |region| sealed_at(region, r#"{"type":"input_file","file_id":"file-1"}"#);
    let body = |one, other| format!(r#"{{"input":[{},{}]}}"#, file(one), file(other));
    let both = body("eur", "usa");
    assert_eq!(restored(both.as_bytes()), Err(RestoreError::TwoOwners));
    assert!(restored(body("eur", "eur").as_bytes()).is_ok());
    let listed = format!("[{},{}]", file("eur"), file("usa"));
    assert_eq!(restored(listed.as_bytes()), Err(RestoreError::TwoOwners));
}

/// An input of several upstreams, and what is left of it for one.
fn left(before: &str, items: &[String]) -> (String, Owner) {
    let body = format!(
        r#"{{{before}"input": [{}], "model":"m"}}"#,
        items.join(" , ")
    );
    let restored = restored(body.as_bytes()).expect("for one owner");
    assert!(restored.is_reasoning_lost, "{body}");
    let left = String::from_utf8(restored.body.expect("changed").to_vec()).expect("text");
    assert!(serde_json::from_str::<Value>(&left).is_ok(), "{left}");
    (left, restored.owner.expect("an owner"))
}

#[test]
fn reasoning_of_another_upstream_is_left_out_with_the_ids_behind_it() {
    let thought = |region: &str, id: &str| {
        sealed_at(
            region,
            &format!(r#"{{"id":"{id}","type":"reasoning","summary":[]}}"#),
        )
    };
    let call = r#"{"type":"function_call", "id" : "fc_1", "call_id":"c"}"#.to_owned();
    let said = r#"{"role":"user","id":"msg_0","content":"hi"}"#.to_owned();
    let hidden = sealed_at("usa", r#"{"type":"reasoning","encrypted_content":"AAAA"}"#);
    // The latest reasoning's upstream.
    let items = [
        thought("usa", "rs_1"),
        call.clone(),
        said.clone(),
        hidden.clone(),
        thought("eur", "rs_2"),
        call.clone(),
    ];
    let expected = concat!(
        r#"{"input": [{"type":"function_call",  "call_id":"c"} , "#,
        r#"{"role":"user","id":"msg_0","content":"hi"} , {"id":"rs_2","type":"reasoning","summary":[]} , "#,
        r#"{"type":"function_call", "id" : "fc_1", "call_id":"c"}], "model":"m"}"#,
    );
    assert_eq!(left("", &items), (expected.to_owned(), owner("eur", "n1")));
    // The conversation's, whatever reasoning is the latest.
    let conversation = sealed_at("eur", r#"{"conversation":"conv_1"}"#);
    let before = format!("{},", conversation.trim_matches(['{', '}']));
    let items = [said.clone(), thought("usa", "rs_1"), hidden.clone()];
    let expected = format!(r#"{{"conversation":"conv_1","input": [{said}], "model":"m"}}"#);
    assert_eq!(left(&before, &items), (expected, owner("eur", "n1")));
    let expected = r#"{"conversation":"conv_1","input": [], "model":"m"}"#.to_owned();
    assert_eq!(left(&before, &[hidden]), (expected, owner("eur", "n1")));
}

#[test]
fn more_seals_than_any_conversation_has_are_refused() {
    let item = sealed(r#"{"id":"rs_1"}"#);
    let of = |count: usize| {
        let body = format!("[{}]", vec![item.as_str(); count].join(","));
        restored(body.as_bytes()).map(|restored| restored.owner.is_some())
    };
    assert_eq!(of(16_384), Ok(true));
    assert_eq!(of(16_385), Err(RestoreError::TooMany));
}

#[test]
fn content_comes_back_in_another_writers_escapes() {
    let content = sealed(r#"{"encrypted_content":"gAAA-_=="}"#);
    let escaped = content.replace("==", r"\u003d\u003d");
    let restored = restored(escaped.as_bytes()).expect("a seal of this mesh");
    assert_eq!(restored.owner, Some(owner("eur", "n1")));
    let body = restored.body.expect("restored");
    assert_eq!(&body[..], br#"{"encrypted_content":"gAAA-_\u003d\u003d"}"#);
}

#[test]
fn answers_without_ids_or_in_a_coding_are_not_read() {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let of = |path: &str, headers: &HeaderMap| {
        Sealer::of(&keys(), Some(owner("eur", "n1")), path, headers).is_some()
    };
    assert!(of("/v1/conversations/conv_1/items", &headers));
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/responsesx",
        "/v1/files/f/content",
    ] {
        assert!(!of(path, &headers), "{path}");
    }
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(!of(RESPONSES, &headers));
    headers.remove(header::CONTENT_ENCODING);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("audio/mpeg"));
    assert!(!of(RESPONSES, &headers));
}

#[test]
fn chat_that_names_a_file_finds_its_owner() {
    let id = sealed(r#"{"id":"file-1"}"#);
    let id = id.split('"').nth(3).expect("an id");
    let body = format!(
        r#"{{"messages":[{{"content":[{{"type":"file","file":{{"file_id":"{id}"}}}}]}}]}}"#
    );
    let restored = restore(&keys(), &path("/v1/chat/completions"), &Bytes::from(body));
    assert_eq!(restored.expect("sealed").owner, Some(owner("eur", "n1")));
}

#[test]
fn stream_is_sealed_in_whatever_pieces_it_comes() {
    let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n\
        : ping \"id\":\"resp_2\n\n\
        event: response.output_text.delta\ndata: {\"item_id\":\"msg_1\",\"delta\":\"resp_\"}\n\n\
        data: {\"item\":{\"id\":\"rs_1\",\"encrypted_content\":\"gAAAAA\"}}\n\ndata: [DONE]\n\n";
    let whole = sealed_by("eur", stream.as_bytes(), usize::MAX);
    assert_eq!(whole.len(), stream.len() + 2 * 17 + 19);
    for length in 1..60 {
        assert_eq!(
            sealed_by("eur", stream.as_bytes(), length),
            whole,
            "{length}"
        );
    }
    assert_eq!(original(&whole), stream.as_bytes());
}

/// What a full parser would find: `value` with every id sealed.
fn reference(value: &Value, key: &str) -> Value {
    match value {
        Value::String(text) if key == "encrypted_content" && !text.is_empty() => {
            let sealed = sealed(&json!({ "encrypted_content": text }).to_string());
            let sealed: Value = serde_json::from_str(&sealed).expect("JSON");
            sealed["encrypted_content"].clone()
        }
        Value::String(text) if ["id", "file_ids", "item_id"].contains(&key) => {
            let sealed = sealed(&json!({ "id": text }).to_string());
            let is_id = seal::id_kind(text.as_bytes()).is_some();
            let sealed: Value = serde_json::from_str(&sealed).expect("JSON");
            assert_eq!(sealed["id"] != *text, is_id, "{text}");
            sealed["id"].clone()
        }
        Value::Array(list) => {
            let nested = |one: &Value| {
                // A list in a list belongs to no key.
                let key = if one.is_string() { key } else { "" };
                reference(one, key)
            };
            Value::Array(list.iter().map(nested).collect())
        }
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(key, value)| (key.clone(), reference(value, key)))
                .collect::<Map<_, _>>()
                .into()
        }
        other => other.clone(),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "(resp_|conv_|cntr_|file-|rs_|msg_|batch_)[a-zA-Z0-9]{0,12}",
        "[a-z\"\\\\:{}\\[\\], ]{0,12}",
        any::<String>(),
    ];
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let key = prop_oneof![
        Just("id".to_owned()),
        Just("file_ids".to_owned()),
        Just("item_id".to_owned()),
        Just("encrypted_content".to_owned()),
        Just("text".to_owned()),
        "[a-z\"\\\\]{0,6}",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            // Lists of one kind, as APIs have them.
            prop::collection::vec("(file-|rs_)[a-z0-9]{1,9}".prop_map(Value::from), 0..4)
                .prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #[test]
    fn splice_is_what_a_parser_would_do_and_comes_back(
        value in value(),
        pretty in any::<bool>(),
        length in 1..40_usize,
    ) {
        let text = match pretty {
            true => serde_json::to_vec_pretty(&value),
            false => serde_json::to_vec(&value),
        };
        let text = text.expect("JSON");
        let sealed = sealed_by("eur", &text, length);
        let parsed: Value = serde_json::from_slice(&sealed).expect("still JSON");
        // What had escapes stays: it is compared with itself.
        prop_assert_eq!(&parsed, &reference(&value, ""));
        prop_assert_eq!(original(&sealed), text);
    }

    #[test]
    fn no_bytes_panic_and_none_are_lost(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        length in 1..20_usize,
    ) {
        let sealed = sealed_by("eur", &bytes, length);
        prop_assert!(sealed.len() >= bytes.len());
        let _ = restored(&bytes);
    }

    #[test]
    fn json_like_bytes_come_back(
        text in r#"("(id|file_ids|encrypted_content)"|[:\[\],{}\n ]|"(rs_1|file-2|gAAA|\\")"|"){0,20}"#,
        length in 1..20_usize,
    ) {
        let sealed = sealed_by("eur", text.as_bytes(), length);
        prop_assert_eq!(original(&sealed), text.as_bytes());
    }
}

#[test]
fn longest_id_comes_back_and_a_longer_one_is_left_alone() {
    for (bytes, is_sealed) in [(seal::ID_BYTES_MAX, true), (seal::ID_BYTES_MAX + 1, false)] {
        let id = format!("resp_{}", "x".repeat(bytes - "resp_".len()));
        let answer = format!(r#"{{"id":"{id}"}}"#);
        let text = sealed(&answer);
        assert_eq!(text != answer, is_sealed, "{bytes} bytes");
        assert_eq!(original(text.as_bytes()), answer.as_bytes());
    }
}
