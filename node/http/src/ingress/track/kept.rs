//! Where a request belongs: to a conversation, and to the upstream that made what it is about.

use grapevine_core::cache_meter::CacheMeter;
use grapevine_core::route::SessionSource;
use grapevine_core::seal::Owner;
use http::uri::PathAndQuery;

use super::Track;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct KeptNotes {
    /// What its conversation was recognised by; `None` where it belongs to none.
    session: Option<SessionSource>,
    /// Whether the upstream that made what it names has to answer.
    has_owner: bool,
    /// Whether reasoning of another upstream was left out.
    is_reasoning_lost: bool,
    /// Where the tokens of its prompt are counted; `None` until an upstream answered.
    pub(super) cache: Option<CacheMeter>,
}

impl Track {
    /// The upstream knows what the path names by another id.
    pub(in super::super) fn set_path(&mut self, path: PathAndQuery) {
        self.path = path;
    }

    /// Reasoning that another upstream made was left out of the request.
    pub(in super::super) const fn lose_reasoning(&mut self) {
        self.kept.is_reasoning_lost = true;
    }

    /// What of the request its upstream did not get, for the answer's header.
    pub(in super::super) fn lost(&self) -> Option<&'static str> {
        self.kept.is_reasoning_lost.then_some("input.reasoning")
    }

    /// What it belongs to.
    pub(in super::super) fn set_kept(
        &mut self,
        owner: Option<Owner>,
        session: Option<SessionSource>,
    ) {
        self.kept.has_owner = owner.is_some();
        self.kept.session = session;
    }

    /// What its upstream was found by, for the answer's header.
    pub(in super::super) fn session(&self) -> Option<&'static str> {
        match self.kept.has_owner {
            true => Some("owner"),
            false => self.kept.session.map(SessionSource::as_str),
        }
    }

    /// The owner of what the answer names; `None` before an upstream answered.
    pub(in super::super) fn owner(&self) -> Option<Owner> {
        let served = self.record.served.as_ref()?;
        Some(Owner::of(&served.region, &served.upstream, &served.node))
    }

    /// Counts the prompt by what the upstream reported of it.
    pub(super) fn count_cached(&self) {
        let tokens = &self.record.tokens;
        if let (Some(cache), Some(input)) = (&self.kept.cache, tokens.input) {
            cache.record(input, tokens.cached.unwrap_or_default());
        }
    }
}
