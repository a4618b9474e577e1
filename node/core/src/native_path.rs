//! Paths of clouds that hold their model: Gemini's, Bedrock's, and those of Anthropic's models at Vertex AI.
//!
//! Project and location in Vertex AI's paths name the client's account there. Here they say nothing: any upstream of
//! the model may answer.

use crate::segment::push_segment;

/// A path that holds its model, as those of Gemini, Bedrock and Vertex AI do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativePath<'a> {
    /// The model, as it stands in the path, percent-encoded.
    pub model: &'a str,
    /// What is asked of it.
    pub operation: NativeOperation,
}

impl<'a> NativePath<'a> {
    /// The parts of `path`; `None` for any other.
    pub fn of(path: &'a str) -> Option<Self> {
        Self::after(path).map(|(_, native)| native)
    }

    /// `path` with `model` in the place of its own; `None` where it is no such path, or no segment is called so.
    pub fn with_model(path: &str, model: &str) -> Option<String> {
        let (before, native) = NativePath::after(path)?;
        let mut renamed = before.to_owned();
        push_segment(model, &mut renamed)?;
        renamed.push_str(&path[before.len() + native.model.len()..]);
        Some(renamed)
    }

    /// What stands before the model, and the parts of `path`.
    fn after(path: &'a str) -> Option<(&'a str, Self)> {
        let (model, operation) = if let Some(below) = path.strip_prefix("/v1beta/models/") {
            let (model, word) = below.rsplit_once(':')?;
            (model, NativeOperation::at_gemini(word)?)
        } else if let Some(below) = path.strip_prefix("/model/") {
            let (model, word) = below.rsplit_once('/')?;
            (model, NativeOperation::at_bedrock(word)?)
        } else {
            let (model, word) = of_publisher(path)?;
            (model, NativeOperation::at_vertex(word)?)
        };
        let is_whole = !model.is_empty() && !model.contains('/') && !is_count_at_vertex(path);
        if !is_whole {
            return None;
        }
        // A model is followed by what is asked of it, and preceded by the first or the last slash before it.
        let (upto, _) = path.rsplit_once([':', '/'])?;
        let before = upto.strip_suffix(model)?;
        Some((before, Self { model, operation }))
    }

    /// Whether its answer is a stream.
    pub const fn is_stream(self) -> bool {
        matches!(
            self.operation,
            NativeOperation::StreamGenerateContent
                | NativeOperation::ConverseStream
                | NativeOperation::InvokeStream
                | NativeOperation::StreamRawPredict
        )
    }
}

/// How a cloud takes Anthropic's messages: the model is in the path, the version in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagesForm {
    /// Amazon Bedrock's `invoke`, whose streams come in Amazon's frames.
    Bedrock,
    /// Vertex AI's `rawPredict`.
    Vertex,
}

impl MessagesForm {
    /// The form of a request for `path`; `None` where it is Anthropic's own, or of another dialect.
    pub fn of_path(path: &str) -> Option<Self> {
        if is_count_at_vertex(path) {
            return Some(Self::Vertex);
        }
        match NativePath::of(path)?.operation {
            NativeOperation::Invoke | NativeOperation::InvokeStream => Some(Self::Bedrock),
            NativeOperation::RawPredict | NativeOperation::StreamRawPredict => Some(Self::Vertex),
            _ => None,
        }
    }
}

/// Whether `path` counts the tokens of Anthropic's messages at Vertex AI. Its body names the model.
pub fn is_count_at_vertex(path: &str) -> bool {
    of_publisher(path) == Some(("count-tokens", "rawPredict"))
}

/// The model and the operation of a path of Anthropic's models at Vertex AI.
fn of_publisher(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix("/v1/projects/")?;
    let (project, below) = below.split_once("/locations/")?;
    let (location, below) = below.split_once("/publishers/anthropic/models/")?;
    let is_segment = |text: &str| !text.is_empty() && !text.contains('/');
    let found = below.rsplit_once(':')?;
    (is_segment(project) && is_segment(location)).then_some(found)
}

