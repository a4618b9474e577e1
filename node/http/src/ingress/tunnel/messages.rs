//! A client's messages on `/v1/responses`, each of which is a request that names its model.
//!
//! Keys, fences, limits and the choice of the upstream rest on the model, so a message is held until it is whole and names no other than
//! the one that the tunnel was opened for. It then passes as it came. Control frames pass at once.
//!
//! Bound: one message of `limits.body`, in at most [`FRAMES_MAX`] frames, charged to its client like a body.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use grapevine_base::bodies::Charge;
use grapevine_base::scan;
use grapevine_base::websocket::closing::TunnelEnd;
use grapevine_base::websocket::frames::{FrameHead, FramePart, FrameReader, Opcode};
use grapevine_base::websocket::own::CloseCode;
use grapevine_core::ids::ModelName;

/// The most frames of one message.
const FRAMES_MAX: usize = 1_024;

const NO_FRAMES: TunnelEnd = TunnelEnd {
    code: CloseCode::Protocol,
    reason: "what was sent is not a frame of a client",
};
const NOT_TEXT: TunnelEnd = TunnelEnd {
    code: CloseCode::Unsupported,
    reason: "send messages as text: JSON with a type and a model",
};
const TOO_LONG: TunnelEnd = TunnelEnd {
    code: CloseCode::TooBig,
    reason: "the message is longer than this node takes (limits.body), or in too many frames",
};
const NO_ROOM: TunnelEnd = TunnelEnd {
    code: CloseCode::TryLater,
    reason: "no memory is left for messages (limits.body_memory)",
};
const UNCLEAR: TunnelEnd = TunnelEnd {
    code: CloseCode::Policy,
    reason: "a message must be a JSON object that names its model once, as a string",
};
const OTHER_MODEL: TunnelEnd = TunnelEnd {
    code: CloseCode::Policy,
    reason: "this connection is for the model of its first message; open another one for another model",
};

/// What a client sent.
#[derive(Debug)]
pub(super) enum Item {
    /// A control frame: as it came, what it is, and its payload.
    Control(Bytes, Opcode, Vec<u8>),
    /// A whole message, as it came.
    Message(Message),
}

/// A whole message.
#[derive(Clone, Debug)]
pub(in crate::ingress) struct Message {
    /// Its frames as they came.
    pub(super) raw: Bytes,
    /// The payloads in them, with their masks.
    parts: Vec<(Range<usize>, [u8; 4])>,
}

impl Message {
    /// Its text.
    pub(in crate::ingress) fn text(&self) -> Bytes {
        let mut text = BytesMut::with_capacity(self.raw.len());
        for (range, mask) in &self.parts {
            unmask(&self.raw[range.clone()], *mask, &mut text);
        }
        text.freeze()
    }
}

