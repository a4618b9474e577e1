//! Text from a client, a peer or an upstream, as a record may keep it: a short copy.
//!
//! A record is kept for the next thousand requests. A slice of what a connection read would keep the whole
//! buffer, with the prompt in it, for as long; a long text would let its sender choose how much memory the last
//! requests take.

use std::fmt;
use std::sync::Arc;

use http::Method;
use http::uri::PathAndQuery;

/// The most bytes of a text that a record keeps.
pub const EXCERPT_BYTES_MAX: usize = 256;

/// The most bytes of a method; the longest registered one (`UPDATEREDIRECTREF`) has 17.
const METHOD_BYTES_MAX: usize = 32;

/// The end of a text that was cut.
const CUT: &str = "...";

/// A copy of at most [`EXCERPT_BYTES_MAX`] bytes of a text. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Arc<str>);

impl Excerpt {
    /// The text itself where it is short enough, else its beginning and `...`.
    pub fn of(text: &str) -> Self {
        if text.len() <= EXCERPT_BYTES_MAX {
            return Self(text.into());
        }
        let end = text.floor_char_boundary(EXCERPT_BYTES_MAX - CUT.len());
        Self([&text[..end], CUT].concat().into())
    }

    /// A request's path, without its query: that may hold anything.
    pub fn of_path(path: &PathAndQuery) -> Self {
        Self::of(path.path())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The method as a record keeps it: its beginning, where a client made up a long one.
pub fn method(method: &Method) -> Method {
    let name = method.as_str().as_bytes();
    if name.len() <= METHOD_BYTES_MAX {
        return method.clone();
    }
    // The beginning of a token is a token.
    Method::from_bytes(&name[..METHOD_BYTES_MAX]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept_whole() {
        let text = "a".repeat(EXCERPT_BYTES_MAX);
        assert_eq!(Excerpt::of(&text).as_str(), text);
    }

    #[test]
    fn long_text_is_cut_between_characters_and_marked() {
        for shift in 0..3 {
            let text = ["x".repeat(shift), "ä".repeat(EXCERPT_BYTES_MAX)].concat();
            let excerpt = Excerpt::of(&text);
            let kept = excerpt.as_str().strip_suffix(CUT).expect("it was cut");
            assert!(text.starts_with(kept) && excerpt.as_str().len() <= EXCERPT_BYTES_MAX);
            assert!(excerpt.as_str().len() > EXCERPT_BYTES_MAX - 2);
        }
    }

    #[test]
    fn query_of_a_path_is_not_kept() {
        let path = PathAndQuery::from_static("/v1/embeddings?key=secret");
        assert_eq!(Excerpt::of_path(&path).as_str(), "/v1/embeddings");
    }

    #[test]
    fn made_up_method_is_cut() {
        let long = Method::from_bytes("M".repeat(1_000).as_bytes()).expect("a token");
        assert_eq!(method(&long).as_str(), "M".repeat(METHOD_BYTES_MAX));
        assert_eq!(method(&Method::PATCH), Method::PATCH);
    }
}
