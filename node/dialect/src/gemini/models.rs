//! What a model takes, by its name.
//!
//! Only former models are told by name: the list is complete, since no new model joins it, and a name that nobody
//! knows is a later model's.

/// What the names of models contain that came before Gemini 3.
const FORMER: [&str; 6] = [
    "gemini-1",
    "gemini-2",
    "gemini-pro",
    "gemini-exp",
    "gemma",
    "learnlm",
];

/// Whether a model thinks by a budget of tokens, demands no signatures, and takes words alone from tools.
pub(super) fn is_former(model: Option<&str>) -> bool {
    model.is_some_and(|model| FORMER.iter().any(|name| model.contains(name)))
}

/// Whether a model has every level of thinking; the larger ones lack some.
pub(super) fn has_all_levels(model: Option<&str>) -> bool {
    model.is_none_or(|model| model.contains("flash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_model_is_a_later_one() {
        assert!(is_former(Some("models/gemini-2.5-flash")));
        assert!(!is_former(Some("gemini-3-pro-preview")));
        assert!(!is_former(Some("gemini-flash-latest")));
        assert!(!is_former(None));
    }
}
