use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::{BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

fn encoded_by(mut encoder: impl EncodeV2, text: &[u8]) -> Vec<u8> {
    let mut output = vec![0; text.len() + 64 * 1_024];
    let mut written = WriteBuffer::new_initialized(&mut output);
    let mut input = PartialBuffer::new(text);
    while !input.unwritten().is_empty() {
        encoder.encode(&mut input, &mut written).expect("encoded");
    }
    assert!(
        encoder.finish(&mut written).expect("encoded"),
        "room enough"
    );
    let length = written.written_len();
    output.truncate(length);
    output
}

fn raw_deflate(text: &[u8]) -> Vec<u8> {
    encoded_by(DeflateEncoder::new(Level::Default.into()), text)
}

fn encoded(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => encoded_by(GzipEncoder::new(Level::Default.into()), text),
        Coding::Deflate => encoded_by(ZlibEncoder::new(Level::Default.into()), text),
        Coding::Brotli => encoded_by(BrotliEncoder::new(EncoderParams::default()), text),
        Coding::Zstd => zstd::stream::encode_all(text, 3).expect("encoded"),
    }
}

/// What comes out, in pieces of `length` that go in.
fn decoded_in(coding: Coding, body: &[u8], length: usize) -> Result<Vec<u8>, CodingError> {
    let mut decoder = Decoder::new(coding)?;
    let mut whole = Vec::new();
    for piece in body.chunks(length) {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(piece) = decoder.step()? {
            assert!(piece.len() <= PIECE_BYTES_MAX);
            whole.extend_from_slice(piece);
        }
    }
    decoder.finish()?;
    Ok(whole)
}

fn coding_of(values: &[&'static str]) -> Result<Option<Coding>, CodingError> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
    }
    Coding::of(&headers)
}

#[test]
fn coding_is_named_once_in_any_case() {
    for (values, coding) in [
        (&[][..], None),
        (&[""], None),
        (&["identity"], None),
        (&["gzip"], Some(Coding::Gzip)),
        (&["X-GZip"], Some(Coding::Gzip)),
        (&["identity, br"], Some(Coding::Brotli)),
        (&["identity", "zstd"], Some(Coding::Zstd)),
        (&["Deflate "], Some(Coding::Deflate)),
    ] {
        assert_eq!(coding_of(values), Ok(coding), "{values:?}");
    }
    for values in [&["gzip, gzip"][..], &["gzip", "br"], &["gzip,,zstd"]] {
        assert_eq!(coding_of(values), Err(CodingError::Layered), "{values:?}");
    }
    for values in [&["compress"][..], &["gzip;q=1"], &["aes128gcm"]] {
        let error = coding_of(values).expect_err("unknown");
        assert!(
            error.to_string().contains("gzip, deflate, br or zstd"),
            "{error}"
        );
    }
}

#[test]
fn body_is_the_same_after_every_coding_and_cut() {
    let text: Vec<u8> = (0..200_000_u32)
        .flat_map(|it| (it / 7).to_le_bytes())
        .collect();
    for coding in CODINGS {
        let body = encoded(coding, &text);
        for length in [1, 7, 4_096, body.len()] {
            assert!(
                decoded_in(coding, &body, length).as_ref() == Ok(&text),
                "{coding:?} {length}"
            );
        }
    }
    let raw = raw_deflate(&text);
    assert!(decoded_in(Coding::Deflate, &raw, raw.len()).as_ref() == Ok(&text));
}

#[test]
fn end_is_known_however_far_the_output_was_filled() {
    for length in (PIECE_BYTES_MAX - 3..PIECE_BYTES_MAX + 3).chain([2 * PIECE_BYTES_MAX]) {
        let text = vec![b'x'; length];
        let raw = raw_deflate(&text);
        assert_eq!(
            decoded_in(Coding::Deflate, &raw, raw.len()).map(|it| it.len()),
            Ok(length)
        );
        for coding in CODINGS {
            let body = encoded(coding, &text);
            let decoded = decoded_in(coding, &body, body.len());
            assert_eq!(decoded.map(|it| it.len()), Ok(length), "{coding:?}");
        }
    }
}

#[test]
fn body_that_breaks_off_is_not_whole() {
    for coding in CODINGS {
        let body = encoded(coding, b"some text, and some more text");
        for length in 1..body.len() {
            let decoded = decoded_in(coding, &body[..length], length);
            assert_eq!(decoded, Err(CodingError::Truncated), "{coding:?} {length}");
        }
        assert_eq!(decoded_in(coding, b"", 1), Ok(Vec::new()));
    }
}

#[test]
fn what_follows_the_end_must_be_another_part_of_the_coding() {
    for coding in CODINGS {
        let body = encoded(coding, b"some text");
        let twice = body.repeat(2);
        let decoded = decoded_in(coding, &twice, twice.len());
        match coding {
            Coding::Gzip | Coding::Zstd => assert_eq!(decoded, Ok(b"some textsome text".to_vec())),
            _ => assert!(
                matches!(decoded, Err(CodingError::Corrupt(_))),
                "{decoded:?}"
            ),
        }
        let more = [&body[..], b"{}"].concat();
        assert!(decoded_in(coding, &more, 5).is_err(), "{coding:?}");
        assert!(
            decoded_in(coding, b"{\"model\":\"m\"}", 99).is_err(),
            "{coding:?}"
        );
    }
}

#[test]
fn bomb_is_stopped_at_the_limit() {
    let text = vec![b'0'; 64 << 20];
    for coding in CODINGS {
        let body = Bytes::from(encoded(coding, &text));
        assert!(body.len() < 100_000);
        let stopped = decoded(coding, body, 1 << 20);
        assert_eq!(
            stopped,
            Err(CodingError::TooLarge { max: 1 << 20 }),
            "{coding:?}"
        );
    }
}

#[test]
fn body_that_decodes_to_nothing_has_an_end() {
    let nothing = encoded(Coding::Gzip, b"").repeat(10_000);
    let refused = decoded_in(Coding::Gzip, &nothing, 4_096);
    assert!(
        matches!(refused, Err(CodingError::Corrupt(_))),
        "{refused:?}"
    );
}

#[test]
fn window_that_needs_much_memory_is_refused() {
    // RFC 8878 3.1.1.1.2: a window of 2^(10 + 31) bytes, and one of 16 MiB.
    for window in [31 << 3, 14 << 3] {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, window, 1, 0, 0];
        assert!(matches!(
            decoded_in(Coding::Zstd, &frame, 99),
            Err(CodingError::Corrupt(_))
        ));
    }
    let large = [0b001_0001, 30, 3];
    let refused = decoded_in(Coding::Brotli, &large, 99);
    assert_eq!(
        refused,
        Err(CodingError::Corrupt("its window is too large".into()))
    );
}

proptest! {
    #[test]
    fn no_input_panics(body: Vec<u8>, length in 1..9_usize) {
        for coding in CODINGS {
            let _ = decoded_in(coding, &body, length);
        }
    }

    #[test]
    fn flipped_byte_never_panics(text: Vec<u8>, at: usize, byte: u8) {
        for coding in CODINGS {
            let mut body = encoded(coding, &text);
            let at = at % body.len();
            body[at] = byte;
            let _ = decoded_in(coding, &body, 5);
        }
    }
}
