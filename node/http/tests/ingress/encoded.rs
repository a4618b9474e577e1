//! Requests whose bodies are sent encoded.

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZlibEncoder};
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn encoded(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" | "x-gzip" => by(GzipEncoder::new(Level::Default.into()), text),
        "deflate" => by(ZlibEncoder::new(Level::Default.into()), text),
        "br" => by(BrotliEncoder::new(EncoderParams::default()), text),
        "zstd" => zstd::stream::encode_all(text, 3).expect("encoded"),
        _ => text.to_vec(),
    }
}

fn by(mut encoder: impl EncodeV2, text: &[u8]) -> Vec<u8> {
    let mut output = vec![0; text.len() + 64 * 1_024];
    let mut written = WriteBuffer::new_initialized(&mut output);
    let mut input = PartialBuffer::new(text);
    while !input.unwritten().is_empty() {
        encoder.encode(&mut input, &mut written).expect("encoded");
    }
    encoder.finish(&mut written).expect("encoded");
    written.written().to_vec()
}

async fn node_with(adjust: impl FnOnce(&mut Plan)) -> (Node, Scripted) {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&upstream]);
    adjust(&mut plan);
    (plan.start().await, upstream)
}

async fn ask(node: &Node, path: &str, headers: &str, body: &[u8]) -> Reply {
    let mut stream = node.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    read_reply(&mut stream).await
}

fn json(coding: &str) -> String {
    format!("content-type: application/json\r\ncontent-encoding: {coding}\r\n")
}

#[tokio::test]
async fn encoded_body_reaches_the_upstream_decoded() {
    let (node, upstream) = node_with(|_| {}).await;
    for coding in CODINGS
        .into_iter()
        .chain(["x-gzip", "GZIP", "identity", "identity, gzip"])
    {
        let body = encoded(
            coding.to_lowercase().trim_start_matches("identity, "),
            MODEL_BODY.as_bytes(),
        );
        let reply = ask(&node, CHAT, &json(coding), &body).await;
        assert_eq!(reply.status, 200, "{coding}: {reply:?}");
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), 8);
    for seen in seen {
        let (head, body) = seen.split_once("\r\n\r\n").expect("a body");
        assert_eq!(body, MODEL_BODY);
        assert!(
            head.contains(&format!("content-length: {}", MODEL_BODY.len())),
            "{head}"
        );
        assert!(!head.contains("gzip") && !head.contains("zstd"), "{head}");
    }
}

#[tokio::test]
async fn encoded_form_and_empty_body_are_read_too() {
    let (node, upstream) = node_with(|_| {}).await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--b--\r\n";
    let headers = "content-type: multipart/form-data; boundary=b\r\ncontent-encoding: zstd\r\n";
    let body = encoded("zstd", form.as_bytes());
    let reply = ask(&node, "/v1/audio/transcriptions", headers, &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(upstream.seen().remove(0).ends_with(form));
    let reply = ask(&node, "/v1/moderations", &json("gzip"), b"").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn unknown_or_double_coding_is_refused_with_those_that_are_known() {
    let (node, upstream) = node_with(|_| {}).await;
    let twice = encoded("gzip", &encoded("gzip", MODEL_BODY.as_bytes()));
    for coding in [
        "gzip, gzip",
        "br, gzip",
        "compress",
        "gzip;q=1",
        "aes128gcm",
    ] {
        let reply = ask(&node, CHAT, &json(coding), &twice).await;
        assert_eq!(reply.status, 415, "{coding}: {reply:?}");
        let error = &reply.json()["error"];
        assert_eq!(error["code"], "unsupported_encoding", "{coding}");
        assert_eq!(error["param"], "content-encoding", "{coding}");
    }
    let reply = ask(&node, CHAT, &json("compress"), &twice).await;
    assert!(
        reply.body.contains("gzip, deflate, br or zstd"),
        "{}",
        reply.body
    );
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn body_that_is_not_what_its_coding_says_is_a_bad_request() {
    let (node, upstream) = node_with(|_| {}).await;
    for coding in CODINGS {
        let whole = encoded(coding, MODEL_BODY.as_bytes());
        let more = [&whole[..], b"{}"].concat();
        for body in [MODEL_BODY.as_bytes(), &whole[..whole.len() - 1], &more] {
            let reply = ask(&node, CHAT, &json(coding), body).await;
            assert_eq!(reply.status, 400, "{coding}: {reply:?}");
            assert_eq!(reply.json()["error"]["param"], "content-encoding");
        }
    }
    assert!(upstream.seen().is_empty());
    assert_eq!(node.bodies.held(), 0);
}

#[tokio::test]
async fn bomb_is_stopped_at_the_limit_of_what_it_decodes_to() {
    let bomb = format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "0".repeat(8 << 20));
    for coding in CODINGS {
        let body = encoded(coding, bomb.as_bytes());
        assert!(body.len() < 20_000);
        // The limit of one body, and the memory of all of them.
        for (bytes_max, memory, status) in [(1 << 20, 64 << 20, 413), (32 << 20, 2 << 20, 429)] {
            let (node, upstream) = node_with(|plan| {
                plan.settings.body_bytes_max = bytes_max;
                plan.body_memory = memory;
            })
            .await;
            let reply = ask(&node, CHAT, &json(coding), &body).await;
            assert_eq!(reply.status, status, "{coding}: {reply:?}");
            assert!(upstream.seen().is_empty());
            assert_eq!(node.bodies.held(), 0);
        }
    }
    let (node, _) = node_with(|plan| plan.settings.body_bytes_max = 10 << 20).await;
    let body = encoded("gzip", bomb.as_bytes());
    let reply = ask(&node, CHAT, &json("gzip"), &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}
