//! Thoughts: `reasoningContent`, with words and a signature, or redacted.
//!
//! What is redacted is a blob, which clients decode from base64. One of another provider is sealed and then encoded,
//! so that a client can decode it and sends it back as it was.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::DIALECT;
use crate::dialect::Dialect;
use crate::fields::{Fields, put};
use crate::grammar::{Object, Toward};
use crate::hub::part::Thinking;
use crate::loss::LossList;
use crate::rest::Rest;
use crate::signature;

/// Whether `reasoningContent` holds what it must.
pub(super) fn is_known(value: &Value) -> bool {
    value["reasoningText"]["text"].is_string() || value["redactedContent"].is_string()
}

/// Takes the thought out of `reasoningContent`.
pub(super) fn read(fields: &mut Fields) -> Thinking {
    let has_text = fields
        .peek("reasoningText")
        .is_some_and(|text| text["text"].is_string());
    if !has_text {
        return redacted(fields.text("redactedContent").unwrap_or_default());
    }
    let mut thinking = worded();
    if let Some(mut words) = fields.enter("reasoningText") {
        thinking.text = words.text("text");
        let opened = words
            .text("signature")
            .map(|text| signature::opened(text, DIALECT));
        if let Some((proof, origin)) = opened {
            thinking.signature = Some(proof);
            thinking.origin = origin;
        }
        fields.leave("reasoningText", words);
    }
    thinking
}

/// A thought whose words are still to come.
pub(super) const fn worded() -> Thinking {
    Thinking {
        text: None,
        signature: None,
        encrypted: None,
        origin: DIALECT,
    }
}

/// A thought that is redacted.
pub(super) fn redacted(blob: String) -> Thinking {
    let (encrypted, origin) = opened(blob);
    Thinking {
        text: None,
        signature: None,
        encrypted: Some(encrypted),
        origin,
    }
}

/// The blob of what `origin` encrypted.
pub(super) fn sealed(encrypted: &str, origin: Dialect) -> String {
    if origin == DIALECT {
        return encrypted.to_string();
    }
    STANDARD.encode(signature::sealed(encrypted, origin, DIALECT))
}

fn opened(blob: String) -> (String, Dialect) {
    let decoded = STANDARD.decode(&blob).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.map(|text| signature::opened(text, DIALECT)) {
        Some((encrypted, origin)) if origin != DIALECT => (encrypted, origin),
        _ => (blob, DIALECT),
    }
}

/// Writes `reasoningContent`. An upstream takes thoughts of its own, and Anthropic's models those that Anthropic's own
/// API signed: its signatures hold on every platform, as its documentation of extended thinking says. A client gets
/// those of others too, sealed for their way back.
pub(super) fn write(
    thinking: &Thinking,
    rest: &Rest,
    toward: Toward,
    is_claude: bool,
    losses: &mut LossList,
) -> Option<Object> {
    let is_home = rest.is_from(DIALECT);
    // Some providers only say that the model thinks.
    if !is_home && thinking.is_silent() {
        return None;
    }
    let proof = thinking.signature.as_deref().unwrap_or_default();
    let is_anthropics =
        thinking.origin == Dialect::Messages && thinking.encrypted.is_none() && !proof.is_empty();
    let is_taken = thinking.origin == DIALECT || (is_claude && is_anthropics);
    if toward == Toward::Upstream && !is_home && !is_taken {
        losses.add(
            rest.place("thought"),
            "Converse takes no thoughts of another provider",
        );
        return None;
    }
    let mut content = Object::new();
    if let Some(encrypted) = &thinking.encrypted {
        let blob = sealed(encrypted, thinking.origin);
        content.insert("redactedContent".to_string(), json!(blob));
        return Some(content);
    }
    let mut words = Object::new();
    let text = thinking.text.as_deref().unwrap_or_default();
    words.insert("text".to_string(), json!(text));
    let seal = |proof: &str| signature::sealed(proof, thinking.origin, DIALECT);
    let written = match toward {
        Toward::Upstream if !is_home => Some(proof.to_string()).filter(|proof| !proof.is_empty()),
        Toward::Client if !is_home => Some(seal(proof)).filter(|sealed| !sealed.is_empty()),
        _ => thinking.signature.as_deref().map(seal),
    };
    put(&mut words, "signature", written);
    content.insert("reasoningText".to_string(), Value::Object(words));
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_of_another_provider_is_base64_and_comes_back() {
        let blob = sealed("a.b==", Dialect::Messages);
        assert!(STANDARD.decode(&blob).is_ok());
        assert_eq!(opened(blob), ("a.b==".to_string(), Dialect::Messages));
        assert_eq!(opened("AAEC".to_string()), ("AAEC".to_string(), DIALECT));
    }
}
