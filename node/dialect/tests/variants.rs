//! What holds for the streams of answers by chance.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

mod crossing;
mod said;

use crossing::crossed;
use grapevine_dialect::grammar::{AnswerTerms, ServerEvent};
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, Framing, Translation};
use proptest::prelude::*;
use serde_json::Value;

/// Answers by chance for each fact: each is tried on every pair of dialects.
const CASES: u32 = 64;

/// The bytes of a stream, and how many of them are not its end.
fn bytes(dialect: Dialect, events: &[Value]) -> (Vec<u8>, usize) {
    let (mut out, mut last) = (Vec::new(), 0);
    for event in events {
        let named = match dialect {
            Dialect::Converse => {
                let (name, value) = event.as_object().unwrap().iter().next().unwrap();
                ServerEvent {
                    name: Some(name.clone()),
                    data: value.to_string(),
                }
            }
            _ => ServerEvent::typed(event.as_object().unwrap().clone()),
        };
        // The usage of these comes after the end.
        if !(event["usage"].is_object() && dialect == Dialect::Chat
            || event["metadata"].is_object())
        {
            last = out.len();
        }
        Framing::of(dialect).write(&named, &mut out).unwrap();
    }
    if dialect == Dialect::Chat {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
    (out, last)
}

fn received(translation: &Translation, pieces: &[&[u8]]) -> (Vec<u8>, Completeness) {
    let terms = AnswerTerms {
        stream: true,
        usage: true,
        ..AnswerTerms::default()
    };
    let mut stream = translation.stream(&terms);
    let mut out = Vec::new();
    for piece in pieces {
        stream.push(piece, &mut out).unwrap();
    }
    let end = stream.finish(&mut out);
    (out, end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn stream_says_in_every_other_dialect_what_its_whole_answer_says((parts, is_cut_short) in said::answers()) {
        for dialect in Dialect::ALL {
            let events = Value::Array(said::events(dialect, &parts, is_cut_short));
            prop_assert_eq!(crossed(dialect, &events), Ok(()), "{}", dialect);
        }
    }

    #[test]
    fn stream_is_the_same_however_it_is_cut(
        (parts, is_cut_short) in said::answers(), cuts in prop::collection::vec(0.0..1.0_f64, 1..9),
    ) {
        for upstream in Dialect::ALL {
            let (bytes, _) = bytes(upstream, &said::events(upstream, &parts, is_cut_short));
            let mut places: Vec<usize> = cuts.iter().map(|cut| (cut * bytes.len() as f64) as usize).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            for client in Dialect::ALL {
                let translation = Translation::new(client, upstream);
                let whole = received(&translation, &[&bytes]);
                prop_assert_eq!(whole.1, Completeness::Complete);
                prop_assert_eq!(received(&translation, &pieces), whole);
            }
        }
    }

    #[test]
    fn stream_without_its_end_is_truncated((parts, is_cut_short) in said::answers(), cut in 0.0..1.0_f64) {
        for upstream in Dialect::ALL {
            let (bytes, last) = bytes(upstream, &said::events(upstream, &parts, is_cut_short));
            let cut = (cut * last as f64) as usize;
            for client in Dialect::ALL {
                let translation = Translation::new(client, upstream);
                prop_assert_eq!(received(&translation, &[&bytes[..cut]]).1, Completeness::Truncated);
            }
        }
    }
}
