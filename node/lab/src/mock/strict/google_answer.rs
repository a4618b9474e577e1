//! Google's `generateContent` as written.

use bytes::Bytes;
use serde_json::{Value, json};

use super::exchange::data;
use super::google_fields::sign;
use super::said::{Ask, Said};
use super::seal::Seal;
use crate::mock::script::Stream;

/// What an answer is made of.
pub(super) struct GoogleAnswer<'a> {
    pub(super) id: String,
    pub(super) ask: &'a Ask,
    pub(super) said: &'a Said,
    pub(super) seal: &'a Seal,
}

impl GoogleAnswer<'_> {
    pub(super) fn whole(&self) -> Value {
        let mut parts = self.thoughts();
        if self.said.calls.is_empty() {
            parts.push(json!({"text": self.said.text()}));
        }
        parts.extend(self.calls());
        self.frame(parts, true, self.said.output_tokens())
    }

    /// A stream of server-sent events.
    pub(super) fn stream(&self) -> Stream {
        let mut frames = Vec::new();
        for (at, part) in self.parts().into_iter().enumerate() {
            frames.push(data(&self.frame(vec![part], false, at as u64 + 1)));
        }
        Stream {
            opening: Bytes::new(),
            chunks: frames,
            closing: data(&self.frame(vec![json!({"text": ""})], true, self.said.output_tokens())),
        }
    }

    /// The stream without `alt=sse`: one JSON array, written piece by piece.
    pub(super) fn array(&self) -> Stream {
        let frames = self.parts().into_iter().enumerate().map(|(at, part)| {
            let comma = if at == 0 { "[" } else { ",\r\n" };
            Bytes::from(format!(
                "{comma}{}",
                self.frame(vec![part], false, at as u64 + 1)
            ))
        });
        let last = self.frame(vec![json!({"text": ""})], true, self.said.output_tokens());
        Stream {
            opening: Bytes::new(),
            chunks: frames.collect(),
            closing: Bytes::from(format!(",\r\n{last}]")),
        }
    }

    fn parts(&self) -> Vec<Value> {
        let text = self.said.pieces.iter().map(|text| json!({"text": text}));
        self.thoughts()
            .into_iter()
            .chain(text)
            .chain(self.calls())
            .collect()
    }

    fn thoughts(&self) -> Vec<Value> {
        let thought = self.said.thinking.iter();
        thought
            .map(|text| json!({"text": text, "thought": true}))
            .collect()
    }

    /// Of parallel calls, the first alone carries a signature.
    fn calls(&self) -> Vec<Value> {
        let call = |(at, call): (usize, &super::said::ToolCall)| {
            let mut part =
                json!({"functionCall": {"name": call.name, "args": call.arguments, "id": call.id}});
            if at == 0 {
                part["thoughtSignature"] = json!(sign(self.seal, &call.name, &call.arguments));
            }
            part
        };
        self.said.calls.iter().enumerate().map(call).collect()
    }

    fn frame(&self, parts: Vec<Value>, last: bool, tokens: u64) -> Value {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if last {
            candidate["finishReason"] = json!(if self.said.capped {
                "MAX_TOKENS"
            } else {
                "STOP"
            });
        }
        let prompt = self.ask.input_tokens;
        let thoughts = self.said.thinking_tokens();
        json!({
            "candidates": [candidate],
            "usageMetadata": {
                "promptTokenCount": prompt,
                "candidatesTokenCount": tokens.saturating_sub(thoughts),
                "totalTokenCount": prompt + tokens.max(thoughts),
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
                "thoughtsTokenCount": thoughts,
                "serviceTier": "standard",
            },
            "modelVersion": self.ask.model,
            "responseId": self.id,
        })
    }
}
