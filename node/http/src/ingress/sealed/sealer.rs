//! Seals the ids of an answer as it flows.
//!
//! A seal stands at the end of an id, so all that comes before it has been passed on already: nothing is held back, and
//! each piece goes out with the one that came.

use bytes::Bytes;
use grapevine_base::headers;
use grapevine_base::headers::ReadHeaders;
use grapevine_core::seal::{self, Owner, SealedKind};
use http::header;
use ring::hmac;

use super::keys::{self, SealKeys};
use super::scanner::{Scanner, Values};

/// A piece up to this long is copied together with its seals, so that it stays one piece: what an event costs a client
/// is a read, not a byte. A longer one is cut.
const COPIED_MAX: usize = 8 * 1_024;

/// Seals one answer.
#[derive(Debug)]
pub(in crate::ingress) struct Sealer {
    scanner: Scanner,
    seals: Seals,
}

/// The seals of the piece that is being scanned.
#[derive(Debug)]
struct Seals {
    key: hmac::Key,
    owner: Owner,
    /// Where each belongs, and what it is.
    found: Vec<(usize, Vec<u8>)>,
    /// The hash of the encrypted content that has begun.
    content: Option<hmac::Context>,
    content_length: usize,
}

impl Sealer {
    /// For an answer of `owner` to a request for `path`; `None` where it holds no ids, or none that can be read.
    pub(in crate::ingress) fn of(
        keys: &SealKeys,
        owner: Option<Owner>,
        path: &str,
        headers: &impl ReadHeaders,
    ) -> Option<Box<Self>> {
        if !super::holds_ids(path) || super::is_content(path) {
            return None;
        }
        let is_read = headers::is_media_type(headers, "application/json")
            || headers::is_media_type(headers, "text/event-stream");
        // It was asked for without a coding.
        if !is_read || headers.value_of(&header::CONTENT_ENCODING).is_some() {
            return None;
        }
        Some(Box::new(Self {
            scanner: Scanner::default(),
            seals: Seals {
                key: keys.first()?.clone(),
                owner: owner?,
                found: Vec::new(),
                content: None,
                content_length: 0,
            },
        }))
    }

    /// Takes the next piece, and hands it with its seals to `pass`.
    pub(in crate::ingress) fn take(&mut self, piece: Bytes, mut pass: impl FnMut(Bytes)) {
        self.scanner.scan(&piece, &mut self.seals);
        if self.seals.found.is_empty() {
            return pass(piece);
        }
        let mut from = 0;
        if piece.len() > COPIED_MAX {
            for (at, seal) in self.seals.found.drain(..) {
                pass(piece.slice(from..at));
                pass(seal.into());
                from = at;
            }
            return pass(piece.slice(from..));
        }
        let added: usize = self.seals.found.iter().map(|(_, seal)| seal.len()).sum();
        let mut sealed = Vec::with_capacity(piece.len() + added);
        for (at, seal) in self.seals.found.drain(..) {
            sealed.extend_from_slice(&piece[from..at]);
            sealed.extend(seal);
            from = at;
        }
        sealed.extend_from_slice(&piece[from..]);
        pass(sealed.into());
    }

    /// A whole answer.
    pub(in crate::ingress) fn whole(&mut self, answer: Bytes) -> Bytes {
        let mut pieces = Vec::new();
        self.take(answer, |piece| pieces.push(piece));
        match &*pieces {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl Values for Seals {
    fn content_begins(&mut self, _: usize) {
        self.content = Some(keys::begin(&self.key, self.owner));
        self.content_length = 0;
    }

    fn content(&mut self, piece: &[u8]) {
        self.content_length += piece.len();
        if let Some(hash) = &mut self.content {
            hash.update(piece);
        }
    }

    fn content_ends(&mut self, at: usize, is_plain: bool) {
        // Nothing encrypts to nothing, and what has escapes could come back with others.
        let hash = self
            .content
            .take()
            .filter(|_| is_plain && self.content_length > 0);
        if let Some(hash) = hash {
            let proof = keys::proof_of(&hash);
            let seal = seal::seal(SealedKind::Content, self.owner, proof);
            self.found.push((at, seal));
        }
    }

    fn id(&mut self, id: &[u8], at: usize) {
        let Some(kind) = seal::id_kind(id) else {
            return;
        };
        let mut hash = keys::begin(&self.key, self.owner);
        hash.update(id);
        let seal = seal::seal(kind, self.owner, keys::proof_of(&hash));
        self.found.push((at, seal));
    }
}
