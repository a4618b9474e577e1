//! What the other dialect cannot say.

use std::borrow::Cow;

use crate::dialect::Dialect;

/// How many losses one translation names. A body with more is refused or accepted on these.
pub const LOSSES_MAX: usize = 256;

/// Fields of answers that are left out in another dialect without being named: they carry nothing that a client
/// acts on. No field of a request is among them.
const HARMLESS: [(Dialect, &str, &str); 5] = [
    (Dialect::Converse, "p", "random padding of an event"),
    (Dialect::Converse, "metrics", "how long the upstream took"),
    (
        Dialect::Converse,
        "$metadata",
        "how a software kit received the answer",
    ),
    (Dialect::Chat, "obfuscation", "random padding of a chunk"),
    (
        Dialect::Chat,
        "system_fingerprint",
        "the build that answered",
    ),
];

/// One thing that a translation leaves out or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where it stands in the body that came: `messages[2].content[1].cache_control`.
    pub path: String,
    /// Why the other dialect cannot say it.
    pub reason: Cow<'static, str>,
    /// Whether the model that is asked decides it alone, whatever its clients wish.
    pub is_models_own: bool,
}

/// Fields of requests without which the answer is the same, but for its price, its speed or its style.
///
/// What says how hard a model thinks is among them, and so are thoughts of other models, which no provider takes: both
/// change how an answer is found, and not what was asked for. No tool is among them, no schema, no sampling, no stop
/// sequence, and nothing that a model reads.
const ADVICE: [&str; 38] = [
    // What is kept between requests.
    "cachePoint",
    "cache_control",
    "prompt_cache_breakpoint",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    // Where and how fast an answer is made.
    "inference_geo",
    "performanceConfig",
    "serviceTier",
    "service_tier",
    "speed",
    // Who asks, and the client's own notes.
    "client_metadata",
    "labels",
    "metadata",
    "requestMetadata",
    "safety_identifier",
    "user",
    // How an answer is sent.
    "eager_input_streaming",
    "include_obfuscation",
    // How much of the conversation a model still reads when it is long.
    "context_management",
    "truncation",
    // How hard a model thinks, and how that is shown.
    "effort",
    "reasoning",
    "reasoning_config",
    "reasoning_effort",
    "thinking",
    "thinkingConfig",
    // Thoughts of another model.
    "encrypted_content",
    "reasoningContent",
    "reasoning_content",
    "reasoning_signature",
    "summary",
    "thought",
    "thoughtSignature",
    // Style, and how closely a model looks.
    "detail",
    "mediaResolution",
    "phase",
    "verbosity",
];

impl Loss {
    /// Whether the answer is the same without it, but for its price, its speed or its style.
    pub fn is_advice(&self) -> bool {
        if self.is_models_own {
            return true;
        }
        let mut names = self.path.rsplit(['.', '[', ']']);
        // Within such a field too, as in `metadata.user_id`.
        names.any(|name| ADVICE.contains(&name))
    }
}

/// The losses of one translation, each named once.
#[derive(Clone, Debug, Default)]
pub struct LossList {
    losses: Vec<Loss>,
}

impl LossList {
    /// Names a loss, unless it is named already or [`LOSSES_MAX`] others are.
    pub fn add(&mut self, path: impl Into<String>, reason: impl Into<Cow<'static, str>>) {
        self.push(path.into(), reason.into(), false);
    }

    /// Names what the model that is asked decides alone.
    pub fn add_models_own(&mut self, path: impl Into<String>, reason: &'static str) {
        self.push(path.into(), reason.into(), true);
    }

    fn push(&mut self, path: String, reason: Cow<'static, str>, is_models_own: bool) {
        let loss = Loss {
            path,
            reason,
            is_models_own,
        };
        if self.losses.len() < LOSSES_MAX && !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }

    /// Names a loss if there is something to lose.
    pub fn add_some<T>(&mut self, lost: Option<&T>, path: String, reason: &'static str) {
        if lost.is_some() {
            self.add(path, reason);
        }
    }

    /// What has been named.
    pub fn as_slice(&self) -> &[Loss] {
        &self.losses
    }

    /// What has been named, by value.
    pub fn into_vec(self) -> Vec<Loss> {
        self.losses
    }
}

/// Whether a field may be left out without being named.
pub(crate) fn is_harmless(dialect: Dialect, field: &str) -> bool {
    HARMLESS
        .iter()
        .any(|(of, name, _)| *of == dialect && *name == field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_advice(path: &str) -> bool {
        let loss = Loss {
            path: path.to_string(),
            reason: "because".into(),
            is_models_own: false,
        };
        loss.is_advice()
    }

    #[test]
    fn advice_is_known_by_the_names_in_its_path() {
        for path in [
            "messages[2].content[1].cache_control",
            "metadata.user_id",
            "user",
            "generationConfig.thinkingConfig.thinkingLevel",
            "messages[0].content[0].image_url.detail",
        ] {
            assert!(is_advice(path), "{path}");
        }
    }

    #[test]
    fn what_is_asked_for_is_no_advice() {
        for path in [
            "tools[0].user_location",
            "tools[3].format",
            "top_k",
            "stop",
            "text.format.schema",
            "messages[0].content[0]",
        ] {
            assert!(!is_advice(path), "{path}");
        }
    }

    #[test]
    fn what_a_model_decides_alone_is_advice() {
        let mut losses = LossList::default();
        losses.add("temperature", "the model takes temperatures up to 1");
        losses.add_models_own("top_p", "the model takes none");
        let advice = losses.as_slice().iter().map(Loss::is_advice);
        assert_eq!(advice.collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn loss_is_named_once() {
        let mut losses = LossList::default();
        losses.add("a", "because");
        losses.add("a", "because");
        losses.add_some(None::<&u8>, "b".to_string(), "because");
        assert_eq!(losses.as_slice().len(), 1);
    }

    #[test]
    fn losses_have_a_limit() {
        let mut losses = LossList::default();
        for index in 0..LOSSES_MAX * 2 {
            losses.add(format!("messages[{index}]"), "because");
        }
        assert_eq!(losses.into_vec().len(), LOSSES_MAX);
    }
}
