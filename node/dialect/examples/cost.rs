//! What a translation costs: a chat of 1 KB and its answer of 1 KB, and one event of a stream, in microseconds of one
//! core, for each pair of dialects.
//!
//! ```text
//! cargo run --release -p grapevine-dialect --example cost [ROUNDS]
//! ```
//!
//! Under callgrind (`valgrind --tool=callgrind`) the same program counts instructions, which do not depend on what else
//! the machine does.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::{Dialect, Translation};
use serde_json::{Value, json};

/// Bytes of the text in a question and in an answer, so that each body has about 1 KB.
const TEXT_BYTES: usize = 850;

/// Events of the stream that carry words.
const EVENTS: usize = 100;

fn main() -> std::io::Result<()> {
    let rounds = std::env::args().nth(1);
    let rounds = rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(2_000);
    let text = "word ".repeat(TEXT_BYTES / 5);
    let chat = json!({"model": "m", "temperature": 0.5, "messages": [
        {"role": "system", "content": "Be short."}, {"role": "user", "content": text},
    ]});
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
    ], "usage": {"prompt_tokens": 240, "completion_tokens": 180, "total_tokens": 420}});
    let stream = stream();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "client     upstream   request + answer, us   event, us"
    )?;
    for client in Dialect::ALL {
        for upstream in Dialect::ALL {
            let there = Translation::new(client, upstream);
            let asked = said(Dialect::Chat, client, |home| home.request(&bytes(&chat)));
            let answered = said(upstream, Dialect::Chat, |_| {
                Translation::new(upstream, Dialect::Chat)
                    .response(&bytes(&answer), &AnswerTerms::default())
            });
            let streamed = received(&Translation::new(upstream, Dialect::Chat), &stream);
            let whole = timed(rounds, || {
                let asked = there.request(black_box(&asked));
                let terms = asked.map(|asked| asked.terms).unwrap_or_default();
                black_box(there.response(black_box(&answered), &terms).is_ok());
            });
            let event = timed(rounds / 20 + 1, || {
                black_box(received(&there, black_box(&streamed)));
            });
            let (client, upstream) = (client.name(), upstream.name());
            let event = event.as_secs_f64() * 1e6 / EVENTS as f64;
            let whole = whole.as_secs_f64() * 1e6;
            writeln!(out, "{client:10} {upstream:10} {whole:20.1} {event:11.2}")?;
        }
    }
    Ok(())
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The body that a translation makes; nothing of one that fails, which no figure survives.
fn said(
    from: Dialect,
    to: Dialect,
    translate: impl Fn(
        Translation,
    ) -> Result<grapevine_dialect::Translated, grapevine_dialect::TranslateError>,
) -> Vec<u8> {
    let translated = translate(Translation::new(from, to));
    translated.map(|it| it.body).unwrap_or_default()
}

/// A stream of chat completions.
fn stream() -> Vec<u8> {
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        let chunk = json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let mut stream = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    for _ in 0..EVENTS {
        stream += &chunk(json!({"content": " words"}), Value::Null);
    }
    stream += &chunk(json!({}), json!("stop"));
    stream += "data: [DONE]\n\n";
    stream.into_bytes()
}

/// What the client receives of a stream.
fn received(translation: &Translation, bytes: &[u8]) -> Vec<u8> {
    let mut stream = translation.stream(&AnswerTerms::default());
    let mut out = Vec::new();
    // A stream that cannot be read says so by what comes out of it: nothing.
    let _ = stream.push(bytes, &mut out);
    stream.finish(&mut out);
    out
}

/// The time of one round.
fn timed(rounds: u32, mut round: impl FnMut()) -> Duration {
    for _ in 0..rounds / 10 {
        round();
    }
    let began = Instant::now();
    for _ in 0..rounds {
        round();
    }
    began.elapsed() / rounds.max(1)
}
