//! The seals of a request: where they are, and whose.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use grapevine_core::seal::{self, Owner, SealedKind};
use http::uri::PathAndQuery;
use memchr::memmem::Finder;

use super::keys::SealKeys;
use super::scanner::{Scanner, Values};

/// Why ids cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum RestoreError {
    /// One has a seal that no node of this mesh wrote.
    Unknown,
    /// They were made by two upstreams.
    TwoOwners,
    /// There are more than [`SEALS_MAX`].
    TooMany,
}

/// What a chat that names a file holds. Prepared once: every chat is searched for it.
static FILE_ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"file_id\""));

/// The most seals of one request: two for each turn of a long conversation, and each takes about a microsecond.
const SEALS_MAX: usize = 16_384;

pub(super) fn read(id: &[u8]) -> Option<seal::ReadSeal> {
    // Its kind is that of the original, which the seal may have made longer than ids are.
    let original = id.len().checked_sub(seal::ID_SEAL_BYTES)?;
    seal::read(seal::id_kind(&id[..original])?, id)
}

/// `body` without the `cuts`, which are in its order.
pub(super) fn without(body: &[u8], cuts: &[Range<usize>]) -> Bytes {
    let cut: usize = cuts.iter().map(ExactSizeIterator::len).sum();
    let mut restored = Vec::with_capacity(body.len() - cut);
    let mut from = 0;
    for cut in cuts {
        restored.extend_from_slice(&body[from..cut.start]);
        from = cut.end;
    }
    restored.extend_from_slice(&body[from..]);
    restored.into()
}

/// The seals of a request.
pub(super) struct Seals<'a> {
    keys: &'a SealKeys,
    body: &'a [u8],
    owner: Option<Owner>,
    /// Where they are in the body.
    pub(super) cuts: Vec<Range<usize>>,
    /// Where the content that is being read begins.
    content_at: usize,
    count: usize,
    failure: Option<RestoreError>,
}

impl<'a> Seals<'a> {
    /// Those of `path` and `body`, and the path without them; `None` where it stays.
    pub(super) fn find(
        keys: &'a SealKeys,
        path: &PathAndQuery,
        body: &'a [u8],
    ) -> (Self, Option<PathAndQuery>) {
        let mut found = Self {
            keys,
            body,
            owner: None,
            cuts: Vec::new(),
            content_at: 0,
            count: 0,
            failure: None,
        };
        let holds_ids = super::holds_ids(path.path());
        let path = match holds_ids {
            true => found.path(path),
            false => None,
        };
        // A chat may name a file.
        if holds_ids || FILE_ID.find(body).is_some() {
            Scanner::default().scan(body, &mut found);
        }
        (found, path)
    }

    /// Whose all of them are; `None` where there are none.
    pub(super) fn owner(&self) -> Result<Option<Owner>, RestoreError> {
        self.failure.map_or(Ok(self.owner), Err)
    }

    /// `path` with its segments and the values of its query restored; `None` where it stays.
    fn path(&mut self, path: &PathAndQuery) -> Option<PathAndQuery> {
        let text = path.as_str();
        let is_end = |byte: char| matches!(byte, '/' | '?' | '&' | '=');
        let mut restored = String::with_capacity(text.len());
        for part in text.split_inclusive(is_end) {
            let (id, end) = match part.strip_suffix(is_end) {
                Some(id) => (id, &part[id.len()..]),
                None => (part, ""),
            };
            let original = self.open(id.as_bytes()).unwrap_or(id.len());
            restored.push_str(&id[..original]);
            restored.push_str(end);
        }
        let is_changed = restored.len() < text.len();
        is_changed.then(|| PathAndQuery::try_from(restored).ok())?
    }

    /// The length of the original of `id`; `None` where it has no seal.
    fn open(&mut self, id: &[u8]) -> Option<usize> {
        let read = read(id)?;
        self.believe(&read, &id[..read.original]);
        Some(read.original)
    }

    /// Checks a seal of `original`.
    fn believe(&mut self, read: &seal::ReadSeal, original: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        self.count += 1;
        self.failure = if self.count > SEALS_MAX {
            Some(RestoreError::TooMany)
        } else if !self.keys.is_proof(read.owner, &[original], read.proof) {
            Some(RestoreError::Unknown)
        } else if !self
            .owner
            .get_or_insert(read.owner)
            .is_same_upstream(read.owner)
        {
            Some(RestoreError::TwoOwners)
        } else {
            None
        };
    }
}

impl Values for Seals<'_> {
    fn content_begins(&mut self, at: usize) {
        self.content_at = at;
    }

    fn content(&mut self, _: &[u8]) {}

    fn content_ends(&mut self, at: usize, is_plain: bool) {
        let raw = &self.body[self.content_at..at];
        let Some(end) = seal::read(SealedKind::Content, raw) else {
            return;
        };
        let original = &raw[..end.original];
        // Some writers escape what others do not, such as '='.
        let text = (!is_plain)
            .then(|| serde_json::from_slice::<String>(&[b"\"", original, b"\""].concat()).ok())
            .flatten();
        self.believe(&end, text.as_deref().map_or(original, str::as_bytes));
        self.cuts.push(self.content_at + end.original..at);
    }

    fn id(&mut self, id: &[u8], at: usize) {
        if let Some(original) = self.open(id) {
            self.cuts.push(at - (id.len() - original)..at);
        }
    }
}
