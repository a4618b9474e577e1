//! Whose model it is, by its id: what goes into `additionalModelRequestFields` depends on it.

/// Whether the model is one of Anthropic's. The id of a profile of one's own does not say.
pub(super) fn is_claude(model: Option<&str>) -> bool {
    model.is_some_and(|model| model.contains("claude"))
}

/// Whether the model is one of OpenAI's.
pub(super) fn is_openai(model: Option<&str>) -> bool {
    model.is_some_and(|model| model.contains("openai."))
}
