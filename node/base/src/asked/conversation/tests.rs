use bytes::Bytes;
use grapevine_core::forwarding::PathScope;
use grapevine_core::route::{Session, SessionSource};
use http::Method;
use http::header::HeaderMap;
use proptest::prelude::*;

use super::super::read;

fn of(path: &str, body: &str) -> Option<Session> {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let scope = PathScope::Inference;
    let asked = read(scope, &Method::POST, path, &HeaderMap::new(), &bytes);
    asked.expect("a good body").session(None, &bytes)
}

fn chat(body: &str) -> Option<Session> {
    of(
        "/v1/chat/completions",
        &format!(r#"{{"model":"m",{body}}}"#),
    )
}

fn source(body: &str) -> Option<SessionSource> {
    of("/v1/responses", body).map(|session| session.source)
}

const OPENING: &str = "Tell me of the islands to the north of Sicily.";

#[test]
fn most_certain_name_of_the_body_counts() {
    let all = [
        (
            r#""metadata":{"user_id":"user_1_account__session_6b1f-00aa"}"#,
            SessionSource::Metadata,
        ),
        (
            r#""previous_response_id":"resp_1""#,
            SessionSource::PreviousResponse,
        ),
        (
            r#""conversation":{"id":"conv_1"}"#,
            SessionSource::Conversation,
        ),
        (r#""prompt_cache_key":"k""#, SessionSource::PromptCacheKey),
        (r#""user":"u""#, SessionSource::User),
        (
            r#""input":"Tell me of the islands to the north of Sicily.""#,
            SessionSource::Opening,
        ),
    ];
    for first in 0..all.len() {
        let mut members: Vec<&str> = all[first..].iter().map(|(member, _)| *member).collect();
        for _ in 0..2 {
            let body = format!("{{{}}}", members.join(","));
            assert_eq!(source(&body), Some(all[first].1), "{body}");
            members.reverse();
        }
    }
}

#[test]
fn empty_names_and_those_of_another_kind_name_nothing() {
    for body in [
        r#"{"user":"","prompt_cache_key":null,"conversation":{},"metadata":{"user_id":"u"}}"#,
        r#"{"user":7,"conversation":["conv_1"],"metadata":"session_12345678","input":"hi"}"#,
        r#"{"metadata":{"user_id":"user_1_session_"},"messages":{"role":"user"},"input":7}"#,
    ] {
        assert_eq!(source(body), None, "{body}");
    }
}

#[test]
fn conversation_is_the_same_by_id_and_by_object() {
    let by_id = of("/v1/responses", r#"{"conversation":"conv_1"}"#);
    let by_object = of("/v1/responses", r#"{"conversation":{"id":"conv_1"}}"#);
    assert!(by_id.is_some());
    assert_eq!(by_id, by_object);
}

#[test]
fn session_of_claude_code_is_found_in_both_forms() {
    let uuid = "6f6d8a3e-3a52-4d0e-9d3b-1f0d9c1b2a3c";
    let plain = format!("user_ab12_account__session_{uuid}");
    let json =
        format!(r#"{{\"device_id\":\"x\",\"account_uuid\":\"\",\"session_id\":\"{uuid}\"}}"#);
    let of = |id: &str| {
        of(
            "/v1/messages",
            &format!(r#"{{"model":"m","metadata":{{"user_id":"{id}"}}}}"#),
        )
    };
    assert_eq!(
        of(&plain),
        Some(Session::named(SessionSource::Metadata, uuid.as_bytes()))
    );
    assert_eq!(of(&plain), of(&json));
}

#[test]
fn turns_of_a_conversation_have_one_opening() {
    let first = format!(
        r#"{{"role":"system","content":"You are terse."}},{{"role":"user","content":"{OPENING}"}}"#
    );
    let turn = |more: &str| chat(&format!(r#""messages":[{first}{more}]"#));
    let opening = turn("").expect("an opening");
    assert_eq!(opening.source, SessionSource::Opening);
    let answered =
        r#",{"role":"assistant","content":"Seven."},{"role":"user","content":"Name them."}"#;
    assert_eq!(turn(answered), Some(opening));
    let other = chat(&format!(
        r#""messages":[{{"role":"user","content":"{OPENING}"}}]"#
    ));
    assert_ne!(other, Some(opening));
}

#[test]
fn marks_for_caches_may_move() {
    let of = |mark: &str| {
        of(
            "/v1/messages",
            &format!(
                r#"{{"model":"m","system":[{{"type":"text","text":"You are terse."{mark}}}],
                "messages":[{{"role":"user","content":[{{"type":"text","text":"{OPENING}"{mark}}}]}}]}}"#
            ),
        )
    };
    let plain = of("");
    assert!(plain.is_some());
    assert_eq!(plain, of(r#","cache_control":{"type":"ephemeral"}"#));
}

#[test]
fn short_opening_waits_for_the_answer() {
    let hi = r#"{"role":"user","content":"hi"}"#;
    assert_eq!(chat(&format!(r#""messages":[{hi}]"#)), None);
    let answer = r#"{"role":"assistant","content":"Hello! How can I help you today?"}"#;
    let second = chat(&format!(
        r#""messages":[{hi},{answer},{{"role":"user","content":"x"}}]"#
    ));
    assert!(second.is_some());
    let third = chat(&format!(
        r#""messages":[{hi},{answer},{{"role":"user","content":"x"}},{{"role":"user","content":"y"}}]"#
    ));
    assert_eq!(second, third);
}

#[test]
fn openings_of_other_dialects_are_read_too() {
    for (path, body) in [
        (
            "/v1/responses",
            format!(r#"{{"instructions":"Be terse.","input":"{OPENING}"}}"#),
        ),
        (
            "/v1/responses",
            format!(
                r#"{{"input":[{{"role":"user","content":[{{"type":"input_text","text":"{OPENING}"}}]}}]}}"#
            ),
        ),
        (
            "/v1beta/models/g:generateContent",
            format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{OPENING}"}}]}}]}}"#),
        ),
        (
            "/model/m/converse",
            format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"{OPENING}"}}]}}]}}"#),
        ),
    ] {
        let session = of(path, &body).expect(path);
        assert_eq!(session.source, SessionSource::Opening, "{path}");
    }
}

#[test]
fn thousand_openings_are_a_thousand_conversations() {
    let mut numbers: Vec<u64> = (0..1_000)
        .map(|index| {
            let text = format!(r#""messages":[{{"role":"user","content":"{OPENING} {index}"}}]"#);
            chat(&text).expect("an opening").number
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 1_000);
}

proptest! {
    #[test]
    fn no_body_panics(body in r#"\{("(messages|input|metadata|user|conversation|user_id|role|text)":?|[\[\]{},:"a\\]){0,24}\}"#) {
        let bytes = Bytes::from(body);
        let scope = PathScope::Inference;
        let asked = read(scope, &Method::POST, "/v1/responses", &HeaderMap::new(), &bytes);
        if let Ok(asked) = asked {
            // Whether there is a session does not matter here, only that there is an answer.
            let _ = asked.session(None, &bytes);
        }
    }
}
