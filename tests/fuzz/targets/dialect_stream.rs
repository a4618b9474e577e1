//! A stream in a dialect, which the first line names, for clients of every other.
//!
//! Server-sent events come in pieces that end at each byte 0xff, which is no byte of UTF-8. Of Converse each line is
//! an event: its name, a blank, and its JSON; the frames around them are made here.

use grapevine_dialect::event_stream::EventMessage;
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, Translation};

use super::{dialect, line};

/// However the bytes are cut, the client receives the same.
pub(crate) fn target(bytes: &[u8]) {
    let (name, stream) = line(bytes);
    let Some(upstream) = dialect(name) else {
        return;
    };
    let pieces: Vec<Vec<u8>> = match upstream {
        Dialect::Converse => stream.split(|byte| *byte == b'\n').map(frame).collect(),
        _ => stream
            .split(|byte| *byte == 0xff)
            .map(<[u8]>::to_vec)
            .collect(),
    };
    let whole = pieces.concat();
    for client in Dialect::ALL {
        let translation = Translation::new(client, upstream);
        let expected = received(&translation, [whole.as_slice()]);
        assert_eq!(
            received(&translation, pieces.iter().map(Vec::as_slice)),
            expected
        );
        assert_eq!(received(&translation, whole.chunks(1)), expected);
        assert_eq!(received(&translation, whole.chunks(7)), expected);
    }
}

fn frame(line: &[u8]) -> Vec<u8> {
    let (name, json) = match line.iter().position(|byte| *byte == b' ') {
        Some(end) => (&line[..end], &line[end + 1..]),
        None => (line, &b"{}"[..]),
    };
    let mut out = Vec::new();
    let event = EventMessage::event(String::from_utf8_lossy(name), json);
    // A name that is too long for a header makes no frame.
    let _ = event.write(&mut out);
    out
}

/// What a client receives, and how the stream ends.
fn received<'a>(
    translation: &Translation,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Completeness) {
    let terms = AnswerTerms {
        stream: true,
        usage: true,
        ..AnswerTerms::default()
    };
    let mut stream = translation.stream(&terms);
    let mut out = Vec::new();
    for piece in pieces {
        if stream.push(piece, &mut out).is_err() {
            break;
        }
    }
    let end = stream.finish(&mut out);
    (out, end)
}
