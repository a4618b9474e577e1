//! The purpose of a file that is being uploaded: files for batches stay at the node that runs these, and every other one
//! goes to an upstream, which alone can use it.
//!
//! The purpose is a field of a form, before the file or behind it, as the client's library writes it. So as much of the
//! form is held as it takes to find it, up to the largest body that goes to an upstream at all.

use bytes::Bytes;
use grapevine_base::bodies::{BodyBuffer, Charge};
use grapevine_base::headers;
use grapevine_base::listener::http1::{PeekedBody, RequestBody};
use grapevine_base::scan::media::{Media, media};
use http::header::{self, HeaderMap};
use http_body_util::BodyExt;
use memchr::memmem;
use tokio::time::timeout_at;

use super::IngressSettings;
use super::intake;
use super::problem::Problem;

/// The purposes of files that upstreams keep. Those for batches stay here, and background work refuses what is no
/// purpose.
const KEPT: [&[u8]; 5] = [
    b"assistants",
    b"evals",
    b"fine-tune",
    b"user_data",
    b"vision",
];

/// The longest purpose; providers' are words such as `user_data`.
const PURPOSE_BYTES_MAX: usize = 64;

/// What may stand between the name of a field and the end of its value: the rest of its head, and its value.
const FIELD_BYTES_MAX: usize = 1_024;

/// The name of the field, as clients' libraries write it.
const NAMES: [&[u8]; 2] = [b"name=\"purpose\"", b"name=purpose"];

/// What a file is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purpose(Box<[u8]>);

impl Purpose {
    /// Whether an upstream alone can use such files.
    pub(super) fn is_upstreams(&self) -> bool {
        KEPT.contains(&&*self.0)
    }
}

/// The body of an upload, and the file's purpose: `None` where it is not found, and then background work says what is
/// wrong. What is held is charged to `charge`.
///
/// # Errors
/// When the body pauses for too long, trickles or breaks off, or its sender may not hold that much.
pub(super) async fn peek(
    mut body: RequestBody,
    headers: &HeaderMap,
    settings: &IngressSettings,
    charge: Charge,
) -> Result<(RequestBody, Option<Purpose>), Problem> {
    let Ok(Media::Form(boundary)) = media(headers) else {
        return Ok((body, None));
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Ok((body, None));
    }
    let mut search = Search::new(boundary);
    let announced = headers::content_length(headers);
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let bytes_max = settings.body_bytes_max;
    let announced = announced.map(|length| length.min(bytes_max));
    let mut held = BodyBuffer::begin(charge, announced, settings.body_timeout);
    while search.found.is_none() && held.len() < bytes_max {
        let frame = timeout_at(held.due(), body.frame()).await;
        let frame = frame.map_err(|_| Problem::body_timed_out())?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Problem::invalid(None, "the request body broke off"))?;
        let Ok(piece) = frame.into_data() else { break };
        search.look(&piece);
        if let Err(over) = held.take(piece) {
            let limit = held.limit();
            // Released before the rest is drained.
            drop(held);
            intake::linger(&mut body).await;
            return Err(intake::too_much(over, limit));
        }
    }
    let (taken, rest) = (held.finish(), body);
    let body = RequestBody::Peeked(Box::new(PeekedBody { taken, rest }));
    Ok((body, search.found))
}

/// Looks for the purpose in a form that arrives piece by piece.
struct Search {
    /// What follows the value of a field.
    delimiter: Vec<u8>,
    /// What was received last, as far as a field may have begun in it.
    window: Vec<u8>,
    found: Option<Purpose>,
}

impl Search {
    fn new(boundary: &str) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            window: Vec::new(),
            found: None,
        }
    }

    fn look(&mut self, piece: &Bytes) {
        self.window.extend_from_slice(piece);
        let fields = NAMES.iter().flat_map(|name| {
            let places = memmem::find_iter(&self.window, name);
            places.map(|at| at + name.len())
        });
        let values = fields.filter_map(|at| self.value(&self.window[at..]));
        // Nothing else has this field's name and is followed by the delimiter.
        self.found = values.map(|value| Purpose(value.into())).next();
        let room = NAMES[0].len() + FIELD_BYTES_MAX + self.delimiter.len();
        let old = self.window.len().saturating_sub(room);
        self.window.drain(..old);
    }

    /// The value of the field whose name ends where `rest` begins; `None` where it is not whole yet, or is none.
    fn value<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let rest = &rest[..rest.len().min(FIELD_BYTES_MAX + self.delimiter.len())];
        let start = memmem::find(rest, b"\r\n\r\n")? + 4;
        let value = &rest[start..];
        let end = memmem::find(value, &self.delimiter)?;
        let value = &value[..end];
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        ((1..=PURPOSE_BYTES_MAX).contains(&end) && value.iter().all(is_word)).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(head: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    fn found(form: &str, pieces: usize) -> Option<String> {
        let mut search = Search::new("b");
        for piece in form.as_bytes().chunks(pieces.max(1)) {
            if search.found.is_none() {
                search.look(&Bytes::copy_from_slice(piece));
            }
        }
        let text = |purpose: Purpose| String::from_utf8_lossy(&purpose.0).into_owned();
        search.found.map(text)
    }

    #[test]
    fn purpose_is_found_before_the_file_and_behind_it() {
        let file = part("name=\"file\"; filename=\"a\"", &"x".repeat(5_000));
        let purpose = part("name=\"purpose\"", "user_data");
        for form in [
            format!("{purpose}{file}--b--\r\n"),
            format!("{file}{purpose}--b--\r\n"),
        ] {
            for pieces in [1, 7, 100, 100_000] {
                assert_eq!(found(&form, pieces).as_deref(), Some("user_data"));
            }
        }
        assert_eq!(found(&format!("{file}--b--\r\n"), 64), None);
    }

    #[test]
    fn file_that_speaks_of_purposes_is_no_field() {
        let file = "<input name=\"purpose\">\r\n\r\nvision and more\r\n\r\nname=\"purpose\"";
        let file = part("name=\"file\"; filename=\"a\"", file);
        let purpose = part("name=\"purpose\"", "batch");
        let form = format!("{file}{purpose}--b--\r\n");
        assert_eq!(found(&form, 50).as_deref(), Some("batch"));
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            content in "[a-z\"=\r\n-]{0,200}",
            purpose in "[a-z_]{1,20}",
            pieces in 1..80_usize,
        ) {
            let file = part("name=\"file\"; filename=\"a\"", &content);
            let form = format!("{file}{}--b--\r\n", part("name=\"purpose\"", &purpose));
            prop_assert_eq!(found(&form, pieces), Some(purpose));
        }

        #[test]
        fn no_bytes_panic(form in prop::collection::vec(any::<u8>(), 0..300), pieces in 1..50_usize) {
            let mut search = Search::new("b");
            form.chunks(pieces).for_each(|piece| search.look(&Bytes::copy_from_slice(piece)));
        }
    }
}
