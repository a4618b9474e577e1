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
}

/// Fields of requests that advise a server or tell it about the client, and do not change what is asked for: prices,
/// caches, accounts, places.
const ADVICE: [&str; 14] = [
    "cache_control",
    "cachePoint",
    "inference_geo",
    "labels",
    "metadata",
    "performanceConfig",
    "prompt_cache_breakpoint",
    "prompt_cache_key",
    "prompt_cache_retention",
    "requestMetadata",
    "safety_identifier",
    "service_tier",
    "serviceTier",
    "user",
];

impl Loss {
    /// Whether the answer is the same without it, but for its price or its speed.
    pub fn is_advice(&self) -> bool {
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
        let (path, reason) = (path.into(), reason.into());
        let loss = Loss { path, reason };
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

    #[test]
    fn advice_is_told_from_what_is_asked_for() {
        let is_advice = |path: &str| {
            let mut losses = LossList::default();
            losses.add(path, "because");
            losses.as_slice()[0].is_advice()
        };
        assert!(is_advice("messages[2].content[1].cache_control"));
        assert!(is_advice("metadata.user_id"));
        assert!(is_advice("user"));
        assert!(!is_advice("tools[0].user_location"));
        assert!(!is_advice("top_k"));
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
