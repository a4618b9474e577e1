//! Which requests may be sent to an upstream, where they carry the operator's credential.
//!
//! A list of inference paths with their methods, and not everything under `/v1`: a provider's management
//! paths (organizations, vector stores, fine-tuning) would act on the operator's account for every client.
//! An operator who wants more names it ([`Forwarding::new`]). The node that a client asks, the workers of
//! background tasks, and the node that serves a peer's request all ask [`Forwarding::permit`].
//!
//! A path is compared as it is written, so it must be written in the one form that every server reads the
//! same way: no `.` or `..` segments, no empty ones, nothing encoded that separates, climbs or needs no
//! encoding (RFC 3986, 6.2.2). What has another form is refused and never repaired.
//!
//! Responses, conversations, containers and files belong to the upstream that made them, and their ids cannot be
//! guessed: they may be read, continued and deleted by anybody who knows the id, and cannot be listed.

mod kept;
mod plain;
mod websocket;

use std::fmt;

use crate::native_path::{NativePath, is_count_at_vertex};
use crate::outcome::{Outcome, Stage};

pub use plain::check_form;
use plain::irregularity;
pub use websocket::{WEBSOCKET_METHOD, websocket_model};

/// Paths that take a prompt or another input of a model by `POST`.
const INFERENCE: [&str; 23] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages/count_tokens",
    "/v1/responses/compact",
    "/v1/responses/input_tokens",
    "/v1/moderations",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/variations",
    "/v1/fim/completions",
    "/v1/rerank",
    "/v1/reranking",
    "/v1/score",
    "/v1/classify",
    "/v1/pooling",
    "/v1/tokenize",
    "/v1/detokenize",
];

/// What a node answers itself, each with everything below it; an operator cannot add them. Of files and batches those
/// are sent on that an upstream keeps.
pub const OWN_PATHS: [&str; 6] = [
    "/v1/models",
    "/v1/tasks",
    "/v1/files",
    "/v1/batches",
    "/v1/workflows",
    "/v1/mesh",
];

/// Paths that an operator may add.
pub const EXTRA_PATHS_MAX: usize = 64;

/// What kind of a path a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathScope {
    /// One of the list.
    #[default]
    Inference,
    /// One that the operator added.
    Extra,
    /// A WebSocket at one of the list. How it ends counts as an inference does, how long it takes does not: its first
    /// byte is an upstream's consent, long before a model says anything.
    WebSocket,
}

impl PathScope {
    /// An attempt's `outcome` as it counts for the health of the upstream. The answer of a path that the operator
    /// added shows nothing about the upstream's models; a failed connection does.
    pub fn counted(self, outcome: Outcome) -> Outcome {
        match (self, outcome) {
            (Self::Inference | Self::WebSocket, _)
            | (
                Self::Extra,
                Outcome::ConnectFailed
                | Outcome::TimedOut(Stage::Connect)
                | Outcome::Refused(_)
                | Outcome::PeerLost
                | Outcome::PeerUnreached,
            ) => outcome,
            (Self::Extra, _) => Outcome::Cancelled,
        }
    }
}

/// Why a request may not be sent to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForwarded {
    /// Two servers could read the path or its query in two ways.
    #[error("the path is not written in its plain form: {0}")]
    NotPlain(&'static str),
    /// The query names what belongs in the body, or another method.
    #[error("the query must not hold '{0}': the body alone says what is asked for")]
    Query(&'static str),
    /// The path is none of the list, and the operator has not added it.
    #[error("the path is not one that is forwarded")]
    UnknownPath,
    /// The path takes other methods.
    #[error("the path takes {0} only")]
    Method(Methods),
    /// The path takes no WebSockets.
    #[error("the path takes no WebSockets; /v1/responses and /v1/realtime do")]
    NoWebSocket,
    /// The query of a WebSocket names its model twice, or not as UTF-8.
    #[error("the query must name one model, encoded as UTF-8: model=NAME")]
    Model,
}

/// A set of HTTP methods. Where `GET` is allowed, `HEAD` is too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods(u8);

/// The methods that can be forwarded, in the order of their bits.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

impl Methods {
    /// To read alone.
    pub const GET: Self = Self(0b11);
    const POST: Self = Self(0b100);
    const GET_AND_DELETE: Self = Self(0b10_0011);
    const GET_AND_POST: Self = Self(0b111);
    const GET_POST_AND_DELETE: Self = Self(0b10_0111);

    /// Every method that can be forwarded.
    pub const ALL: Self = Self(0b11_1111);

    /// The methods called `names`, in capitals; `None` where one of them cannot be forwarded.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().try_fold(Self(0), |methods, name| {
            let bits = if name == "GET" { 0b11 } else { bit(name)? };
            Some(Self(methods.0 | bits))
        })
    }

    /// The names of the methods.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        METHODS.into_iter().filter(move |name| self.allows(name))
    }

    fn allows(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }
}

