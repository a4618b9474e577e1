//! Token counts: asked for where the client did not, counted, and kept from that client.

use std::sync::{Arc, Mutex};

use grapevine_base::exchange::Call;
use http::StatusCode;
use tokio::io::AsyncWriteExt;

use crate::support::*;

const STREAM: &str = r#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
const TEXT: &str = "data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\n";
const COUNTS: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What the client got, what the upstream was sent, and the tokens of the record.
async fn asked(
    path: &str,
    headers: &str,
    body: &str,
    script: Vec<Act>,
) -> (String, String, [Option<u64>; 2]) {
    let upstream = Scripted::start(script).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.settings.asks_usage = true;
    let node = plan.start().await;
    let reply = node.ask("POST", path, headers, body).await;
    assert!(reply.is_whole, "{reply:?}");
    let tokens = node.record().await.tokens;
    let seen = upstream.seen().remove(0);
    (reply.body, seen, [tokens.input, tokens.output])
}

fn chunked(events: &[&str]) -> Vec<Act> {
    let mut script = vec![event_stream()];
    script.extend(events.iter().map(|event| chunk(event)));
    script.push(send("0\r\n\r\n"));
    script
}

#[tokio::test]
async fn stream_is_asked_for_its_counts_and_the_client_gets_what_it_asked_for() {
    let headers = "accept-encoding: gzip\r\n";
    for script in [
        chunked(&[TEXT, COUNTS, DONE]),
        chunked(&[TEXT, &COUNTS[..20], &COUNTS[20..], DONE]),
        answer(
            200,
            "content-type: text/event-stream\r\n",
            &[TEXT, COUNTS, DONE].concat(),
        ),
    ] {
        let (body, seen, tokens) = asked(CHAT, headers, STREAM, script).await;
        assert_eq!(body, [TEXT, DONE].concat());
        assert_eq!(tokens, [Some(9), Some(2)]);
        let (head, sent) = seen.split_once("\r\n\r\n").expect("a body");
        let option = r#"{"stream_options":{"include_usage":true},"#;
        assert_eq!(sent, format!("{option}{}", &STREAM[1..]));
        assert!(head.contains("accept-encoding: identity"), "{head}");
    }
}

#[tokio::test]
async fn client_that_asks_itself_gets_the_counts() {
    let body = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#;
    let script = chunked(&[TEXT, COUNTS, DONE]);
    let headers = "accept-encoding: gzip\r\n";
    let (got, seen, tokens) = asked(CHAT, headers, body, script).await;
    assert_eq!(got, [TEXT, COUNTS, DONE].concat());
    assert_eq!(tokens, [Some(9), Some(2)]);
    assert!(
        seen.ends_with(body) && seen.contains("accept-encoding: gzip"),
        "{seen}"
    );
}

#[tokio::test]
async fn request_for_no_stream_and_of_another_api_passes_as_it_came() {
    for (path, body) in [
        (CHAT, MODEL_BODY),
        ("/v1/responses", STREAM),
        ("/v1/messages", STREAM),
    ] {
        let (got, seen, _) = asked(path, "", body, answer(200, "", "{}")).await;
        assert_eq!(got, "{}");
        assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{path}: {seen}");
    }
}

#[tokio::test]
async fn error_instead_of_a_stream_passes_as_it_came() {
    let error = r#"{"error":{"message":"no"}}"#;
    let headers = "content-type: application/json\r\n";
    let (got, ..) = asked(CHAT, "", STREAM, answer(400, headers, error)).await;
    assert_eq!(got, error);
}

/// What servers that know no `stream_options` say.
const REFUSALS: [(u16, &str); 3] = [
    (
        400,
        r#"{"error":{"message":"Unrecognized request argument supplied: stream_options"}}"#,
    ),
    (
        422,
        r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"no"}]}"#,
    ),
    (400, "unknown field `include_usage`"),
];

fn refusing(status: u16, error: &str, rest: Vec<Act>) -> Vec<Act> {
    let Some(Act::Send(refusal)) = answer(status, "", error).pop() else {
        unreachable!("an answer is sent");
    };
    let mut script = vec![Act::Refuse("stream_options", refusal)];
    script.extend(rest);
    script
}

