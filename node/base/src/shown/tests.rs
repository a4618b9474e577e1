//! Answers as APIs give them, and as they should not.

use http_body_util::{Full, StreamBody};

use bytes::Bytes;
use http_body::Frame;

use super::*;
use crate::exchange::CallFailure;

fn answer(status: u16, kind: &'static str, body: &'static str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, kind.parse().expect("a value"));
    let body = Full::new(Bytes::from_static(body.as_bytes()));
    Answer {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: headers.into(),
        body: AnswerBody::new(body.map_err(|never| match never {})),
        load: None,
        upload: None,
    }
}

async fn shown(status: u16, body: &'static str) -> Shown {
    by_answer(
        &mut answer(status, "application/json", body),
        &HeaderMap::new(),
    )
    .await
}

#[tokio::test]
async fn words_are_found_in_the_shape_of_every_api() {
    let bodies = [
        (
            429,
            r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota","message":"x"}}"#,
            Finding::Account,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            Finding::Account,
        ),
        (
            404,
            r#"[{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}]"#,
            Finding::ModelMissing,
        ),
        (
            404,
            r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}"#,
            Finding::ModelMissing,
        ),
        (
            404,
            r#"{"error":"model \"x\" not found, try pulling it first"}"#,
            Finding::ModelMissing,
        ),
        (404, r#"{"detail":"Not Found"}"#, Finding::ClientMistake),
        (
            401,
            r#"{"error":{"code":"mismatched_organization"}}"#,
            Finding::ClientIdentity,
        ),
        (500, "<html>", Finding::Failed),
        (503, "", Finding::Failed),
    ];
    for (status, body, finding) in bodies {
        assert_eq!(
            shown(status, body).await.finding,
            finding,
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn detail_holds_the_code_and_nothing_that_a_client_wrote() {
    let quoted = r#"{"error":{"code":"my secret prompt","type":"invalid_request_error","message":"sk-123"}}"#;
    assert_eq!(
        shown(400, quoted).await.detail.as_deref(),
        Some("400 invalid_request_error")
    );
    assert_eq!(shown(502, "no JSON").await.detail.as_deref(), Some("502"));
}

#[tokio::test]
async fn redirect_names_its_host() {
    let mut moved = answer(307, "text/plain", "");
    moved.headers.insert(
        header::LOCATION,
        "https://api.example/v1/x?key=1".parse().expect("a value"),
    );
    let shown = by_answer(&mut moved, &HeaderMap::new()).await;
    assert_eq!(shown.finding, Finding::Redirect);
    let detail = shown.detail.expect("a detail");
    assert!(
        detail.contains("redirect to api.example:") && !detail.contains("key"),
        "{detail}"
    );
}

#[tokio::test]
async fn error_body_is_whole_after_it_was_looked_at() {
    for bytes in [0, 1, PEEK_BYTES - 1, PEEK_BYTES, 3 * PEEK_BYTES] {
        let pieces = (0..bytes).step_by(1_000).map(|at| {
            let piece = vec![b'x'; 1_000.min(bytes - at)];
            Ok::<_, CallFailure>(Frame::data(Bytes::from(piece)))
        });
        let stream = futures_util::stream::iter(pieces.collect::<Vec<_>>());
        let mut long = Answer {
            body: AnswerBody::new(StreamBody::new(stream)),
            ..answer(500, "text/plain", "")
        };
        by_answer(&mut long, &HeaderMap::new()).await;
        let whole = long.body.collect().await.expect("it is whole").to_bytes();
        assert_eq!(whole.len(), bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn error_body_that_never_comes_is_not_waited_for_long() {
    let mut silent = Answer {
        body: AnswerBody::new(StreamBody::new(futures_util::stream::pending())),
        ..answer(500, "text/plain", "")
    };
    let began = Instant::now();
    assert_eq!(
        by_answer(&mut silent, &HeaderMap::new()).await.finding,
        Finding::Failed
    );
    assert_eq!(began.elapsed(), PEEK_TIME);
}

/// A content type, the first piece, and what it shows.
type FirstPiece = (&'static str, Option<&'static str>, Option<Finding>);

#[test]
fn what_is_no_answer_is_found_by_its_first_piece() {
    let json = "application/json";
    let events = "text/event-stream; charset=utf-8";
    let cases: &[FirstPiece] = &[
        (json, None, Some(Finding::NotAnAnswer)),
        (
            "text/html",
            Some("<!doctype html>"),
            Some(Finding::NotAnAnswer),
        ),
        (
            json,
            Some(r#"{"error":{"message":"boom"}}"#),
            Some(Finding::HiddenError),
        ),
        (
            json,
            Some(" {\"error\": {\"code\": 429}}\n"),
            Some(Finding::RateOfModel),
        ),
        (
            json,
            Some(r#"{"error":{"code":"insufficient_quota"}}"#),
            Some(Finding::Account),
        ),
        (
            events,
            Some("data: {\"error\":{\"message\":\"boom\"}}\n\n"),
            Some(Finding::HiddenError),
        ),
        (
            events,
            Some(
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
            ),
            Some(Finding::RateOfPlace),
        ),
        // Answers.
        (json, Some(r#"{"id":"1","choices":[],"error":null}"#), None),
        (json, Some(r#"{"error":null,"object":"response"}"#), None),
        (
            json,
            Some(r#"{"object":"response","status":"failed","error":{"code":"x"}}"#),
            None,
        ),
        (
            events,
            Some("data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\n"),
            None,
        ),
        (events, Some(": OPENROUTER PROCESSING\n\n"), None),
        (events, Some("data: {\"err"), None),
        ("audio/mpeg", Some("ID3"), None),
        // Part of one: it cannot be told.
        (json, Some(r#"{"error":{"message":"#), None),
    ];
    for (kind, first, finding) in cases {
        let answer = answer(200, kind, "");
        let first = first.map(str::as_bytes);
        let shown = by_first_piece(answer.status, &answer.headers, first);
        assert_eq!(shown, *finding, "{kind} {first:?}");
    }
    assert_eq!(
        by_first_piece(StatusCode::NO_CONTENT, &HeaderMap::new(), None),
        None
    );
}
