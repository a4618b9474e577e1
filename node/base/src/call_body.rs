//! A call's body: the client's bytes, in which the node may ask for token counts or for another model, and an upstream's
//! owner rename the model. What is sent are pieces of what was received with a few bytes between them: a prompt is held once, however
//! long it is, and however often it is sent.

use std::ops::Range;

use bytes::Bytes;
use grapevine_core::ids::ModelName;
use http::header::HeaderMap;

use crate::asked;
use crate::asked::usage::UsageOption;

/// The body of a [`Call`](crate::exchange::Call). Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CallBody {
    received: Bytes,
    /// What is to stand in it and was not received; `None` where it is sent as it came.
    option: Option<UsageOption>,
    /// The name of another model in the place of the received one; `None` where that is asked for.
    model: Option<(Range<usize>, Bytes)>,
}

impl CallBody {
    /// `received`, asking for token counts by `option`, which was found in it.
    pub const fn asking(received: Bytes, option: UsageOption) -> Self {
        let (option, model) = (Some(option), None);
        Self {
            received,
            option,
            model,
        }
    }

    /// Whether it asks for token counts where the client did not.
    pub const fn asks_usage(&self) -> bool {
        self.option.is_some()
    }

    /// Asks for none: what is sent is what was received.
    pub fn ask_no_usage(&mut self) {
        self.option = None;
    }

    /// Asks for `model` in the place of the one that was received with `headers`. Whether it does: not where that cannot
    /// be found with certainty.
    pub fn ask_for(&mut self, headers: &HeaderMap, model: &ModelName) -> bool {
        let found = asked::model_as(headers, &self.received, model);
        let found =
            found.filter(|(range, name)| self.renamed(range.clone(), name.clone()).is_some());
        let is_found = found.is_some();
        self.model = found.or_else(|| self.model.take());
        is_found
    }

    /// The body as it was received.
    pub const fn received(&self) -> &Bytes {
        &self.received
    }

    /// The length of what is sent, in bytes.
    pub fn len(&self) -> usize {
        let mut len = self.received.len();
        if let Some(option) = &self.option {
            len = len - option.range.len() + option.text.len();
        }
        if let Some((range, name)) = &self.model {
            len = len - range.len() + name.len();
        }
        len
    }

    /// Whether nothing is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is sent, piece by piece; pieces may be empty.
    pub fn pieces(&self) -> [Bytes; 5] {
        if let Some((range, name)) = &self.model
            && let Some(pieces) = self.renamed(range.clone(), name.clone())
        {
            return pieces;
        }
        let (before, text, after) = match &self.option {
            None => (self.received.clone(), Bytes::new(), Bytes::new()),
            Some(UsageOption { range, text }) => (
                self.received.slice(..range.start),
                Bytes::from_static(text.as_bytes()),
                self.received.slice(range.end..),
            ),
        };
        [before, text, after, Bytes::new(), Bytes::new()]
    }

    /// What is sent with `name` in the place of `model`, a range of what was received; pieces may be empty. `None`
    /// where that range is not apart from the option's, which two members of one object always are.
    pub fn renamed(&self, model: Range<usize>, name: Bytes) -> Option<[Bytes; 5]> {
        let Some(UsageOption { range, text }) = &self.option else {
            return Some([
                self.received.slice(..model.start),
                name,
                self.received.slice(model.end..),
                Bytes::new(),
                Bytes::new(),
            ]);
        };
        let text = Bytes::from_static(text.as_bytes());
        let (first, second) = match range.start < model.start {
            true => ((range.clone(), text), (model, name)),
            false => ((model, name), (range.clone(), text)),
        };
        (first.0.end <= second.0.start).then(|| {
            [
                self.received.slice(..first.0.start),
                first.1,
                self.received.slice(first.0.end..second.0.start),
                second.1,
                self.received.slice(second.0.end..),
            ]
        })
    }
}

impl From<Bytes> for CallBody {
    fn from(received: Bytes) -> Self {
        let (option, model) = (None, None);
        Self {
            received,
            option,
            model,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header;

    use super::*;
    use crate::asked::usage;

    const PATH: &str = "/v1/chat/completions";
    const OPTION: &str = "\"stream_options\":{\"include_usage\":true},";

    fn asking(body: &'static str) -> CallBody {
        let option = usage::to_add(PATH, body.as_bytes()).expect("an option");
        CallBody::asking(Bytes::from_static(body.as_bytes()), option)
    }

    fn text(pieces: &[Bytes]) -> String {
        String::from_utf8(pieces.concat()).expect("text")
    }

    #[test]
    fn body_that_asks_is_sent_in_pieces_of_what_was_received() {
        let body = asking("{\"stream\":true}");
        let sent = body.pieces();
        assert_eq!(text(&sent), format!("{{{OPTION}\"stream\":true}}"));
        assert_eq!(body.len(), sent.concat().len());
        assert_eq!(sent[0].as_ptr(), body.received().as_ptr());
        assert_eq!(sent[2].as_ptr(), body.received()[1..].as_ptr());
    }

    #[test]
    fn model_is_renamed_before_and_after_the_option() {
        let name = || Bytes::from_static(b"\"n\"");
        let before = "{\"model\":\"m\",\"stream_options\":null}";
        let sent = asking(before).renamed(9..12, name()).expect("apart");
        let wanted = "{\"model\":\"n\",\"stream_options\":{\"include_usage\":true}}";
        assert_eq!(text(&sent), wanted);
        let after = "{\"stream_options\":{\"x\":1},\"model\":\"m\"}";
        let sent = asking(after).renamed(34..37, name()).expect("apart");
        let wanted = "{\"stream_options\":{\"include_usage\":true,\"x\":1},\"model\":\"n\"}";
        assert_eq!(text(&sent), wanted);
        let plain = CallBody::from(Bytes::from_static(b"{\"model\":\"m\"}"));
        let sent = plain.renamed(9..12, name()).expect("apart");
        assert_eq!(text(&sent), "{\"model\":\"n\"}");
    }

    #[test]
    fn another_model_is_asked_for_in_json_and_in_a_form() {
        let model = ModelName::new("a \"b\"").expect("a name");
        let mut body = asking("{\"model\":\"m\",\"stream\":true}");
        assert!(body.ask_for(&HeaderMap::new(), &model));
        let wanted = format!("{{{OPTION}\"model\":\"a \\\"b\\\"\",\"stream\":true}}");
        assert_eq!(text(&body.pieces()), wanted);
        assert_eq!(body.len(), wanted.len());
        // An upstream's own name for it takes its place.
        let renamed = body.renamed(9..12, Bytes::from_static(b"\"n\""));
        assert!(text(&renamed.expect("apart")).contains("\"model\":\"n\""));
        let form = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--\r\n";
        let kind = HeaderValue::from_static("multipart/form-data; boundary=x");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let mut body = CallBody::from(Bytes::from_static(form.as_bytes()));
        assert!(body.ask_for(&headers, &model));
        assert_eq!(
            text(&body.pieces()),
            form.replace("\r\nm\r\n", "\r\na \"b\"\r\n")
        );
        let mut without = CallBody::from(Bytes::from_static(b"{}"));
        assert!(!without.ask_for(&HeaderMap::new(), &model));
        assert_eq!(text(&without.pieces()), "{}");
    }

    #[test]
    fn places_that_overlap_are_not_both_replaced() {
        let body = asking("{\"stream_options\":null}");
        assert!(body.renamed(18..20, Bytes::new()).is_none());
    }
}