#[tokio::test]
async fn upstream_that_refuses_to_be_asked_serves_as_if_it_had_not_been() {
    for (status, error) in REFUSALS {
        // One that reports its counts unasked: the client has them as they came.
        let answering = chunked(&[TEXT, COUNTS, DONE]);
        let upstream = Scripted::start(refusing(status, error, answering)).await;
        let mut plan = Plan::with(&[&upstream]);
        plan.settings.asks_usage = true;
        let node = plan.start().await;
        for sent in [2, 3, 4] {
            let reply = node.ask("POST", CHAT, "", STREAM).await;
            assert_eq!(reply.body, [TEXT, COUNTS, DONE].concat(), "{error}");
            if sent == 2 {
                let (tokens, outcomes) = (node.record().await.tokens, node.outcomes().await);
                assert_eq!([tokens.input, tokens.output], [Some(9), Some(2)]);
                assert_eq!(outcomes, ["answered"]);
            }
            let seen = upstream.seen();
            assert_eq!(
                seen.len(),
                sent,
                "only the first request is sent twice: {seen:?}"
            );
            assert!(seen.last().is_some_and(|seen| seen.ends_with(STREAM)));
        }
    }
}

#[tokio::test]
async fn other_refusals_are_not_laid_to_the_option() {
    // The error quotes what was sent, and stays without it: nothing is learned from that.
    let quoting = r#"{"detail":[{"input":"stream_options","msg":"n must be 1"}]}"#;
    let upstream = Scripted::start(answer(422, "", quoting)).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.settings.asks_usage = true;
    let node = plan.start().await;
    for round in 1..=2 {
        let reply = node.ask("POST", CHAT, "", STREAM).await;
        assert_eq!((reply.status, reply.body.as_str()), (422, quoting));
        assert_eq!(upstream.seen().len(), 2 * round);
    }
}

#[tokio::test]
async fn peer_whose_upstream_refuses_the_option_is_asked_without_it_by_another_id() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = ids.clone();
    let peers = FakePeers::new(move |_, call: Call| {
        let seen = seen.clone();
        async move {
            seen.lock()
                .expect("no panic")
                .push((call.request_id.clone(), call.body.asks_usage()));
            let error = r#"{"error":{"message":"no stream_options here"}}"#;
            let mut answer =
                successful_answer(if call.body.asks_usage() { error } else { TEXT }, None);
            if call.body.asks_usage() {
                answer.status = StatusCode::BAD_REQUEST;
            }
            Ok(answer)
        }
    });
    let mut plan = Plan::with(&[]);
    (plan.known_peers, plan.peers) = (vec![("sgp", 1)], peers);
    plan.settings.asks_usage = true;
    let node = plan.start().await;
    assert_eq!(node.ask("POST", CHAT, "", STREAM).await.body, TEXT);
    let seen = ids.lock().expect("no panic").clone();
    assert_eq!(seen.len(), 2);
    assert!(
        seen[0].1 && !seen[1].1 && seen[0].0 != seen[1].0,
        "{seen:?}"
    );
}

#[tokio::test]
async fn anthropics_cached_tokens_count_as_input() {
    let usage = r#"{"usage":{"input_tokens":3,"cache_creation_input_tokens":10,"cache_read_input_tokens":20,"output_tokens":4}}"#;
    let body = MODEL_BODY.replace("gpt-4o", "claude");
    let (_, _, tokens) = asked("/v1/messages", "", &body, answer(200, "", usage)).await;
    assert_eq!(tokens, [Some(33), Some(4)]);
}

#[tokio::test]
async fn client_that_hangs_up_at_the_last_event_has_its_tokens_counted() {
    let mut script = vec![event_stream()];
    script.extend([TEXT, COUNTS, DONE].map(chunk));
    script.push(Act::Hang);
    let upstream = Scripted::start(script).await;
    let mut plan = Plan::with(&[&upstream]);
    plan.settings.asks_usage = true;
    let node = plan.start().await;
    let mut client = node.connect().await;
    let asked = request("POST", CHAT, "", STREAM);
    client.write_all(asked.as_bytes()).await.expect("sent");
    read_until(&mut client, "[DONE]").await;
    drop(client);
    let tokens = node.record().await.tokens;
    assert_eq!([tokens.input, tokens.output], [Some(9), Some(2)]);
}
