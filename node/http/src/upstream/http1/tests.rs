use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::head::{HEAD_BYTES_MAX, INTERIM_BYTES_MAX};
use super::*;
use grapevine_base::http1::{Chunk, ChunkDecoder};

const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhell\r\n1;x=\"y\"\r\no\r\n0\r\n\r\n";
const CLOSED: &str = "HTTP/1.1 200 OK\r\n\r\nhello";

fn connection(room: usize) -> (Box<Http1>, DuplexStream) {
    let (near, far) = tokio::io::duplex(room);
    (Box::new(Http1::new(Wire::Test(near))), far)
}

fn post(length: usize) -> RequestHead {
    let path = PathAndQuery::from_static("/v1/x");
    RequestHead::new(&Method::POST, &path, length, |_| {})
}

fn pieces(body: &'static [u8]) -> [Bytes; 5] {
    let mut pieces = [const { Bytes::new() }; 5];
    pieces[1] = Bytes::from_static(body);
    pieces
}

/// The status and the body of the answer to a request, and the connection where it may be used again.
async fn answer(
    mut connection: Box<Http1>,
) -> Result<(u16, Vec<u8>, Option<Box<Http1>>), Http1Error> {
    let head = connection.ask(post(2), pieces(b"{}")).await?;
    let (status, framing) = (head.status.as_u16(), head.framing()?);
    let mut body = Http1Body::new(connection, framing, head.is_kept);
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        read.extend(frame?.into_data().unwrap_or_default());
    }
    Ok((status, read, body.take_connection()))
}

/// The same of an upstream that sends `pieces` one by one and closes.
async fn answer_of(pieces: Vec<Vec<u8>>) -> Result<(u16, Vec<u8>, Option<Box<Http1>>), Http1Error> {
    let (connection, mut far) = connection(1 << 20);
    tokio::spawn(async move {
        for piece in pieces {
            far.write_all(&piece).await.expect("read");
            tokio::task::yield_now().await;
        }
    });
    answer(connection).await
}

#[tokio::test]
async fn answer_is_the_same_however_it_is_cut() {
    for (text, is_used_again) in [(SIZED, true), (CHUNKED, true), (CLOSED, false)] {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        let text = format!("{interim}{text}").into_bytes();
        let mut cuts: Vec<_> = (0..text.len())
            .map(|at| vec![text[..at].to_vec(), text[at..].to_vec()])
            .collect();
        cuts.push(text.iter().map(|byte| vec![*byte]).collect());
        for cut in cuts {
            let shown = format!("{cut:?}");
            let (status, body, again) = answer_of(cut).await.expect(&shown);
            assert_eq!((status, body.as_slice()), (200, &b"hello"[..]), "{shown}");
            assert_eq!(again.is_some(), is_used_again, "{shown}");
        }
    }
}

#[tokio::test]
async fn connection_serves_one_request_after_the_other() {
    let (mut connection, mut far) = connection(1 << 10);
    for _ in 0..3 {
        far.write_all(CHUNKED.as_bytes()).await.expect("room");
        let (_, body, again) = answer(connection).await.expect("an answer");
        assert_eq!(body, b"hello");
        connection = again.expect("a connection");
        let sent = b"POST /v1/x HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        let mut seen = vec![0; sent.len()];
        far.read_exact(&mut seen).await.expect("a request");
        assert_eq!(seen, sent);
        assert!(connection.is_open());
    }
}

#[tokio::test]
async fn connection_is_not_used_after_an_answer_that_ends_it_or_has_more_behind_it() {
    for text in [
        SIZED.replace("content", "connection: close\r\ncontent"),
        SIZED.replace("content", "Connection: x, Close\r\ncontent"),
        SIZED.replace("1.1", "1.0"),
        format!("{SIZED}HTTP/1.1 200 OK\r\n"),
        format!("{CHUNKED}x"),
    ] {
        let (_, body, again) = answer_of(vec![text.clone().into()]).await.expect(&text);
        assert_eq!(body, b"hello", "{text}");
        assert!(again.is_none(), "{text}");
    }
    let kept = SIZED
        .replace("1.1", "1.0")
        .replace("content", "connection: keep-alive\r\ncontent");
    let (_, _, again) = answer_of(vec![kept.into()]).await.expect("an answer");
    assert!(again.is_some());
}

#[tokio::test]
async fn answer_that_breaks_off_is_never_whole() {
    for text in [SIZED, CHUNKED] {
        for end in 0..text.len() {
            let broken = answer_of(vec![text.as_bytes()[..end].to_vec()]).await;
            assert!(
                matches!(broken, Err(Http1Error::Closed)),
                "{end} of {text}: {broken:?}"
            );
        }
    }
}

