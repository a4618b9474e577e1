//! The path of an endpoint at a provider: a text with places for the model and for the rest of a request's path.
//!
//! A template is joined with the base URL once, by a URL library, when the configuration is read; what is filled in for
//! a request is percent-encoded, so that no model's name can reach another path.

use std::sync::Arc;

use grapevine_core::segment::push_segment;
use http::uri::PathAndQuery;
use url::Url;

/// Where the model's name is filled in.
const MODEL: &str = "{model}";

/// Where the rest of a request's path is filled in.
const REST: &str = "{rest}";

/// What stands for the places while the URL library looks at the path: it encodes braces.
const MODEL_MARK: &str = "_grapevine-model_";
const REST_MARK: &str = "_grapevine-rest_";

/// Why a text is no path of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    /// Not below the host.
    #[error("must begin with a slash")]
    NoSlash,
    /// A place that is not known.
    #[error(
        "holds a {{..}} that is not {{model}}, {{rest}}, {{project}}, {{location}} or {{api_version}}"
    )]
    UnknownPlace,
    /// A place within the query.
    #[error("must hold {{model}} and {{rest}} in front of the query")]
    PlaceInQuery,
    /// A fragment, another host, a step up, or characters that no path has.
    #[error("is not the path of a URL in its plain form")]
    NotPlain,
}

/// The path of an endpoint, base URL included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    parts: Arc<[PathPart]>,
    query: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathPart {
    Text(Box<str>),
    Model,
    Rest,
}

impl PathTemplate {
    /// The template `text` below `base`, the path of a base URL.
    ///
    /// # Errors
    /// When the text is no path, or has an unknown place.
    pub fn new(base: &str, text: &str) -> Result<Self, PathTemplateError> {
        if !text.starts_with('/') {
            return Err(PathTemplateError::NoSlash);
        }
        let marked = text.replace(MODEL, MODEL_MARK).replace(REST, REST_MARK);
        if marked.contains(['{', '}']) {
            return Err(PathTemplateError::UnknownPlace);
        }
        let (path, query) = match marked.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (marked.as_str(), None),
        };
        if query.is_some_and(|query| query.contains(MODEL_MARK) || query.contains(REST_MARK)) {
            return Err(PathTemplateError::PlaceInQuery);
        }
        let path = format!("{}{path}", base.trim_end_matches('/'));
        let mut url = Url::parse("http://host/").map_err(|_| PathTemplateError::NotPlain)?;
        url.set_path(&path);
        url.set_query(query);
        // What the library would write otherwise is refused: the operator sees the path that is sent.
        let is_plain = url.path() == path && url.query() == query && !marked.contains('#');
        let is_sent = PathAndQuery::try_from(&url[url::Position::BeforePath..]).is_ok();
        match is_plain && is_sent {
            true => Ok(Self {
                parts: parts(&path).into(),
                query: query.map(Into::into),
            }),
            false => Err(PathTemplateError::NotPlain),
        }
    }

    /// Whether the model's name is a part of it.
    pub fn has_model(&self) -> bool {
        self.parts.contains(&PathPart::Model)
    }

    /// Whether the rest of a request's path is a part of it.
    pub fn has_rest(&self) -> bool {
        self.parts.contains(&PathPart::Rest)
    }

    /// The path of a request for `model` with what its path has further, `rest`, and with its `query`. `None` where the
    /// template has a place for a model and there is none, or none for a rest that there is.
    pub fn fill(
        &self,
        model: Option<&str>,
        rest: &str,
        query: Option<&str>,
    ) -> Option<PathAndQuery> {
        if !rest.is_empty() && !self.has_rest() {
            return None;
        }
        let mut filled = String::new();
        for part in &*self.parts {
            match part {
                PathPart::Text(text) => filled.push_str(text),
                PathPart::Model => push_segment(model?, &mut filled)?,
                PathPart::Rest => filled.push_str(rest),
            }
        }
        let mut separator = '?';
        for query in [self.query.as_deref(), query].into_iter().flatten() {
            if !query.is_empty() {
                filled.push(separator);
                filled.push_str(query);
                separator = '&';
            }
        }
        PathAndQuery::try_from(filled).ok()
    }
}

fn parts(path: &str) -> Vec<PathPart> {
    let mut parts = Vec::new();
    for (index, piece) in path.split(MODEL_MARK).enumerate() {
        if index > 0 {
            parts.push(PathPart::Model);
        }
        for (index, text) in piece.split(REST_MARK).enumerate() {
            if index > 0 {
                parts.push(PathPart::Rest);
            }
            if !text.is_empty() {
                parts.push(PathPart::Text(text.into()));
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, model: Option<&str>, rest: &str, query: Option<&str>) -> Option<String> {
        let template = PathTemplate::new("", text).expect("a good template");
        template
            .fill(model, rest, query)
            .map(|path| path.to_string())
    }

    #[test]
    fn model_is_one_segment_whatever_its_name() {
        let invoked = |model| filled("/model/{model}/invoke", Some(model), "", None);
        assert_eq!(
            invoked("anthropic.claude-3-5-sonnet-20241022-v2:0").as_deref(),
            Some("/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/invoke")
        );
        assert_eq!(
            invoked("arn:aws:bedrock:us-east-1:1:inference-profile/us.x").as_deref(),
            Some("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/invoke")
        );
        assert_eq!(
            invoked("../a?b#c d").as_deref(),
            Some("/model/..%2Fa%3Fb%23c%20d/invoke")
        );
        assert_eq!(
            filled("/models/{model}:rawPredict", Some("claude@1"), "", None).as_deref(),
            Some("/models/claude@1:rawPredict")
        );
    }

    #[test]
    fn queries_of_template_and_request_are_joined() {
        let text = "/responses{rest}?api-version=1";
        assert_eq!(
            filled(text, None, "/resp_1", Some("stream=true")).as_deref(),
            Some("/responses/resp_1?api-version=1&stream=true")
        );
        assert_eq!(
            filled(text, None, "", None).as_deref(),
            Some("/responses?api-version=1")
        );
    }

    #[test]
    fn place_without_a_value_and_value_without_a_place_make_no_path() {
        assert_eq!(filled("/a/{model}", None, "", None), None);
        assert_eq!(filled("/a", None, "/below", None), None);
        assert_eq!(filled("/a/{model}/b", Some(".."), "", None), None);
    }

    #[test]
    fn base_url_comes_first() {
        let template = PathTemplate::new("/proxy/", "/v1/messages").expect("a good template");
        let path = template.fill(None, "", None).expect("a path");
        assert_eq!(path, "/proxy/v1/messages");
    }

    #[test]
    fn text_that_is_no_plain_path_is_refused() {
        for (text, error) in [
            ("chat", PathTemplateError::NoSlash),
            ("/a/{modle}", PathTemplateError::UnknownPlace),
            ("/a?b={model}", PathTemplateError::PlaceInQuery),
            ("/a/../b", PathTemplateError::NotPlain),
            ("/a b", PathTemplateError::NotPlain),
            ("/a#b", PathTemplateError::NotPlain),
        ] {
            assert_eq!(PathTemplate::new("", text), Err(error), "{text}");
        }
    }
}