/// What is asked of the model that a path holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeOperation {
    /// Gemini's.
    GenerateContent,
    /// Gemini's, streamed.
    StreamGenerateContent,
    /// Gemini's count of tokens.
    CountTokens,
    /// Bedrock's.
    Converse,
    /// Bedrock's, streamed.
    ConverseStream,
    /// Anthropic's messages at Bedrock.
    Invoke,
    /// The same, streamed.
    InvokeStream,
    /// Anthropic's messages at Vertex AI.
    RawPredict,
    /// The same, streamed.
    StreamRawPredict,
}

impl NativeOperation {
    fn at_gemini(word: &str) -> Option<Self> {
        match word {
            "generateContent" => Some(Self::GenerateContent),
            "streamGenerateContent" => Some(Self::StreamGenerateContent),
            "countTokens" => Some(Self::CountTokens),
            _ => None,
        }
    }

    fn at_bedrock(word: &str) -> Option<Self> {
        match word {
            "converse" => Some(Self::Converse),
            "converse-stream" => Some(Self::ConverseStream),
            "invoke" => Some(Self::Invoke),
            "invoke-with-response-stream" => Some(Self::InvokeStream),
            _ => None,
        }
    }

    fn at_vertex(word: &str) -> Option<Self> {
        match word {
            "rawPredict" => Some(Self::RawPredict),
            "streamRawPredict" => Some(Self::StreamRawPredict),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(&str, NativeOperation)> {
        NativePath::of(path).map(|native| (native.model, native.operation))
    }

    #[test]
    fn path_holds_a_model_and_what_is_asked_of_it() {
        for (path, model, operation, is_stream) in [
            (
                "/v1beta/models/g:countTokens",
                "g",
                NativeOperation::CountTokens,
                false,
            ),
            (
                "/model/a%3A0/invoke",
                "a%3A0",
                NativeOperation::Invoke,
                false,
            ),
            (
                "/model/a:0/invoke-with-response-stream",
                "a:0",
                NativeOperation::InvokeStream,
                true,
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict",
                "c@1",
                NativeOperation::StreamRawPredict,
                true,
            ),
        ] {
            assert_eq!(of(path), Some((model, operation)), "{path}");
            let found = NativePath::of(path).map(NativePath::is_stream);
            assert_eq!(found, Some(is_stream), "{path}");
        }
        for path in [
            "/model//invoke",
            "/model/a/b/invoke",
            "/model/a/count-tokens",
            "/v1beta/models/:generateContent",
            "/v1beta/models/g:batchEmbedContents",
            "/v1/projects/p/x/locations/l/publishers/anthropic/models/c:rawPredict",
            "/v1/projects/p/locations//publishers/anthropic/models/c:rawPredict",
            "/v1/projects/p/locations/l/publishers/anthropic/models/c:predict",
            "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn model_of_a_path_is_replaced_as_one_segment() {
        let renamed = |path| NativePath::with_model(path, "a/b:0");
        for (path, expected) in [
            (
                "/v1beta/models/gemini-pro:generateContent",
                "/v1beta/models/a%2Fb%3A0:generateContent",
            ),
            (
                "/model/x:0/converse-stream",
                "/model/a%2Fb%3A0/converse-stream",
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:rawPredict",
                "/v1/projects/p/locations/l/publishers/anthropic/models/a%2Fb%3A0:rawPredict",
            ),
        ] {
            assert_eq!(renamed(path).as_deref(), Some(expected));
        }
        assert_eq!(renamed("/v1/chat/completions"), None);
        assert_eq!(NativePath::with_model("/model/x/converse", ".."), None);
    }

    #[test]
    fn form_of_messages_is_that_of_the_cloud() {
        let vertex = "/v1/projects/p/locations/l/publishers/anthropic/models/";
        for (path, form) in [
            ("/model/a/invoke", Some(MessagesForm::Bedrock)),
            (&format!("{vertex}c:rawPredict"), Some(MessagesForm::Vertex)),
            (
                &format!("{vertex}count-tokens:rawPredict"),
                Some(MessagesForm::Vertex),
            ),
            ("/model/a/converse", None),
            ("/v1/messages", None),
        ] {
            assert_eq!(MessagesForm::of_path(path), form, "{path}");
        }
        assert!(is_count_at_vertex(&format!(
            "{vertex}count-tokens:rawPredict"
        )));
        assert!(!is_count_at_vertex(&format!("{vertex}c:rawPredict")));
    }
}