#[tokio::test]
async fn answer_arrives_while_the_request_is_still_being_written() {
    let (mut connection, mut far) = connection(64);
    let large = pieces(&[b'x'; 4_096]);
    let answering = tokio::spawn(async move {
        let head = connection.ask(post(4_096), large).await?;
        let framing = head.framing()?;
        let mut body = Http1Body::new(connection, framing, head.is_kept);
        let read = (&mut body).collect().await?.to_bytes();
        Ok::<_, Http1Error>((read, body.take_connection().is_some()))
    });
    // The upstream reads what follows its head while the answer's body is read.
    far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .expect("room");
    let mut seen = Vec::new();
    while !seen.ends_with(&[b'x'; 4_096]) {
        assert_ne!(far.read_buf(&mut seen).await.expect("the request"), 0);
    }
    far.write_all(b"2\r\nok\r\n0\r\n\r\n").await.expect("room");
    let (body, is_used_again) = answering.await.expect("no panic").expect("an answer");
    assert_eq!((&body[..], is_used_again), (&b"ok"[..], true));
}

#[tokio::test]
async fn heads_that_never_end_are_refused_at_their_limit() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(2 * HEAD_BYTES_MAX));
    let refused = answer_of(vec![long.into()]).await;
    assert!(matches!(refused, Err(Http1Error::Head(_))), "{refused:?}");
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIM_BYTES_MAX / 20);
    let refused = answer_of(vec![interim.into()]).await;
    assert!(matches!(refused, Err(Http1Error::Interim)), "{refused:?}");
}

#[tokio::test]
async fn what_is_waiting_holds_no_memory() {
    let (connection, mut far) = connection(1 << 16);
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n")
        .await
        .expect("room");
    let mut body = {
        let mut connection = connection;
        let head = connection.ask(post(0), pieces(b"")).await.expect("a head");
        Http1Body::new(connection, head.framing().expect("one"), head.is_kept)
    };
    for _ in 0..3 {
        far.write_all(&[b'x'; 10_000]).await.expect("room");
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data").len(), 10_000);
        let waiting = tokio::time::timeout(Duration::from_millis(1), body.frame()).await;
        assert!(waiting.is_err());
        assert_eq!(body.held_bytes(), 0);
    }
}

/// The data of a whole body in chunks, however it is cut.
fn decoded(pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, ChunkError> {
    let (mut decoder, mut incoming, mut data) = (ChunkDecoder::Size, BytesMut::new(), Vec::new());
    for piece in pieces {
        incoming.extend_from_slice(piece);
        loop {
            match decoder.next(&mut incoming)? {
                Chunk::Data(more) => data.extend_from_slice(&more),
                Chunk::Unfinished => break,
                Chunk::Trailers(_) | Chunk::End => return Ok(Some(data)),
            }
        }
    }
    Ok(None)
}

#[test]
fn chunks_are_read_as_http_has_them() {
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;a=b;c\r\nhello\r\n000\r\n\r\n",
        "2\r\nhe\r\n3\t;x\r\nllo\r\n0;end\r\nchecksum: 1\r\nx: y\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
    ] {
        assert_eq!(
            decoded(&[body.as_bytes()]),
            Ok(Some(b"hello".to_vec())),
            "{body}"
        );
    }
}

#[test]
fn chunks_that_two_readers_could_read_differently_are_refused() {
    for body in [
        "\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "g\r\n",
        "-1\r\n",
        "+5\r\nhello",
        "0x5\r\nhello",
        " 5\r\nhello",
        "5 5\r\nhello",
        "5\r\nhello5\r\n",
        "5\r\nhello\n",
        "5\r\nhello\rx",
        "00000000000000005\r\nhello",
        "fffffffffffffffff\r\n",
        "5;\rx\r\nhello",
        "5;\0\r\nhello",
        "0\r\nx y: 1\r\n\r\n",
        "0\r\nx: 1\ny: 2\r\n\r\n",
        "0\r\n\n",
        "5\r\r\n",
    ] {
        assert!(decoded(&[body.as_bytes()]).is_err(), "{body:?}");
    }
    let long = format!("5;{}", "x".repeat(5_000));
    assert!(decoded(&[long.as_bytes()]).is_err());
    let trailers = format!("0\r\nx: {}", "y".repeat(20_000));
    assert!(decoded(&[trailers.as_bytes()]).is_err());
}

proptest! {
    #[test]
    fn chunks_are_the_same_however_they_are_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        size in 1_usize..9,
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:X};e\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let pieces: Vec<_> = body.chunks(size).collect();
        prop_assert_eq!(decoded(&pieces), Ok(Some(chunks.concat())));
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
        let pieces: Vec<_> = bytes.chunks(size).collect();
        let _ = decoded(&pieces);
        let _ = probes::answer(pieces);
    }
}