fn bit(name: &str) -> Option<u8> {
    let index = METHODS.iter().position(|method| *method == name)?;
    Some(1 << index)
}

impl fmt::Display for Methods {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// Paths that an operator adds: one, or with a final `/*` everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraPath {
    /// Without the star of a final `/*`.
    path: Box<str>,
    is_prefix: bool,
    methods: Methods,
}

/// Why a text is not a path to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtraPathError {
    /// It is not below `/v1/`.
    #[error("must begin with /v1/ and go on")]
    NotBelowV1,
    /// It has another form than requests are compared in.
    #[error("is not in its plain form: {0}")]
    NotPlain(&'static str),
    /// It has a star elsewhere than at its end.
    #[error("may hold '*' as its last segment only")]
    Star,
    /// The node answers it itself.
    #[error("is answered by the node itself and never forwarded")]
    Own,
}

impl ExtraPath {
    /// `text` for `methods`.
    ///
    /// # Errors
    /// When `text` is not a path below `/v1/` in its plain form, or the node's own.
    pub fn new(text: &str, methods: Methods) -> Result<Self, ExtraPathError> {
        let (path, is_prefix) = match text.strip_suffix("/*") {
            Some(_) => (&text[..text.len() - 1], true),
            None => (text, false),
        };
        if path.contains('*') {
            return Err(ExtraPathError::Star);
        }
        let below = path.strip_prefix("/v1/");
        if below.is_none_or(|below| below.is_empty() && !is_prefix) {
            return Err(ExtraPathError::NotBelowV1);
        }
        if let Some(what) = irregularity(path) {
            return Err(ExtraPathError::NotPlain(what));
        }
        if OWN_PATHS.iter().any(|own| is_at(path, own)) {
            return Err(ExtraPathError::Own);
        }
        Ok(Self {
            path: path.into(),
            is_prefix,
            methods,
        })
    }

    /// The methods that it is for.
    pub const fn methods(&self) -> Methods {
        self.methods
    }

    fn matches(&self, path: &str) -> bool {
        if self.is_prefix {
            let below = path.strip_prefix(&*self.path);
            below.is_some_and(|below| !below.is_empty())
        } else {
            path == &*self.path
        }
    }
}

impl fmt::Display for ExtraPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        write!(formatter, "{}{star}", self.path)
    }
}

/// What a node forwards. The default is the list of inference paths alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    extra: Vec<ExtraPath>,
}

impl Forwarding {
    /// The list of inference paths, and `extra`.
    pub const fn new(extra: Vec<ExtraPath>) -> Self {
        Self { extra }
    }

    /// What the operator added.
    pub fn extra(&self) -> &[ExtraPath] {
        &self.extra
    }

    /// Whether a request may be sent to an upstream, and what kind of a path it has.
    ///
    /// # Errors
    /// Why it may not.
    pub fn permit(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
    ) -> Result<PathScope, NotForwarded> {
        if method == WEBSOCKET_METHOD {
            return websocket::permit(path, query);
        }
        check_form(path, query)?;
        let listed = listed(path);
        if listed.is_some_and(|methods| methods.allows(method)) {
            return Ok(PathScope::Inference);
        }
        let is_own = OWN_PATHS.iter().any(|own| is_at(path, own));
        let mut known = listed.unwrap_or_default();
        for extra in self.extra.iter().filter(|it| !is_own && it.matches(path)) {
            if extra.methods.allows(method) {
                return Ok(PathScope::Extra);
            }
            known.0 |= extra.methods.0;
        }
        match known {
            Methods(0) => Err(NotForwarded::UnknownPath),
            known => Err(NotForwarded::Method(known)),
        }
    }
}

/// The methods of a path of the list.
fn listed(path: &str) -> Option<Methods> {
    if INFERENCE.contains(&path) {
        return Some(Methods::POST);
    }
    if NativePath::of(path).is_some() || is_count_at_vertex(path) {
        return Some(Methods::POST);
    }
    kept::listed(path)
}

/// Whether `path` is `prefix` or below it.
fn is_at(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
