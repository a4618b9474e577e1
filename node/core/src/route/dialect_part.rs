//! A tier in two parts: the upstreams that read a request's dialect, and those that a translation reaches.

use super::RouteQuery;
use crate::view::Candidate;

/// Which of a tier's candidates are meant, by the dialect of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialectPart {
    /// All of them.
    Any,
    /// Those that read it.
    Own,
    /// Those that a translation reaches.
    Translated,
}

impl DialectPart {
    pub(super) fn has(self, candidate: &Candidate, ask: &RouteQuery<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Own => ask.is_read_by(candidate),
            Self::Translated => !ask.is_read_by(candidate),
        }
    }
}