fn unmask(masked: &[u8], mask: [u8; 4], out: &mut impl Extend<u8>) {
    let mask = mask.iter().cycle();
    out.extend(masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
}

/// The model that a message names, at its top or in its `response`; `None` where it names none.
///
/// # Errors
/// Where it is no object, or two readers could find two models.
pub(in crate::ingress) fn model_of(text: &[u8]) -> Result<Option<ModelName>, TunnelEnd> {
    let [model, response] = scan::top_level(text, ["model", "response"]).map_err(|_| UNCLEAR)?;
    let nested = match response.map(|range| &text[range]) {
        Some(inner) if inner.starts_with(b"{") => {
            let [model] = scan::top_level(inner, ["model"]).map_err(|_| UNCLEAR)?;
            model.map(|range| &inner[range])
        }
        Some(_) | None => None,
    };
    let named = [model.map(|range| &text[range]), nested];
    let mut found = None;
    for raw in named.into_iter().flatten().filter(|raw| *raw != b"null") {
        let name = scan::text(raw).and_then(|name| ModelName::new(&name).ok());
        let name = name.ok_or(UNCLEAR)?;
        if found.as_ref().is_some_and(|before| *before != name) {
            return Err(UNCLEAR);
        }
        found = Some(name);
    }
    Ok(found)
}

/// Reads a client's messages.
#[derive(Debug)]
pub(in crate::ingress) struct Messages {
    reader: FrameReader,
    bytes_max: usize,
    charge: Charge,
    head: Option<FrameHead>,
    /// The frame that is arriving, its head included.
    frame: BytesMut,
    /// Where its payload begins.
    payload_from: usize,
    /// The frames before it of the same message.
    message: BytesMut,
    parts: Vec<(Range<usize>, [u8; 4])>,
    /// The model that all of them must name, once it is known.
    pub(super) model: Option<ModelName>,
}

impl Messages {
    /// Of a client that has sent nothing, each of at most `bytes_max` bytes.
    pub(in crate::ingress) fn new(bytes_max: usize, charge: Charge) -> Self {
        Self {
            reader: FrameReader::default(),
            bytes_max,
            charge,
            head: None,
            frame: BytesMut::new(),
            payload_from: 0,
            message: BytesMut::new(),
            parts: Vec::new(),
            model: None,
        }
    }

    /// From here on every message is for `model`.
    pub(in crate::ingress) fn are_for(&mut self, model: ModelName) {
        self.model = Some(model);
    }

    /// Takes what arrived.
    ///
    /// # Errors
    /// Why the tunnel must end.
    pub(super) fn feed(&mut self, data: &[u8]) -> Result<Vec<Item>, TunnelEnd> {
        self.charge.add(data.len()).map_err(|_| NO_ROOM)?;
        let (mut items, mut rest) = (Vec::new(), data);
        while !rest.is_empty() {
            let (taken, part) = self.reader.next(rest).map_err(|_| NO_FRAMES)?;
            self.frame.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if let Some(FramePart::Head(head)) = part {
                self.begin(head)?;
            }
            if let Some(head) = self.head.filter(|_| self.reader.is_between()) {
                self.head = None;
                items.extend(self.end(head)?);
            }
        }
        if !items.is_empty() {
            // What is whole is handed on: only what is still arriving is held here.
            self.charge = self.charge.beside();
            let held = self.frame.len() + self.message.len();
            self.charge.add(held).map_err(|_| NO_ROOM)?;
        }
        Ok(items)
    }

    fn begin(&mut self, head: FrameHead) -> Result<(), TunnelEnd> {
        if head.mask.is_none() || head.is_extended {
            return Err(NO_FRAMES);
        }
        let is_first = self.parts.is_empty();
        match head.opcode {
            Opcode::Binary => return Err(NOT_TEXT),
            Opcode::Text if !is_first => return Err(NO_FRAMES),
            Opcode::Continuation if is_first => return Err(NO_FRAMES),
            _ => {}
        }
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let whole = self.message.len().saturating_add(length);
        if whole > self.bytes_max || self.parts.len() >= FRAMES_MAX {
            return Err(TOO_LONG);
        }
        self.payload_from = self.frame.len();
        self.head = Some(head);
        Ok(())
    }

    /// A frame came to its end.
    fn end(&mut self, head: FrameHead) -> Result<Option<Item>, TunnelEnd> {
        let mask = head.mask.unwrap_or_default();
        let frame = std::mem::take(&mut self.frame);
        if head.opcode.is_control() {
            let mut payload = Vec::new();
            unmask(&frame[self.payload_from..], mask, &mut payload);
            return Ok(Some(Item::Control(frame.freeze(), head.opcode, payload)));
        }
        let from = self.message.len();
        self.parts
            .push((from + self.payload_from..from + frame.len(), mask));
        match from {
            0 => self.message = frame,
            _ => self.message.extend_from_slice(&frame),
        }
        if !head.is_final {
            return Ok(None);
        }
        let message = Message {
            raw: std::mem::take(&mut self.message).freeze(),
            parts: std::mem::take(&mut self.parts),
        };
        Ok(Some(Item::Message(message)))
    }

    /// Whether `message` may pass.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, message: &Message) -> Result<(), TunnelEnd> {
        let named = model_of(&message.text())?;
        match named.is_none() || named == self.model {
            true => Ok(()),
            false => Err(OTHER_MODEL),
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_base::bodies::{BodyBudget, BodySender};

    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= 125, "short ones do");
        let mut frame = vec![first, 0x80 | payload.len() as u8];
        frame.extend(MASK);
        unmask(payload, MASK, &mut frame);
        frame
    }

    fn messages(bytes_max: usize) -> Messages {
        let bodies = BodyBudget::new(1 << 20);
        Messages::new(bytes_max, bodies.account(BodySender::Key("app")))
    }

    fn texts(items: Vec<Item>) -> Vec<String> {
        let text = |item| match item {
            Item::Message(message) => String::from_utf8(message.text().to_vec()).expect("text"),
            Item::Control(_, opcode, payload) => format!("{opcode:?} {payload:?}"),
        };
        items.into_iter().map(text).collect()
    }

    #[test]
    fn message_in_parts_is_one_and_a_ping_between_them_passes_before_it() {
        let sent = [
            frame(0x01, br#"{"model":"#),
            frame(0x89, b"p"),
            frame(0x80, br#""m"}"#),
            frame(0x81, b"{}"),
        ]
        .concat();
        for cut in 1..sent.len() {
            let mut messages = messages(1_000);
            let mut items = messages.feed(&sent[..cut]).expect("frames");
            items.extend(messages.feed(&sent[cut..]).expect("frames"));
            let raw: usize = items
                .iter()
                .map(|item| match item {
                    Item::Message(message) => message.raw.len(),
                    Item::Control(raw, ..) => raw.len(),
                })
                .sum();
            assert_eq!(raw, sent.len(), "nothing is lost");
            let expected = ["Ping [112]", r#"{"model":"m"}"#, "{}"];
            assert_eq!(texts(items), expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_message_of_a_client_ends_the_tunnel() {
        let end = |bytes: &[u8]| messages(64).feed(bytes).map(|_| ()).expect_err("refused");
        assert_eq!(end(&[0x81, 1, b'a']), NO_FRAMES, "unmasked");
        assert_eq!(end(&frame(0xc1, b"{}")), NO_FRAMES, "compressed");
        assert_eq!(end(&frame(0x80, b"{}")), NO_FRAMES, "no beginning");
        let twice = [frame(0x01, b"{"), frame(0x81, b"}")].concat();
        assert_eq!(end(&twice), NO_FRAMES, "two beginnings");
        assert_eq!(end(&frame(0x82, b"{}")), NOT_TEXT);
        assert_eq!(end(&frame(0x81, &[b'a'; 65])), TOO_LONG);
        let many = [frame(0x01, b"{"), frame(0x00, b"").repeat(FRAMES_MAX)].concat();
        assert_eq!(end(&many), TOO_LONG);
    }

    #[test]
    fn what_is_handed_on_is_charged_no_more() {
        let bodies = BodyBudget::new(4_096);
        let charge = bodies.account(BodySender::Key("app"));
        let mut messages = Messages::new(1_000, charge);
        // Every piece ends in the middle of a message.
        let sent = frame(0x81, &[b'a'; 100]).repeat(100);
        for piece in sent.chunks(70) {
            messages
                .feed(piece)
                .expect("there is room for what is held");
        }
        assert!(bodies.held() < 200, "{}", bodies.held());
    }

    #[test]
    fn message_for_another_model_does_not_pass() {
        let mut messages = messages(1_000);
        messages.are_for(ModelName::new("m").expect("a name"));
        let mut checked = |text: &str| {
            let items = messages
                .feed(&frame(0x81, text.as_bytes()))
                .expect("a frame");
            match &items[..] {
                [Item::Message(message)] => messages.check(message),
                other => panic!("{other:?}"),
            }
        };
        for text in [
            r#"{"type":"response.create","model":"m"}"#,
            r#"{"response":{"model":"m"}}"#,
            r#"{"type":"response.cancel"}"#,
            r#"{"model":null}"#,
            r#"{"input":{"model":"n"}}"#,
        ] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
        for (text, end) in [
            (r#"{"model":"n"}"#, OTHER_MODEL),
            (r#"{"response":{"model":"n"}}"#, OTHER_MODEL),
            (r#"{"model":"m","response":{"model":"n"}}"#, UNCLEAR),
            (r#"{"model":"m","model":"n"}"#, UNCLEAR),
            (r#"{"model":1}"#, UNCLEAR),
            ("[]", UNCLEAR),
            ("{", UNCLEAR),
        ] {
            assert_eq!(checked(text), Err(end), "{text}");
        }
    }
}
